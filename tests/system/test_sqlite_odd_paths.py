"""What is no file of ours at the path of a store is refused, and stays what it was, whichever setting names it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from django_etcdaero import schemes
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.stores.address import Address, Plane


def device(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def of_another_user(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    path.touch()
    os.chown(path, 1234, 1234)


KINDS = [device, os.mkfifo, listening, Path.mkdir, of_another_user]


def look(directory: Path) -> dict[str, tuple[int, int, int]]:
    return {each.name: (each.lstat().st_mode, each.lstat().st_uid, each.lstat().st_ino) for each in directory.iterdir()}


def use(address: Address, plane: Plane) -> None:
    if plane is Plane.KV:
        schemes.open_engine(address, timeout=1).lease_list()
    else:
        schemes.open_store(address, timeout=1).get(b"key")


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "linked"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_of_ours_is_refused_and_stays(
    tmp_path: Path, kind: Callable[[Path], object], linked: bool, plane: Plane
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    kind(there / "odd")
    path = there / "odd"
    if linked:
        path = tmp_path / "link"
        path.symlink_to(there / "odd")
    before = look(there)
    address = schemes.parse(f"sqlite:///{path}", plane=plane).of_alias("shop")
    with pytest.raises(ConfigurationError, match=r"not a regular file|belongs to user id 1234"):
        use(address, plane)
    assert look(there) == before
