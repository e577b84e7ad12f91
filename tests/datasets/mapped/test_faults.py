"""What can be wrong with the directory of shared files, and with the processes that use it."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.datasets.mapped import versions
from django_etcdaero.datasets.read import decision
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.announcement import Copy
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError, DatasetNotReady, DatasetStale
from tests.datasets.hosting import Following, publish
from tests.full_disk import limit_files, small_disk, unlimit_files

from .conftest import is_mapped

Declare = Callable[..., Any]
Follow = Callable[..., Following]
Files = Callable[[str], list[Path]]

ROWS = {f"key-{number}": {"id": number} for number in range(1000)}
MORE = {**ROWS, "more": {"text": os.urandom(10).hex() * 5000}}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def prices(declare: Declare, shared_dir: Path) -> Any:
    dataset = declare(ROWS, shared=True)
    publish(dataset)
    return dataset


@pytest.fixture
def retried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again by the next step."""
    monkeypatch.setattr(decision, "FIRST_RETRY", 0.0)


def stranger() -> int:
    """Return the id of a user that is neither this one nor root."""
    return 12_345


# --- who may do what --------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("what", ["file", "directory", "top"])
def test_what_belongs_to_another_user_is_refused(
    what: str, prices: Any, shared_dir: Path, following: Follow, files: Files
) -> None:
    following(prices).step()
    (path,) = files(".rows")
    given = {"file": path, "directory": path.parent, "top": shared_dir}[what]
    os.chown(given, stranger(), -1)
    live_state(prices).forget()
    following(prices).step()
    assert f"{given} belongs to user id {stranger()}, this process runs as 0" in str(prices.status().error)
    with pytest.raises(DatasetNotReady):
        prices.snapshot()
    os.chown(given, 0, -1)


@pytest.mark.parametrize("what", ["file", "directory", "top"])
def test_what_others_may_write_is_refused(
    what: str, prices: Any, shared_dir: Path, following: Follow, files: Files
) -> None:
    following(prices).step()
    (path,) = files(".rows")
    given = {"file": path, "directory": path.parent, "top": shared_dir}[what]
    given.chmod(0o770)
    live_state(prices).forget()
    following(prices).step()
    assert f"{given} may be written by other users: chmod go-w it" in str(prices.status().error)


def test_a_link_in_the_place_of_the_file_is_not_followed(prices: Any, following: Follow, files: Files) -> None:
    following(prices).step()
    (path,) = files(".rows")
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))
    live_state(prices).forget()
    following(prices).step()
    assert f"{path} cannot be read: Too many levels of symbolic links" in str(prices.status().error)


def test_a_file_in_the_place_of_the_directory_is_told(prices: Any, shared_dir: Path, following: Follow) -> None:
    shared_dir.write_text("a file")
    following(prices).step()
    assert f"SHARED_DIR: {shared_dir} is not a directory" in str(prices.status().error)


def test_a_network_file_system_is_refused(
    prices: Any, tmp_path: Path, shared_dir: Path, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:20 / {tmp_path} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr("django_etcdaero.system.sqlite.path.MOUNTINFO", str(mounts))
    following(prices).step()
    assert f"SHARED_DIR: {shared_dir} is on a network file system (nfs4)" in str(prices.status().error)


def test_the_file_of_another_version_is_no_good(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    (old,) = files(".rows")
    content = old.read_bytes()
    publish(prices, {"a": 1})
    follower.step()
    (new,) = files(".rows")
    new.write_bytes(content)
    live_state(prices).forget()
    following(prices).step()
    assert dict(prices) == {"a": 1}


# --- disks ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_version_in_use_and_nothing_behind(
    prices: Any, host: Any, following: Follow, files: Files, retried_at_once: None
) -> None:
    follower = following(prices)
    follower.step()
    before = files("")
    publish(prices, MORE)
    limit_files(size=30_000)
    try:
        follower.step()
    finally:
        unlimit_files()
    assert dict(prices) == ROWS
    status = prices.status()
    assert status.state is State.INTERRUPTED
    assert "SHARED_DIR" in str(status.error)
    assert "File too large" in str(status.error)
    assert files("") == before
    follower.step()
    assert dict(prices) == MORE
    assert prices.status().state is State.VALID
    assert host.state(prices).pending is None


def test_a_disk_without_room_is_told_before_anything_is_written(
    declare: Declare,
    host: Any,
    tmp_path: Path,
    following: Follow,
    retried_at_once: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = declare(MORE, shared=True)
    publish(dataset)
    with small_disk(tmp_path / "disk") as disk:
        alias = host.aliases["default"]
        alias.stores = dataclasses.replace(alias.stores, shared_dir=str(disk.directory))
        disk.fill()
        follower = following(dataset)
        follower.step()
        assert "SHARED_DIR" in str(dataset.status().error)
        disk.make_room()
        follower.step()
        assert dict(dataset) == MORE
        # Now nobody may write there any more: what is there is mapped, and what is not is told.
        subprocess.run(["mount", "-o", "remount,ro", str(disk.directory)], check=True)
        live_state(dataset).forget()
        other = following(dataset)
        other.step()
        assert dict(dataset) == MORE
        assert dataset.status().state is State.VALID
        publish(dataset, ROWS)
        monkeypatch.setattr(versions, "PATIENCE", 0.0)  # no other process makes it
        other.step()
        assert dict(dataset) == MORE
        assert "this process must not write in" in str(dataset.status().error)
        assert "Read-only file system" in str(dataset.status().error)
        live_state(dataset).forget()


# --- other processes --------------------------------------------------------------------------------------------------


def test_while_another_process_makes_the_file_nobody_waits_in_a_thread(
    prices: Any, host: Any, shared_dir: Path, following: Follow, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = following(prices)
    follower.step()
    (lock,) = files("building.lock")
    publish(prices, MORE)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        follower.step()
        assert dict(prices) == ROWS
        assert follower.follower.next_at < float("inf")
        assert prices.status().state is State.VALID
        # It hangs: one of the others does not wait for it for ever.
        monkeypatch.setattr(versions, "HANGING", 0.0)
        follower.step()
        with lock.with_name("1-building.lock").open("w") as second:
            fcntl.flock(second, fcntl.LOCK_EX)
            monkeypatch.setattr(versions, "HANGING", 60.0)
            follower.step()
            assert dict(prices) == ROWS
        follower.step()
        assert dict(prices) == MORE


def test_what_a_process_left_behind_is_removed(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    (path,) = files(".rows")
    left = [path.with_name("00" * 20 + ".xyz.part"), path.with_name("00" * 20 + ".rows")]
    used = path.with_name("11" * 20 + ".xyz.part")
    for each in (*left, used):
        each.write_bytes(b"x")
    with used.open() as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        publish(prices, MORE)
        follower.step()
        assert not any(each.exists() for each in left)
        assert used.exists()


def test_a_file_lives_on_in_the_child_of_a_fork(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    (path,) = files(".rows")
    go, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in another process
        code = 1
        with suppress(BaseException):
            os.read(go[0], 1)
            code = 0 if dict(prices.snapshot()) == ROWS else 2
            os.write(told[1], b"x")
            os.read(go[0], 1)
        os._exit(code)
    publish(prices, MORE)
    follower.step()
    assert dict(prices) == MORE
    assert not is_mapped(path)
    assert path.exists()  # the child still maps it
    os.write(go[1], b"x")
    assert os.read(told[0], 1) == b"x"
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publish(prices, ROWS | {"last": 1})
    follower.step()
    assert not path.exists()
    for each in (*go, *told):
        os.close(each)


# --- stores that are away ---------------------------------------------------------------------------------------------


def test_rows_of_a_file_may_be_too_old_to_start_from(declare: Declare, host: Any, following: Follow) -> None:
    dataset = declare(ROWS, shared=True, max_stale=timedelta(hours=1))
    publish(dataset)
    following(dataset).step()
    live_state(dataset).forget()
    host.records.broken = ClusterError("nobody is there")
    host.engine.break_("range", host.records.broken)
    age_of_notes(host, -7200)
    following(dataset).step()
    with pytest.raises(DatasetStale, match=r"the source was last read 7\d\d\d s ago"):
        dataset.snapshot()


def age_of_notes(host: Any, seconds: float) -> None:
    """Let what is noted of the version in use say that it was loaded earlier."""
    (note,) = Path(host.stores("default").shared_dir).rglob("newest.json")
    copy = Copy.decode(note.read_bytes())
    older = dataclasses.replace(copy.announcement, load_started=copy.announcement.load_started + seconds)
    note.write_bytes(dataclasses.replace(copy, announcement=older).encode())


@pytest.mark.parametrize("note", [b"", b"{}", b"\xff", b'{"mod_revision": 1, "announcement": {}}'])
def test_a_note_that_makes_no_sense_is_none(note: bytes, prices: Any, host: Any, following: Follow) -> None:
    following(prices).step()
    (path,) = Path(host.stores("default").shared_dir).rglob("newest.json")
    path.write_bytes(note)
    live_state(prices).forget()
    host.records.broken = ClusterError("nobody is there")
    host.engine.break_("range", host.records.broken)
    follower = following(prices)
    follower.step()
    with pytest.raises(DatasetNotReady):
        prices.snapshot()
    host.records.broken = None
    host.engine.mend()
    follower.step()
    assert dict(prices) == ROWS


def test_a_large_fetch_that_is_put_off_reads_no_manifest_again_and_again(
    declare: Declare, host: Any, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_etcdaero.datasets.read.fetching.SPLAY_BYTES", 10)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    dataset = declare(ROWS, shared=True)
    publish(dataset)
    follower = following(dataset, splay=3600.0)
    follower.follower.wanted = True
    follower.step()
    publish(dataset, {key: {"changed": 1} for key in ROWS})
    follower.step()
    calls = host.records.calls["get_many"]
    for _ in range(3):
        follower.step()
    assert host.records.calls["get_many"] == calls
    assert dict(dataset) == ROWS
    follower.follower.wanted = True  # somebody waits for it
    follower.step()
    assert dict(dataset) == {key: {"changed": 1} for key in ROWS}
