"""The rules by which SQLite files are opened."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ConfigurationError, ResponseError, StoreBusy
from django_etcdaero.system.sqlite import opening
from django_etcdaero.system.sqlite import path as path_rules
from django_etcdaero.system.sqlite.creation import make_directories
from django_etcdaero.system.sqlite.opening import Schema
from django_etcdaero.system.sqlite.path import identity_of
from tests.paths import ROOT

SCHEMA = Schema(application_id=0x74657374, version=1, statements=("CREATE TABLE numbers (n INTEGER)",))


@contextlib.contextmanager
def opened(path: Path, schema: Schema = SCHEMA) -> Iterator[sqlite3.Connection]:
    connection, _ = opening.open_database(str(path), schema, timeout=5.0)
    with contextlib.closing(connection):
        yield connection


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_new_file_and_its_companions_and_directories_are_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.sqlite3"
    before = os.umask(0)
    try:
        with opened(path) as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
            assert [mode(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")] == [0o600] * 3
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700


def test_a_file_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    with opened(path):
        pass
    path.chmod(0o644)
    with opened(path):
        assert mode(path) == 0o600


def test_a_file_that_cannot_be_made_private_is_refused_and_not_kept_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.sqlite3"
    with opened(path):
        pass
    path.chmod(0o644)

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(ConfigurationError, match=r"file\.sqlite3.*Read-only"), opened(path):
        pass
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [name for name in links if name.startswith(str(path))]


def test_the_mode_of_a_file_that_is_not_ours_stays_as_it_is(tmp_path: Path) -> None:
    text, foreign = tmp_path / "text", tmp_path / "foreign.sqlite3"
    text.write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE blog (post TEXT)")
    for path in (text, foreign):
        path.chmod(0o644)
        with pytest.raises(ResponseError, match=path.name), opened(path):
            pass
        assert mode(path) == 0o644


def test_the_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.sqlite3"
    with opened(path):
        pass
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(ConfigurationError, match=rf"file\.sqlite3.* runs as {stranger}"), opened(path):
        pass


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_refused_before_anything_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    _mounts(tmp_path, monkeypatch, f"30 1 0:30 / {tmp_path}/remote rw shared:1 - {kind} server:/x rw")
    path = tmp_path / "remote" / "sub" / "file.sqlite3"
    with pytest.raises(ConfigurationError, match=rf"file\.sqlite3.*\({kind}\)"), opened(path):
        pass
    assert not (tmp_path / "remote").exists()


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        (["/ nfs4"], True),
        (["/ nfs4", "{tmp} ext4"], False),
        (["{tmp} nfs4", "{tmp} ext4"], False),
        (["{tmp} ext4", "{tmp} nfs4"], True),
        (["/ ext4", "{tmp}/fi nfs4"], False),
        (["/ ext4", "{tmp}/with\\040space nfs4"], True),
        (["/ overlay", "{tmp}/other nfs4"], False),
    ],
    ids=str,
)
def test_the_mount_nearest_to_the_file_and_the_last_on_its_place_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: list[str], refused: bool
) -> None:
    lines = []
    for number, mount in enumerate(mounts):
        point, kind = mount.format(tmp=tmp_path).split(" ")
        lines.append(f"{number} 1 0:{number} / {point} rw,relatime - {kind} source rw")
    _mounts(tmp_path, monkeypatch, *lines)
    with pytest.raises(ConfigurationError) if refused else contextlib.nullcontext():
        path_rules.check_filesystem(str(tmp_path / "with space" / "file.sqlite3"))


def test_without_a_list_of_mounts_every_file_system_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_rules, "MOUNTINFO", str(tmp_path / "missing"))
    with opened(tmp_path / "file.sqlite3") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_link_to_a_network_file_system_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mounts(tmp_path, monkeypatch, f"30 1 0:30 / {tmp_path}/remote rw - nfs4 server:/x rw")
    (tmp_path / "remote").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "remote")
    with pytest.raises(ConfigurationError):
        path_rules.check_filesystem(str(tmp_path / "link" / "file.sqlite3"))


def _mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(path_rules, "MOUNTINFO", str(tmp_path / "mountinfo"))


@pytest.mark.parametrize("obstacle", ["directory", "fifo", "parent is a file"])
def test_what_cannot_be_a_database_is_refused(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "file.sqlite3"
    if obstacle == "directory":
        path.mkdir()
    elif obstacle == "fifo":
        os.mkfifo(path)
    else:
        path.touch()
        path = path / "file.sqlite3"
    with pytest.raises(ConfigurationError, match=r"file\.sqlite3"), opened(path):
        pass


def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(ResponseError, match=r"file\.sqlite3.*another application"), opened(path):
        pass
    assert path.read_bytes() == before


def test_a_database_of_ours_for_another_purpose_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    with opened(path):
        pass
    with pytest.raises(ResponseError, match="another application"), opened(path, replace(SCHEMA, application_id=7)):
        pass


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    with opened(path, replace(SCHEMA, version=2)):
        pass
    with pytest.raises(ConfigurationError, match=r"file\.sqlite3.*newer"), opened(path):
        pass


def test_many_may_create_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"

    def insert(number: int) -> None:
        with opened(path) as connection:
            connection.execute("PRAGMA busy_timeout = 10000")
            connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(insert, range(8)))
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (8,)


def test_waiting_for_another_creator_is_bounded(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy):
            opening.prepare(str(tmp_path / "file.sqlite3"), SCHEMA, timeout=0.1)
    finally:
        os.close(directory)


def test_what_a_deleted_database_left_is_removed_before_the_new_one_exists(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    left = [Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal")]
    for file in left:
        file.write_bytes(b"left")
    opening.prepare(str(path), SCHEMA, timeout=5.0)
    assert path.read_bytes().startswith(b"SQLite format 3")
    assert not [file for file in left if file.exists()]


def test_a_leaked_connection_is_never_closed(tmp_path: Path) -> None:
    script = f"""
import os
from django_etcdaero.system.sqlite import opening
from django_etcdaero.system.sqlite.creation import make_directories
from django_etcdaero.system.sqlite.opening import Schema
path = {str(tmp_path / "file.sqlite3")!r}
schema = Schema(7, 1, ("CREATE TABLE numbers (n INTEGER)",))
connection, _ = opening.open_database(path, schema, timeout=5.0)
opening.leak(connection)
del connection
print(sum(os.path.realpath(entry.path) == path for entry in os.scandir("/proc/self/fd")))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert Path(f"{tmp_path}/file.sqlite3-wal").exists()


def test_identity_changes_with_the_file_and_is_none_without(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    assert identity_of(str(path)) is None
    connection, first = opening.open_database(str(path), SCHEMA, timeout=5.0)
    assert identity_of(str(path)) == first
    path.unlink()
    other, second = opening.open_database(str(path), SCHEMA, timeout=5.0)
    assert identity_of(str(path)) == second != first
    other.close()
    connection.close()


def test_the_directory_of_the_default_files_is_left_out_by_git(tmp_path: Path) -> None:
    make_directories(str(tmp_path / ".etcdaero" / "below"))
    make_directories(str(tmp_path / "other"))
    assert (tmp_path / ".etcdaero" / ".gitignore").read_text().endswith("\n*\n")
    assert not list(tmp_path.glob("other/*"))
    assert not list(tmp_path.glob(".etcdaero/below/*"))


def test_a_directory_that_was_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".etcdaero").mkdir()
    make_directories(str(tmp_path / ".etcdaero"))
    assert list(tmp_path.glob(".etcdaero/*")) == []
