"""A load of many rows that are streamed: the same version, in bounded memory, past the same checks."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import pytest

from django_etcdaero.datasets.publish import progress, source, validation
from django_etcdaero.datasets.publish.progress import far
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.publish.source import About
from django_etcdaero.datasets.row_validators import NoNulls
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.validators import MaxChanged, MaxRemoved, MaxShrink
from django_etcdaero.exceptions import StoreFull
from tests.datasets.hosting import FakeHost, follow, history, many, publish
from tests.paths import ROOT

COUNT = 3000


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (source, validation):
        monkeypatch.setattr(module, "STREAM_FROM", 100)


def rows(count: int = COUNT, **changed: Any) -> dict[str, Any]:
    return {key: {**row, "text": f"{key} it is"} for key, row in many(count).items()} | changed


class Stream:
    """Gives rows by an iterator, anew for each load."""

    def __init__(self, given: dict[Any, Any]) -> None:
        self.given = given

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self.given.items())


class Product(NamedTuple):
    n: int
    text: str


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ordered": True},
        {"row_type": Product},
        {"indexes": ["text"]},
        {"load_changes": lambda self, since: None, "change_cursor": lambda self: 1},
    ],
    ids=["plain", "ordered", "typed", "indexed", "with changes"],
)
def test_the_version_is_that_of_the_same_rows_in_a_dict(host: FakeHost, declare: Any, options: Any) -> None:
    prices = declare(rows(), **options)
    assert publish(prices).outcome is Outcome.REFRESHED
    state, records = host.state(prices).current, host.ttls(prices)
    result = publish(prices, Stream(rows()))
    assert (result.outcome, result.rows, result.bytes_written) == (Outcome.UNCHANGED, COUNT, 0)
    assert (host.state(prices).current, host.ttls(prices)) == (state, records)
    changed = publish(prices, Stream(rows(k7={"n": 0, "text": "new"})))
    assert changed.outcome is Outcome.REFRESHED
    assert changed.bytes_written < changed.bytes_total / 3
    follow(prices, host).step()
    assert len(prices) == COUNT
    assert prices["k7"] == (Product(0, "new") if "row_type" in options else {"n": 0, "text": "new"})
    assert not options.get("ordered") or list(prices) == list(rows())


def test_rows_are_not_held_while_they_come(host: FakeHost, declare: Any) -> None:
    alive = [0]
    most = 0

    @dataclass(frozen=True, slots=True, weakref_slot=True)
    class Row:
        n: int

    def given() -> Iterator[tuple[int, Row]]:
        nonlocal most
        for number in range(2000):
            row = Row(number)
            alive[0] += 1
            finalize(row, lambda: alive.__setitem__(0, alive[0] - 1))
            most = max(most, alive[0])
            yield number, row

    prices = declare({}, row_type=Row)
    prices.source.rows = given()
    assert publish(prices).rows == 2000
    assert most < 700


@pytest.mark.parametrize(
    ("added", "error"),
    [
        (("k5", 1), "DuplicateKey: load() of dataset 'prices' gave the key 'k5' twice"),
        ((True, 1), "DuplicateKey: load() of dataset 'prices' gave the key {} and {}, which are equal"),
        (([], 1), "EncodeError: load() of dataset 'prices' gave the key []: unhashable type: 'list'"),
        (("x",), "EncodeError: load() of dataset 'prices' gave a tuple of 1 as item 2003; expected a (key, row) pair"),
        (("x", object()), "EncodeError: row 'x': object cannot be stored"),
    ],
)
def test_what_is_wrong_among_many_is_named(host: FakeHost, declare: Any, added: Any, error: str) -> None:
    prices = declare([(1, 1), (2, 2), *rows(2000).items(), added])
    result = publish(prices)
    assert result.outcome is Outcome.FAILED
    assert any(str(result.error).startswith(error.format(*each)) for each in [(True, 1), (1, True)])
    assert host.ttls(prices) == {}


def test_keys_of_which_changes_cannot_be_told_are_refused(host: FakeHost, declare: Any) -> None:
    options = {"load_changes": lambda self, since: None, "change_cursor": lambda self: 1}
    prices = declare([*rows(2000).items(), (1.5, 1)], **options)
    assert "row 1.5: a dataset with load_changes() has keys of the types" in str(publish(prices).error)


# --- validators ------------------------------------------------------------------------------------------------------


def test_validators_see_all_rows_of_both_versions(host: FakeHost, declare: Any) -> None:
    seen: list[Any] = []

    def look(old: Any, new: Any) -> None:
        if old is None:
            return
        seen.append((len(old), len(new), dict(old.items()) == rows(), dict(new.items()) == dict(new)))
        seen.append([key for key, row in new.items() if old.get(key) != row])
        seen.append([key for key in old if key not in new])
        seen.append((old["k77"], new["k77"], "none" in old, sum(row["n"] for row in new.values())))

    prices = declare(Stream(rows()), validators=[look])
    publish(prices)
    after = rows(k7={"n": 0, "text": "new"}, added={"n": 0, "text": ""})
    del after["k9"]
    publish(prices, Stream(after))
    assert seen[0] == (COUNT, COUNT, True, True)
    assert (sorted(seen[1]), seen[2]) == (["added", "k7"], ["k9"])
    total = sum(row["n"] for row in after.values())
    assert seen[3] == (rows()["k77"], rows()["k77"], False, total)


@pytest.mark.parametrize(
    ("validator", "said"),
    [
        (MaxChanged(0.0001), "MaxChanged: 1 rows changed"),
        (MaxRemoved(0.0001), "MaxRemoved: 1 rows removed"),
        (MaxShrink(0.0), "MaxShrink: "),
        (NoNulls("text"), "NoNulls: 1 of 3,000 rows are wrong; row 'k7': 'text' is None"),
    ],
)
def test_validators_of_the_package_refuse(host: FakeHost, declare: Any, validator: Any, said: str) -> None:
    prices = declare(Stream(rows()), validators=[validator])
    assert publish(prices).outcome is Outcome.REFRESHED
    after = rows(k7={"n": 0, "text": None})
    if isinstance(validator, MaxRemoved | MaxShrink):
        del after["k9"]
    assert str(publish(prices, Stream(after)).error).startswith(
        f"ValidationFailed: {said}".replace("3,000", f"{len(after):,}")
    )


def test_old_rows_that_are_gone_do_not_keep_a_version_lost(host: FakeHost, declare: Any) -> None:
    prices = declare(Stream(rows()), validators=[lambda old, new: None if old is None else dict(old) and None])
    publish(prices)
    host.records.inner.truncate()
    assert publish(prices).outcome is Outcome.REFRESHED


# --- dry runs, trial, progress, resuming -----------------------------------------------------------------------------


def test_a_dry_run_holds_what_it_would_write_on_disk_and_writes_nothing(host: FakeHost, declare: Any) -> None:
    prices = declare(Stream(rows()), row_type=Product)
    result = Refresh(prices, host, dry_run=True).run()
    assert (result.outcome, result.rows, host.ttls(prices)) == (Outcome.REFRESHED, COUNT, {})
    assert result.bytes_written == result.bytes_total > 0


def test_a_row_that_lacks_the_field_of_an_index_is_refused(host: FakeHost, declare: Any) -> None:
    prices = declare(Stream(rows(k7={"n": 1})), indexes=["text"])
    assert "'k7'" in str(publish(prices).error)


def test_progress_tells_the_rows_of_before_as_an_estimate(host: FakeHost, declare: Any) -> None:
    told: list[tuple[str, int, int | None]] = []
    prices = declare(Stream(rows()))
    for _ in range(2):
        told.clear()
        Refresh(prices, host, force=True, progress=lambda *each: told.append(each)).run()
    assert ("load", 1024, COUNT) in told
    assert isinstance(next(total for phase, done, total in told if done == 1024), About)
    assert type(told[-1][2]) is int
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["load", "write"]
    for phase in ("load", "write"):
        assert [step[1:] for step in told if step[0] == phase][-1] == (COUNT, COUNT)
    told.clear()
    prices.source.rows = list(rows(2000).items())
    Refresh(prices, host, force=True, progress=lambda *each: told.append(each)).run()
    assert [type(total) for phase, done, total in told if done == 1024 and phase == "load"] == [int]


def test_a_load_that_takes_long_is_logged(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with caplog.at_level("INFO", "django_etcdaero.datasets"):
        publish(declare(list(rows().items())))
    lines = [record.getMessage() for record in caplog.records]
    assert any(
        re.fullmatch(r"dataset prices: load: 2,048 of 3,000 rows, [\d,]+ rows/s, about \d+ s left", line)
        for line in lines
    )
    assert far(10, About(20), 5) == "10 of about 20 rows, 5 rows/s, about 2 s left"
    assert far(30, About(20), 5) == far(30, None, 5) == "30 rows, 5 rows/s"


def test_what_was_written_before_a_refresh_failed_is_not_written_again(host: FakeHost, declare: Any) -> None:
    def fail(*args: Any, **options: Any) -> None:
        if host.records.calls["put_many"] == 2:
            raise StoreFull("no room")

    prices = declare(Stream(rows(30_000)))
    host.records.before["put_many"] = fail
    assert publish(prices).outcome is Outcome.FAILED
    host.records.before.clear()
    result = publish(prices)
    assert result.outcome is Outcome.REFRESHED
    assert 0 < result.bytes_written < result.bytes_total


def test_a_directory_for_temporary_files_that_is_not_there_is_named(
    host: FakeHost, declare: Any, tmp_path: Path
) -> None:
    prices = declare(Stream(rows()), ordered=True)
    alias = host.aliases["default"]
    alias.stores = replace(alias.stores, temporary_dir=str(tmp_path / "nowhere"))
    assert f"TEMPORARY_DIR: {tmp_path}/nowhere: No such file" in str(publish(prices).error)
    assert history(host, prices) == []


def test_a_refresh_that_was_killed_goes_on_where_blocks_exist(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        (tmp_path / "temporary").mkdir(exist_ok=True)
        command = [sys.executable, str(ROOT / "tests/programs/streaming.py"), str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert list((tmp_path / "temporary").iterdir()) == []
        return done.returncode, done.stdout + done.stderr

    assert run("25000") == (-signal.SIGKILL, "")
    code, said = run()
    assert code == 0
    outcome, written, total, _ = json.loads(said)
    assert outcome == "refreshed"
    assert total / 5 < written < total / 2
