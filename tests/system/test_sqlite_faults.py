"""The same fault of a SQLite file is the same exception from a key-value store and from a record store."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ConfigurationError,
    EtcdAeroError,
    ResponseError,
    StoreBusy,
    StoreFull,
)
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.system.sqlite import path as path_rules
from tests.paths import ROOT

UNPRIVILEGED = 65534
TIMEOUT = 0.2


class KeyValues:
    """One half: what its calls are."""

    def __init__(self, path: Path) -> None:
        self.engine = EmbeddedEngine.file(path, busy_timeout=TIMEOUT)

    def write(self, value: bytes) -> None:
        self.engine.put(PutRequest(b"k", value))

    def close(self) -> None:
        self.engine.close()


class Records:
    """The other half."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path, busy_timeout=TIMEOUT)

    def write(self, value: bytes) -> None:
        self.store.put(b"k", value)

    def close(self) -> None:
        self.store.close()


HALVES: tuple[type[KeyValues] | type[Records], ...] = (KeyValues, Records)
HALF = pytest.mark.parametrize("half", HALVES)


def make(half: type[KeyValues] | type[Records], path: Path) -> None:
    with closing(half(path)) as opened:
        opened.write(b"v")


def refused(half: type[KeyValues] | type[Records], path: Path, value: bytes = b"v") -> EtcdAeroError:
    """Return what opening and writing raise."""
    with pytest.raises(EtcdAeroError) as caught, closing(half(path)) as opened:
        opened.write(value)
    return caught.value


# --- what is at the path ---------------------------------------------------------------------------------------------


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 500)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def _damaged_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:16] = b"\xa5" * 16
    path.write_bytes(bytes(content))


def _version(number: int) -> Callable[[Path], None]:
    def set_version(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {number}")

    return set_version


def _under_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "expected", "said"),
    [
        (_garbage, ResponseError, "is damaged or is not a database"),
        (_foreign, ResponseError, "another application"),
        (os.mkfifo, ConfigurationError, "not a regular file"),
        (Path.mkdir, ConfigurationError, "not a regular file"),
        (_under_a_file, ConfigurationError, "cannot be opened"),
    ],
)
@HALF
def test_what_cannot_be_a_store(
    half: type[KeyValues] | type[Records],
    spoil: Callable[[Path], None],
    expected: type[EtcdAeroError],
    said: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "sub" / "store.sqlite3"
    path.parent.mkdir()
    spoil(path)
    error = refused(half, path)
    assert type(error) is expected
    assert str(path) in str(error)
    assert said in str(error)


@pytest.mark.parametrize(
    ("spoil", "expected", "said"),
    [
        (_damaged_header, ResponseError, "is damaged or is not a database"),
        (_version(99), ConfigurationError, "format 99"),
        (_version(0), ResponseError, "format 0"),
    ],
    ids=["damaged", "newer", "unknown"],
)
@HALF
def test_what_is_no_store_any_more(
    half: type[KeyValues] | type[Records],
    spoil: Callable[[Path], None],
    expected: type[EtcdAeroError],
    said: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite3"
    make(half, path)
    spoil(path)
    before = path.read_bytes()
    error = refused(half, path)
    assert type(error) is expected
    assert str(path) in str(error)
    assert said in str(error)
    assert path.read_bytes() == before


def test_each_half_refuses_the_file_of_the_other(tmp_path: Path) -> None:
    for half, other in (HALVES, HALVES[::-1]):
        path = tmp_path / half.__name__
        make(half, path)
        error = refused(other, path)
        assert type(error) is ResponseError
        assert str(path) in str(error)


@HALF
def test_the_owner_and_the_file_system_are_looked_at(
    half: type[KeyValues] | type[Records], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite3"
    make(half, path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 12345)
        error = refused(half, path)
    assert (type(error), "belongs to user id" in str(error)) == (ConfigurationError, True)
    (tmp_path / "mounts").write_text(f"40 22 0:40 / {tmp_path} rw - nfs server:/x rw\n")
    monkeypatch.setattr(path_rules, "MOUNTINFO", str(tmp_path / "mounts"))
    error = refused(half, path)
    assert (type(error), f"{path}: is on a network file system (nfs)" in str(error)) == (ConfigurationError, True)


@HALF
def test_a_missing_directory_is_made(half: type[KeyValues] | type[Records], tmp_path: Path) -> None:
    make(half, tmp_path / "some" / "directory" / "store.sqlite3")


# --- what SQLite says during a call ----------------------------------------------------------------------------------


@pytest.fixture
def every_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[sqlite3.Connection], object]], None]:
    """Does something with each connection that is opened from now on."""
    connect = sqlite3.connect

    def arrange(do: Callable[[sqlite3.Connection], object]) -> None:
        def connect_and_do(*arguments: object, **options: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
            do(connection)
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect_and_do)

    return arrange


@HALF
def test_a_full_disk(half: type[KeyValues] | type[Records], tmp_path: Path, every_connection: Callable) -> None:
    path = tmp_path / "store.sqlite3"
    make(half, path)
    every_connection(lambda connection: connection.execute("PRAGMA max_page_count = 20").fetchall())
    error = refused(half, path, b"x" * 900_000)
    assert type(error) is StoreFull
    assert str(path) in str(error)


@HALF
def test_no_right_to_write(half: type[KeyValues] | type[Records], tmp_path: Path, every_connection: Callable) -> None:
    path = tmp_path / "store.sqlite3"
    make(half, path)
    every_connection(lambda connection: connection.execute("PRAGMA query_only = 1").fetchall())
    error = refused(half, path)
    assert type(error) is ConfigurationError
    assert str(path) in str(error)


@HALF
def test_an_interrupted_call(half: type[KeyValues] | type[Records], tmp_path: Path, every_connection: Callable) -> None:
    path = tmp_path / "store.sqlite3"
    interrupting: list[bool] = []
    every_connection(lambda connection: connection.set_progress_handler(lambda: bool(interrupting), 1))
    with closing(half(path)) as opened:
        opened.write(b"before")
        interrupting.append(True)
        with pytest.raises(Cancelled) as caught:
            opened.write(b"v")
        assert type(caught.value) is Cancelled
        assert str(path) in str(caught.value)
        interrupting.clear()
        opened.write(b"after")


@HALF
def test_another_process_that_holds_the_file(half: type[KeyValues] | type[Records], tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    make(half, path)
    with closing(half(path)) as opened:
        opened.write(b"v")
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy) as caught:
                opened.write(b"v")
        assert type(caught.value) is StoreBusy
        assert str(path) in str(caught.value)
        opened.write(b"after")


# --- what only a process of its own can meet -------------------------------------------------------------------------

PROGRAM = """
import os, resource, sqlite3, sys
from pathlib import Path
from tests.system.test_sqlite_faults import HALVES, UNPRIVILEGED, make
fault, half, path = sys.argv[1], HALVES[int(sys.argv[2])], Path(sys.argv[3])
if fault == "rights" and os.geteuid() == 0:
    os.setgroups([]); os.setgid(UNPRIVILEGED); os.setuid(UNPRIVILEGED)
if fault == "descriptors":
    opened = half(path.with_name("other"))  # so that all is imported
    used = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        os.close(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, used - 1))
if fault == "size":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
if fault == "memory":
    sqlite3.connect(":memory:").execute("PRAGMA hard_heap_limit = 400000").fetchall()
try:
    opened = half(path)
    opened.write(b"x" * 900_000)
except Exception as error:
    print(type(error).__name__, str(path) in str(error))
"""


def in_a_process(fault: str, half: type[KeyValues] | type[Records], path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, fault, str(HALVES.index(half)), str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    return done.stdout.strip()


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "directory"),
    [(0o400, 0o755), (0o000, 0o755), (0o600, 0o555), (None, 0o555), (None, 0o000)],
    ids=["read-only file", "no rights to the file", "read-only directory", "none to make it", "closed directory"],
)
@HALF
def test_missing_rights(
    half: type[KeyValues] | type[Records], file: int | None, directory: int, open_path: Path
) -> None:
    if file is not None:
        make(half, open_path)
        open_path.chmod(file)
        _give_away(open_path)
    _give_away(open_path.parent)
    open_path.parent.chmod(directory)
    assert in_a_process("rights", half, open_path) == "ConfigurationError True"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("descriptors", "ClusterError True"),
        ("size", "ClusterError True"),
        ("memory", "MemoryError False"),  # which Python raises itself
    ],
)
@HALF
def test_what_the_system_does_not_give(
    half: type[KeyValues] | type[Records], fault: str, said: str, tmp_path: Path
) -> None:
    make(half, tmp_path / "store.sqlite3")
    assert in_a_process(fault, half, tmp_path / "store.sqlite3") == said
