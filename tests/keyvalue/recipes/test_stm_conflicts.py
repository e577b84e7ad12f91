"""What of the changes by others a transaction in memory notices, at each isolation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_etcdaero.keyvalue import KV, Isolation, ops
from django_etcdaero.keyvalue.recipes.stm import Transaction
from tests.keyvalue.recipes.looking import value
from tests.keyvalue.recipes.transacting import ALL, VALIDATED, Once, number


@pytest.mark.parametrize("isolation", ALL)
@pytest.mark.parametrize("change", ["put", "delete", "create"])
def test_a_change_of_what_was_read(kv: KV, once: Once, isolation: Isolation, change: str) -> None:
    kv.put("a", "1")

    def function(tx: Transaction) -> bytes | None:
        once.begin()
        seen = tx.get("new" if change == "create" else "a")
        once(lambda: kv.delete("a") if change == "delete" else kv.put("new" if change == "create" else "a", "2"))
        tx.put("result", repr(seen))
        return seen

    last = {"put": b"2", "delete": None, "create": b"2"}[change]
    first = None if change == "create" else b"1"
    seen = kv.stm(function, isolation=isolation)
    if isolation is Isolation.READ_COMMITTED:
        assert (once.attempts, seen) == (1, first)
    else:
        assert (once.attempts, seen) == (2, last)
    assert value(kv, "result") == repr(seen).encode()


RANGE_CHANGES: dict[str, Callable[[KV], object]] = {
    "a key comes": lambda kv: kv.put("r/b", ""),
    "a key goes": lambda kv: kv.delete("r/c"),
    "the last key goes": lambda kv: kv.delete("r/e"),
    "a key changes": lambda kv: kv.put("r/c", "new"),
    "all keys go": lambda kv: kv.delete_range("r/", prefix=True),
    "a key goes and comes back": lambda kv: (kv.delete("r/c"), kv.put("r/c", "1")),
    "one goes, another comes": lambda kv: (kv.delete("r/c"), kv.put("r/d", "1")),
}


NO_RANGE_CHANGES: dict[str, Callable[[KV], object]] = {
    "a key next to it changes": lambda kv: (kv.put("r", ""), kv.put("r0", ""), kv.put("q", "")),
    "a key comes and goes again": lambda kv: (kv.put("r/x", ""), kv.delete("r/x")),
    "a key that is not there is deleted": lambda kv: kv.delete("r/x"),
}


@pytest.mark.parametrize("isolation", VALIDATED)
@pytest.mark.parametrize("change", [*RANGE_CHANGES, *NO_RANGE_CHANGES])
def test_a_range_that_was_read_stays_as_it_was_until_the_commit(
    kv: KV, once: Once, isolation: Isolation, change: str
) -> None:
    kv.put("r/c", "1")
    kv.put("r/e", "1")

    def function(tx: Transaction) -> list[bytes]:
        once.begin()
        found = sorted(tx.range("r/", prefix=True))
        once(lambda: (RANGE_CHANGES | NO_RANGE_CHANGES)[change](kv))
        tx.put("result", b",".join(found))
        return found

    found = kv.stm(function, isolation=isolation)
    assert once.attempts == (2 if change in RANGE_CHANGES else 1)
    assert found == [each.key for each in kv.iterate("r/", prefix=True)]
    assert value(kv, "result") == b",".join(found)


@pytest.mark.parametrize("isolation", VALIDATED)
def test_an_empty_range_stays_empty_until_the_commit(kv: KV, once: Once, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        found = tx.range("r/", prefix=True)
        once(lambda: kv.put("r/x", ""))
        tx.put("result", str(len(found)))

    kv.stm(function, isolation=isolation)
    assert (once.attempts, value(kv, "result")) == (2, b"1")


@pytest.mark.parametrize("isolation", ALL)
def test_what_is_written_unread_conflicts_with_a_snapshot_only(kv: KV, once: Once, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        tx.get("a")
        once(lambda: kv.put("b", "theirs"))
        tx.put("b", "ours")

    kv.stm(function, isolation=isolation)
    assert once.attempts == (2 if isolation is Isolation.SERIALIZABLE_SNAPSHOT else 1)
    assert value(kv, "b") == b"ours"


@pytest.mark.parametrize("isolation", ALL)
def test_a_transaction_that_reads_nothing_has_no_conflict(kv: KV, once: Once, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        tx.put("a", "ours")
        once(lambda: kv.put("a", "theirs"))

    kv.stm(function, isolation=isolation)
    assert (once.attempts, value(kv, "a")) == (1, b"ours")


@pytest.mark.parametrize("isolation", ALL)
def test_what_a_reader_sees_when_others_write_between_its_reads(kv: KV, once: Once, isolation: Isolation) -> None:
    kv.put("a", "1")
    kv.put("b", "1")

    def function(tx: Transaction) -> tuple[int, int, int]:
        once.begin()
        first = number(tx, "a")
        once(lambda: kv.txn().then(ops.put("a", "2"), ops.put("b", "2")).commit())
        return first, number(tx, "b"), number(tx, "a")

    assert (
        kv.stm(function, isolation=isolation)
        == {
            Isolation.SERIALIZABLE_SNAPSHOT: (1, 1, 1),
            Isolation.SERIALIZABLE: (1, 1, 1),
            Isolation.REPEATABLE_READ: (2, 2, 2),  # seen at the second attempt: (1, 2, 1) belongs to no moment
            Isolation.READ_COMMITTED: (1, 2, 1),
        }[isolation]
    )


@pytest.mark.parametrize("change", ["put", "delete", "create"])
def test_a_repeatable_read_that_would_contradict_itself_is_not_shown(kv: KV, once: Once, change: str) -> None:
    kv.put("r/a", "1")
    seen: list[bool] = []
    changes = {
        "put": lambda: kv.put("r/a", "2"),
        "delete": lambda: kv.delete("r/a"),
        "create": lambda: kv.put("r/b", "2"),
    }

    def function(tx: Transaction) -> None:
        once.begin()
        one, other = tx.get("r/a"), tx.get("r/b")
        once(changes[change])
        found = tx.range("r/", prefix=True)
        seen.append((one, other) == (found.get(b"r/a"), found.get(b"r/b")))

    kv.stm(function, isolation=Isolation.REPEATABLE_READ)
    assert (once.attempts, seen) == (2, [True])


@pytest.mark.parametrize("isolation", ALL)
def test_write_skew(kv: KV, once: Once, isolation: Isolation) -> None:
    """Two doctors are on call and one has to stay. Each looks whether the other is there, and goes."""
    kv.put("on call/alice", "")
    kv.put("on call/bob", "")

    def leave(tx: Transaction, me: str, other: str) -> None:
        if me == "alice":
            once.begin()
        if tx.get(f"on call/{other}") is not None:
            once(lambda: kv.stm(lambda tx: leave(tx, "bob", "alice"), isolation=isolation) if me == "alice" else None)
            tx.delete(f"on call/{me}")

    kv.stm(lambda tx: leave(tx, "alice", "bob"), isolation=isolation)
    left = [found.key for found in kv.iterate("on call/", prefix=True)]
    assert left == ([] if isolation is Isolation.READ_COMMITTED else [b"on call/alice"])


@pytest.mark.parametrize("isolation", ALL)
def test_write_skew_over_a_range(kv: KV, once: Once, isolation: Isolation) -> None:
    for name in ("alice", "bob"):
        kv.put(f"on call/{name}", "")

    def leave(tx: Transaction, me: str) -> None:
        if me == "alice":
            once.begin()
        if len(tx.range("on call/", prefix=True)) > 1:
            once(lambda: kv.stm(lambda tx: leave(tx, "bob"), isolation=isolation) if me == "alice" else None)
            tx.delete(f"on call/{me}")

    kv.stm(lambda tx: leave(tx, "alice"), isolation=isolation)
    left = [found.key for found in kv.iterate("on call/", prefix=True)]
    assert left == ([] if isolation is Isolation.READ_COMMITTED else [b"on call/alice"])
