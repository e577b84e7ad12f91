"""The file of a store: where it may lie, and what happens when somebody changes it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ConfigurationError, ResponseError, StoreFull
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, connection, hub
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchLost, WatchRequest
from django_etcdaero.system.sqlite import path as path_rules
from tests.keyvalue.recording import Recording, short
from tests.paths import ROOT

UNPRIVILEGED = 65534


@pytest.fixture
def engine(path: Path) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine.file(path)
    yield engine
    engine.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def copy(path: Path, copied: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copied)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").fetchall()


def remove(path: Path) -> None:
    for file in (path, beside(path, "-wal"), beside(path, "-shm")):
        file.unlink(missing_ok=True)


def value(engine: EmbeddedEngine, key: bytes) -> bytes:
    found = engine.get(key)
    assert found is not None
    return found.value


def opened_under(path: Path) -> list[str]:
    """Return the names of this process's open files that begin with ``path``."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return [name for name in found if name.startswith(str(path))]


def test_the_file_and_its_directory_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kv.sqlite3"
    umask = os.umask(0)
    try:
        engine = EmbeddedEngine.file(path)
        engine.put(PutRequest(b"a"))
    finally:
        os.umask(umask)
    assert mode(path.parent) == 0o700
    assert {mode(beside(path, suffix)) for suffix in ("", "-wal", "-shm")} == {0o600}
    engine.close()
    assert os.listdir(path.parent) == ["kv.sqlite3"]


def test_a_file_open_to_others_is_closed_to_them(path: Path) -> None:
    EmbeddedEngine.file(path).close()
    path.chmod(0o644)
    EmbeddedEngine.file(path).close()
    assert mode(path) == 0o600


def test_data_survives_closing(path: Path, engine: EmbeddedEngine) -> None:
    engine.put(PutRequest(b"a", b"1"))
    engine.close()
    with closing(EmbeddedEngine.file(str(path))) as again:
        assert again.range(RangeRequest(b"a")).kvs[0].value == b"1"
        assert again.info.location == f"sqlite://{path}"


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with closing(EmbeddedEngine.file(path)) as engine:
        assert engine.put(PutRequest(b"a")).revision == 2


@pytest.mark.parametrize("content", [b"not a database at all, " * 100, b"x"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(ResponseError, match=str(path)):
        EmbeddedEngine.file(path)
    assert path.read_bytes() == content
    assert mode(path) == 0o644


def test_another_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ResponseError, match="not a key-value store"):
        EmbeddedEngine.file(path)


def test_a_later_format_is_refused(path: Path, engine: EmbeddedEngine) -> None:
    engine.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="format 99"):
        EmbeddedEngine.file(path)


def test_a_damaged_file_is_a_named_error(path: Path, engine: EmbeddedEngine) -> None:
    for number in range(300):
        engine.put(PutRequest(b"%d" % number, b"x" * 500))
    engine.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(ResponseError, match=str(path)):
        EmbeddedEngine.file(path).range(RangeRequest(b"\0", b"\0"))


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match=str(path)):
        EmbeddedEngine.file(path)


def _open_unprivileged(path: Path) -> str:
    """Return what a process without the rights of root says when it opens ``path``."""
    code = f"""
import os, sys
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, connection, hub
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({UNPRIVILEGED}); os.setuid({UNPRIVILEGED})
try:
    EmbeddedEngine.file({str(path)!r}).close()
except Exception as error:
    print(type(error).__name__, error)
"""
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert not done.stderr
    return done.stdout


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A path that a process without rights can reach, in a directory that it owns."""
    directory = Path("/tmp") / f"etcdaero-{os.getpid()}-{os.urandom(4).hex()}"
    directory.mkdir(mode=0o755)
    yield directory / "store.sqlite3"
    directory.chmod(0o755)
    shutil.rmtree(directory)


def _give_away(*paths: Path) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)


def test_a_read_only_file_is_refused(open_path: Path) -> None:
    EmbeddedEngine.file(open_path).close()
    open_path.chmod(0o400)
    _give_away(open_path.parent, open_path)
    said = _open_unprivileged(open_path)
    assert said.startswith(f"ConfigurationError the store {open_path} is read-only")


def test_a_read_only_directory_is_refused(open_path: Path) -> None:
    open_path.parent.chmod(0o555)
    _give_away(open_path.parent)
    assert _open_unprivileged(open_path).startswith(f"ConfigurationError the store {open_path} cannot be opened")
    open_path.parent.chmod(0o755)
    EmbeddedEngine.file(open_path).close()
    open_path.parent.chmod(0o555)
    _give_away(open_path.parent, open_path)
    assert _open_unprivileged(open_path).startswith(f"ConfigurationError the store {open_path} is read-only")


def test_the_file_of_somebody_else_is_refused(
    path: Path, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(ConfigurationError, match=f"{path}: belongs to user id {me}"):
        EmbeddedEngine.file(path)


def test_a_network_file_system_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"40 22 0:40 / {path.parent} rw - nfs server:/x rw\n")
    monkeypatch.setattr(path_rules, "MOUNTINFO", str(mounts))
    with pytest.raises(ConfigurationError, match=f"{path}: is on a network file system .nfs."):
        EmbeddedEngine.file(path)


def test_a_full_disk_is_said_to_be_full_and_the_store_stays_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 40").fetchall()
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with closing(EmbeddedEngine.file(path)) as engine:
        engine.put(PutRequest(b"a", b"1"))
        with pytest.raises(StoreFull, match=str(path)):
            engine.put(PutRequest(b"b", b"x" * 1_000_000))
        assert engine.range(RangeRequest(b"\0", b"\0")).count == 1
        assert engine.put(PutRequest(b"a", b"2")).revision == 3


# replaced ------------------------------------------------------------------------------------------------------------


def test_a_deleted_file_is_a_reset(path: Path, engine: EmbeddedEngine) -> None:
    engine.put(PutRequest(b"a", b"1"))
    old, new = Recording(), Recording()
    engine.watch(WatchRequest(b"a"), old)
    path.unlink()
    assert engine.range(RangeRequest(b"a")).kvs == ()
    assert old.wait_lost() is WatchLost.RESET
    engine.watch(WatchRequest(b"a"), new)
    assert engine.put(PutRequest(b"a", b"2")).revision == 2
    assert short(new.wait(1)) == ["+a=2"]
    with closing(EmbeddedEngine.file(path)) as other:
        assert other.range(RangeRequest(b"a")).kvs[0].value == b"2"


@pytest.mark.parametrize("revisions", [1, 500])
def test_a_replaced_file_is_a_reset_whatever_its_revision(tmp_path: Path, path: Path, revisions: int) -> None:
    spare = tmp_path / "spare.sqlite3"
    with closing(EmbeddedEngine.file(spare)) as other:
        for number in range(revisions):
            other.put(PutRequest(b"spare", b"%d" % number))
    with closing(EmbeddedEngine.file(path)) as engine:
        for _ in range(10):
            engine.put(PutRequest(b"a"))
        seen = Recording()
        engine.watch(WatchRequest(b"a"), seen)
        os.replace(spare, path)
        assert seen.wait_lost() is WatchLost.RESET
        assert engine.range(RangeRequest(b"spare")).revision == revisions + 1
        assert engine.put(PutRequest(b"a")).revision == revisions + 2
        assert seen.events == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_log_that_is_given_the_number_of_a_lost_one_stays(tmp_path: Path, path: Path, engine: EmbeddedEngine) -> None:
    engine.put(PutRequest(b"a", b"1"))
    copy(path, tmp_path / "copy")
    number = beside(path, "-wal").stat().st_ino
    remove(path)
    path.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(ResponseError, match="not a database"):
        engine.put(PutRequest(b"a", b"2"))
    with pytest.raises(ResponseError, match="not a database"):
        engine.get(b"a")
    os.rename(tmp_path / "copy", path)
    for n in range(500):  # a file system that gives numbers away again soon (ext4) would do it now
        new = tmp_path / str(n)
        new.touch()
        if new.stat().st_ino == number:
            new.rename(beside(path, "-wal"))
            break
    other = EmbeddedEngine.file(path)
    other.put(PutRequest(b"b", b"of the other"))
    assert value(engine, b"b") == b"of the other"
    engine.put(PutRequest(b"c", b"of this"))
    assert value(other, b"c") == b"of this"
    other.close()


def test_the_log_of_a_replaced_file_is_not_taken_for_its_successors_own(
    tmp_path: Path, path: Path, engine: EmbeddedEngine
) -> None:
    engine.put(PutRequest(b"a", b"1"))
    copy(path, tmp_path / "copy")
    engine.put(PutRequest(b"a", b"2"))  # which only the log has
    os.rename(tmp_path / "copy", path)
    assert value(engine, b"a") == b"1"
    engine.put(PutRequest(b"b", b"3"))
    other = EmbeddedEngine.file(path)
    assert (value(other, b"a"), value(other, b"b")) == (b"1", b"3")
    other.close()


def test_nothing_of_replaced_files_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "replaced.sqlite3"
    engine = EmbeddedEngine.file(path)
    for n in range(5):
        remove(path)
        engine.put(PutRequest(b"n", str(n).encode()))
        assert value(engine, b"n") == str(n).encode()
    assert [name for name in opened_under(path) if name.endswith("(deleted)")] == []
    engine.close()
    assert opened_under(path) == []


def test_a_truncated_file_is_a_reset(path: Path, engine: EmbeddedEngine) -> None:
    engine.put(PutRequest(b"a"))
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    os.truncate(path, 0)
    assert seen.wait_lost() is WatchLost.RESET
    assert engine.put(PutRequest(b"a")).revision == 2


def test_a_store_restored_in_place_is_a_reset(path: Path, engine: EmbeddedEngine, tmp_path: Path) -> None:
    engine.put(PutRequest(b"a", b"old"))
    with closing(sqlite3.connect(tmp_path / "backup")) as backup, closing(sqlite3.connect(path)) as live:
        live.backup(backup)
        engine.put(PutRequest(b"a", b"new"))
        seen = Recording()
        engine.watch(WatchRequest(b"a"), seen)
        engine.put(PutRequest(b"a", b"newer"))
        seen.wait(1)
        backup.backup(live)
    assert seen.wait_lost() is WatchLost.RESET
    assert engine.range(RangeRequest(b"a")).kvs[0].value == b"old"


def test_a_write_that_the_files_times_do_not_show_is_noticed_all_the_same(
    path: Path, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes in one tick of the file system's clock leave the same times."""
    monkeypatch.setattr(connection, "_stamp", lambda path: "the same")
    monkeypatch.setattr(hub, "_TICK", 0.0)
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    with closing(EmbeddedEngine.file(path)) as other:
        for number in range(3):
            other.put(PutRequest(b"a", b"%d" % number))
            assert short(seen.wait(number + 1))[-1] == f"+a={number}"
