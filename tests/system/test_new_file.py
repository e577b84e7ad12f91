"""What a file takes the place of: a file, where a link leads to, nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from django_etcdaero.system.new_file import NewFile


def write(path: Path) -> None:
    with NewFile(path) as new:
        new.file.write(b"new")
        new.commit()


def test_a_pipe_or_device_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(OSError, match="no file may replace"):
            write(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write(tmp_path)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("before", [b"old", None])
def test_a_link_stays_one(tmp_path: Path, before: bytes | None) -> None:
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    real.parent.mkdir()
    if before is not None:
        real.write_bytes(before)
    link.symlink_to(real)
    write(link)
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert os.listdir(real.parent) == ["real"]
