"""Whatever becomes of a file of changes: a named error, the version before or what was published, and nothing else."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.codec import Encoder
from django_etcdaero.datasets.mapped import folding
from django_etcdaero.datasets.mapped.changes import Change
from django_etcdaero.datasets.mapped.changes_form import ChangesHead, MappedChanges
from django_etcdaero.datasets.mapped.form import HEADER_BYTES, DamagedFile, MappedFile, digest_begun
from django_etcdaero.datasets.mapped.layering import write_layer
from django_etcdaero.datasets.mapped.rows import MappedRows
from django_etcdaero.datasets.mapped.stack import Stack
from django_etcdaero.datasets.read import decision
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import CorruptBlock
from tests.datasets.hosting import Following
from tests.full_disk import limit_files, unlimit_files

from .layers import Files, changing, check, fold_all, fold_at, small_files_have_layers, stack_of
from .making import write

__all__ = ["small_files_have_layers"]

Declare = Callable[..., Any]
Follow = Callable[..., Following]

ROWS = {f"key-{number}": {"id": number, "tags": ["a", number % 7]} for number in range(300)}
NEW = {f"key-{number}": {"id": -number} for number in range(0, 60, 2)} | {"new": {"id": 1}}
AFTER = {key: row for key, row in (ROWS | NEW).items() if key != "key-299"}


class Files2:
    """A file of rows with one layer over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows = directory / "rows"
        write(self.rows, ROWS)
        self.layer = self.written(directory / "layer", NEW)

    def base(self) -> MappedFile:
        return mapped(self.rows, MappedFile)

    def written(self, path: Path, rows: Mapping[Any, Any], root: bytes = b"2" * 20) -> bytes:
        keys, encoded = Encoder().encode(list(rows), list(rows.values()))
        gone = Encoder().encode(["key-299"], [None])[0][0]
        change = Change({**dict(zip(keys, encoded, strict=True)), gone: None}, {3: b"n" * 20}, len(AFTER), False)
        with path.open("w+b") as file:
            write_layer(file, root, Stack(self.base()), change)
        return path.read_bytes()

    def read(self, data: bytes) -> dict[Any, Any]:
        """Return the rows with this for a layer, those left out that raise ``CorruptBlock``."""
        path = self.directory / "changed"
        path.write_bytes(data)
        found = MappedRows[Any, Any](Stack(self.base(), [mapped(path, MappedChanges)]))
        rows = {}
        for key in {**ROWS, **NEW}:
            with suppress(CorruptBlock, KeyError):
                rows[key] = found[key]
        with suppress(CorruptBlock):
            assert dict(found.items()) == AFTER or found.stack.damaged
        return rows


def mapped(path: Path, kind: Callable[[int], Any]) -> Any:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return kind(descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files2:
    return Files2(tmp_path_factory.mktemp("layers"))


def test_a_layer_that_is_whole_is_read(whole: Files2) -> None:
    assert whole.read(whole.layer) == AFTER


@pytest.mark.parametrize("seed", range(6))
def test_bytes_that_changed_are_noticed(seed: int, whole: Files2) -> None:
    chance = random.Random(seed)
    for _ in range(15):
        changed = bytearray(whole.layer)
        for _ in range(chance.choice((1, 1, 4, 40))):
            changed[chance.randrange(len(changed) if chance.random() < 0.6 else HEADER_BYTES)] ^= chance.randrange(
                1, 256
            )
        with suppress(DamagedFile):
            found = whole.read(bytes(changed))
            assert found.items() <= AFTER.items()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_cut_or_longer_or_of_another_layer_is_refused(seed: int, whole: Files2) -> None:
    data, chance = whole.layer, random.Random(seed)
    other = whole.written(whole.directory / "other", {key: {"id": 5} for key in NEW}, b"3" * 20)
    lengths = [0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(data) - 1, *(chance.randrange(len(data)) for _ in range(10))]
    for cut in [*(data[:length] for length in lengths), data + b"\0", data * 2, whole.rows.read_bytes()]:
        with pytest.raises(DamagedFile):
            whole.read(cut)
    for _ in range(10):
        begin, end = sorted(chance.choices(range(len(data)), k=2))
        with suppress(DamagedFile):
            found = whole.read(data[:begin] + other[begin:end] + data[end:])
            assert found.items() <= AFTER.items()


@pytest.mark.parametrize("number", [1, 10, 31, 255, 2**16, 2**31, 2**32 - 1])
def test_sizes_that_lie_take_no_memory(number: int, whole: Files2) -> None:
    """Whatever a header says of sizes, with a digest that fits it: nothing is made of that length."""
    head = ChangesHead.unpacked(whole.layer[:HEADER_BYTES])
    tracemalloc.start()
    try:
        for field in ("data_end", "entries", "others", "named", "below", "flag_bits"):
            if getattr(head, field) == number:
                continue
            try:
                lying = head._replace(**{field: number})
                packed = lying.packed()
            except struct.error:  # it does not fit its field
                continue
            digest = digest_begun(lying)
            digest.update(whole.layer[head.data_end :])
            with pytest.raises(DamagedFile):
                whole.read(packed + digest.digest() + whole.layer[HEADER_BYTES:])
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


# --- in use -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def prices(declare: Declare, shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(decision, "FIRST_RETRY", 0.0)  # what failed is tried again by the next step
    return changing(declare)


def change(prices: Any, number: int) -> None:
    prices.table.put(
        **{f"key-{each}": {"id": -number, "text": "changed"} for each in range(number * 9, number * 9 + 20)}
    )
    prices.table.remove(f"key-{1000 + number}")
    assert prices.refresh(force=True).ok


def overwrite(path: Path, data: bytes) -> None:
    """Put another file with this content in the place of one."""
    other = path.with_suffix(".other")
    other.write_bytes(data)
    other.chmod(0o600)
    os.replace(other, path)


def test_a_layer_that_is_no_good_is_made_anew(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    change(prices, 1)
    follower.step()
    (path,) = files(".changes")
    whole = path.read_bytes()
    other = files(".rows")[0].read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], whole + b"x", whole[:-9] + b"12345678" + whole[-1:], other):
        overwrite(path, damaged)
        live_state(prices).forget()
        following(prices).step()
        check(prices)
        assert prices.status().state is State.VALID


def test_the_layer_of_another_version_is_no_good(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    change(prices, 1)
    follower.step()
    old = files(".changes")[0].read_bytes()
    change(prices, 2)
    follower.step()
    new = max(files(".changes"), key=lambda path: path.stat().st_mtime_ns)
    overwrite(new, old)
    live_state(prices).forget()
    following(prices).step()
    check(prices)


@pytest.mark.parametrize("kind", [".changes", ".rows"])
def test_a_row_that_is_damaged_raises_and_has_the_file_made_anew(
    kind: str, prices: Any, host: Any, following: Follow, files: Files
) -> None:
    follower = following(prices)
    follower.step()
    change(prices, 1)
    follower.step()
    (path,) = files(kind)
    where = path.read_bytes().index(b"key-11" if kind == ".changes" else b"key-1999")
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"KEY")
    with pytest.raises(CorruptBlock, match="the mapped file is damaged"):
        list(prices.items())
    follower.step()
    check(prices)
    assert prices.status().state is State.VALID
    assert host.state(prices).pending is None  # nothing is wrong in the record store
    change(prices, 2)
    follower.step()
    check(prices)


def test_damage_that_is_found_while_a_layer_is_made_is_no_reason_for_a_repair(
    prices: Any, host: Any, following: Follow, files: Files
) -> None:
    follower = following(prices)
    follower.step()
    (path,) = files(".rows")
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(b"key-15\x83") + 8)
        file.write(b"xxx")
    change(prices, 1)
    for _ in range(3):
        follower.step()
    check(prices)
    assert host.state(prices).pending is None


def test_a_file_below_that_is_gone_is_made_anew(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    change(prices, 1)
    follower.step()
    files(".rows")[0].unlink()
    live_state(prices).forget()
    other = following(prices)
    other.step()
    check(prices)
    change(prices, 2)
    follower.step()  # over what it has mapped nothing can be laid
    check(prices)
    live_state(prices).forget()
    other.step()
    check(prices)


def test_a_disk_that_is_full_leaves_the_old_version_in_use(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    before, names = dict(prices), files("")
    prices.table.put(large={"text": os.urandom(10).hex() * 2000})
    change(prices, 1)
    limit_files(size=30_000)
    try:
        follower.step()
        assert dict(prices) == before
        assert prices.status().state is State.INTERRUPTED
        assert "SHARED_DIR" in str(prices.status().error)
        assert files("") == names
    finally:
        unlimit_files()
    follower.step()
    check(prices)
    assert stack_of(prices).layers


def test_layers_that_cannot_be_folded_are_served_on(
    prices: Any, following: Follow, files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fold_at(0.0, monkeypatch)
    monkeypatch.setattr(folding, "SLICE", 60.0)
    follower = following(prices)
    follower.step()
    names = len(files(".rows"))
    change(prices, 1)
    limit_files(size=20_000)
    try:
        follower.step()
    finally:
        unlimit_files()
    assert "could not be folded" in caplog.text
    check(prices)
    assert prices.status().state is State.VALID
    assert len(files(".rows")) == names
    assert not files(".part")
    change(prices, 2)
    follower.step()
    fold_all(follower, files)
    assert len(files(".rows")) == names + 1


def test_a_child_serves_layers_and_lets_the_folding_alone(
    prices: Any, following: Follow, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_at(0.0, monkeypatch)
    follower = following(prices)
    follower.step()
    change(prices, 1)
    follower.step()
    assert files(".part")
    child = os.fork()
    if child == 0:  # pragma: no cover - in another process
        code = 1
        with suppress(BaseException):
            check(prices)
            follower.follower._fetching.shared._folding._steps.close()  # type: ignore[union-attr]
            code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert files(".part")
    fold_all(follower, files)
    assert len(files(".rows")) == 2
    change(prices, 2)
    follower.step()
    check(prices)
    assert stack_of(prices).damaged is None
