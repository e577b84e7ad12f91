"""The commands that work with keys: what they print and do, what they refuse, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_etcdaero import kv
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.testing import failing_kv
from tests.management.running import run, untimed
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def _empty(closing: None) -> Iterator[None]:
    kv.delete_range("", prefix=True, everything=True)
    yield
    kv.delete_range("", prefix=True, everything=True)


def refusal(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=io.StringIO(), stderr=io.StringIO())
    return str(caught.value), caught.value.returncode


def value_of(key: str | bytes) -> bytes | None:
    found = kv.get(key)
    return None if found is None else found.value


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(*arguments: str) -> str:
    out = Terminal()
    call_command(*arguments, stdout=out, no_color=True)
    return out.getvalue()


# --- get -------------------------------------------------------------------------------------------------------------


def test_get_prints_the_value() -> None:
    kv.put("a", '{"price":12}')
    assert run("etcdaero_get", "a") == (0, '{"price":12}')
    assert on_terminal("etcdaero_get", "a") == '{\n  "price": 12\n}\n'
    assert run("etcdaero_get", "a", "--form", "hex")[1].startswith("00000000  7b 22")
    said = json.loads(run("etcdaero_get", "a", "--json")[1])
    assert (said["key"], said["value"], said["version"], said["lease"]) == ("a", '{"price":12}', 1, None)


def test_get_takes_any_key_and_value() -> None:
    kv.put(b"a\xff\\", b"\xff")
    assert json.loads(run("etcdaero_get", r"a\xff\\", "--json")[1])["base64"] == "/w=="
    assert refusal("etcdaero_get", "a\\")[1] == 2
    assert refusal("etcdaero_get", "")[1] == 2


def test_get_of_what_is_not_there() -> None:
    assert refusal("etcdaero_get", "a") == ("no such key: a", 1)
    assert refusal("etcdaero_get", "a", "--using", "nobody")[1] == 2
    assert refusal("etcdaero_get", "a", "--revision", "-1")[1] == 2
    assert "cannot be read" in refusal("etcdaero_get", "a", "--revision", "99999999")[0]
    with failing_kv(ClusterError("nobody answers")):
        said, code = refusal("etcdaero_get", "a")
        assert (untimed(said), code) == ("ClusterError: nobody answers", 1)


def test_get_as_it_was() -> None:
    first = kv.put("a", "1").revision
    kv.put("a", "2")
    assert run("etcdaero_get", "a", "--revision", str(first)) == (0, "1")


def test_get_the_history_of_all_lives() -> None:
    first = kv.put("a", "1").revision
    gone = kv.delete("a").revision
    second = kv.put("a", "2").revision
    third = kv.put("a", "3").revision
    lines = run("etcdaero_get", "a", "--history")[1].splitlines()
    assert lines == [
        f"2\t{third}\tnow\t1\t3",
        f"1\t{second}\treplaced with {third}\t1\t2",
        f"1\t{first}\tdeleted with {gone}\t1\t1",
    ]
    assert on_terminal("etcdaero_get", "a", "--history").splitlines()[0].split() == [
        *("VERSION", "REVISION", "UNTIL", "BYTES", "VALUE")
    ]
    said = [
        json.loads(line) for line in run("etcdaero_get", "a", "--history", "--json", "--limit", "2")[1].splitlines()
    ]
    assert [each["value"] for each in said] == ["3", "2"]
    assert refusal("etcdaero_get", "b", "--history")[1] == 1


# --- put -------------------------------------------------------------------------------------------------------------


def test_put_from_an_argument_a_file_and_the_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("etcdaero_put", "a", "12")[0] == 0
    assert value_of("a") == b"12"
    path = tmp_path / "value"
    path.write_bytes(b"\xff\0")
    said = json.loads(run("etcdaero_put", "a", "--file", str(path), "--json")[1])
    found = kv.get("a")
    assert found is not None
    assert (found.value, found.mod_revision) == (b"\xff\0", said["revision"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    run("etcdaero_put", "a")
    assert value_of("a") == b"from a pipe"
    assert refusal("etcdaero_put", "a", "1", "--file", str(path))[1] == 2
    assert refusal("etcdaero_put", "a", "--file", str(path / "none"))[1] == 1


def test_put_on_conditions() -> None:
    assert run("etcdaero_put", "a", "1", "--if-absent")[0] == 0
    found = kv.get("a")
    assert found is not None
    words, code = refusal("etcdaero_put", "a", "2", "--if-absent")
    assert (words, code) == (f"a was not written: it is at revision {found.mod_revision}", 1)
    assert refusal("etcdaero_put", "a", "2", "--if-revision", "1")[1] == 1
    assert refusal("etcdaero_put", "b", "2", "--if-revision", "1") == ("b was not written: there is no such key", 1)
    assert run("etcdaero_put", "a", "2", "--if-revision", str(found.mod_revision))[0] == 0
    assert value_of("a") == b"2"
    assert refusal("etcdaero_put", "a", "2", "--if-revision", "0")[1] == 2


def test_put_on_a_lease() -> None:
    run("etcdaero_put", "a", "1", "--ttl", "60")
    found = kv.get("a")
    assert found is not None
    assert kv.lease_status(found.lease).granted_ttl == 60
    run("etcdaero_put", "b", "1", "--lease", f"{found.lease:x}")
    other = kv.get("b")
    assert other is not None
    assert other.lease == found.lease
    assert refusal("etcdaero_put", "c", "1", "--lease", "7b") == ("no such lease: 7b", 1)
    assert refusal("etcdaero_put", "c", "1", "--lease", "xyz")[1] == 2
    assert refusal("etcdaero_put", "c", "1", "--ttl", "0")[1] == 2
    assert refusal("etcdaero_put", "c", "1", "--ttl", "1")[1] == 2
    before = kv.leases()
    assert refusal("etcdaero_put", "a", "1", "--ttl", "60", "--if-absent")[1] == 1
    assert kv.leases() == before


def test_keys_of_the_package_are_written_and_deleted_only_by_force() -> None:
    assert "--force" in refusal("etcdaero_put", "datasets/x", "1")[0]
    run("etcdaero_put", "datasets/x", "1", "--force")
    assert "--force" in refusal("etcdaero_delete", "datasets/x")[0]
    for beginning in ("", "data", "datasets/"):
        assert "--force" in refusal("etcdaero_delete", beginning, "--prefix", "--yes")[0]
    assert value_of("datasets/x") == b"1"
    run("etcdaero_delete", "datasets/x", "--force")
    assert value_of("datasets/x") is None
    assert run("etcdaero_put", "settings/cities/validators", "{}")[0] == 0


# --- delete ----------------------------------------------------------------------------------------------------------


def test_delete_one() -> None:
    seen = kv.put("a", "1").revision
    assert refusal("etcdaero_delete", "a", "--if-revision", str(seen - 1))[1] == 1
    assert run("etcdaero_delete", "a", "--if-revision", str(seen))[0] == 0
    assert refusal("etcdaero_delete", "a") == ("no such key: a", 1)
    kv.put("a", "1")
    assert json.loads(run("etcdaero_delete", "a", "--json")[1])["deleted"] == 1


def test_delete_all_that_begin_so_only_when_it_is_said_twice() -> None:
    for key in ("p/1", "p/2", "q"):
        kv.put(key, "1")
    assert run("etcdaero_delete", "p/", "--prefix") == (0, "2 keys begin with 'p/'; --yes deletes them\n")
    assert run("etcdaero_delete", "p/1", "--prefix") == (0, "1 key begins with 'p/1'; --yes deletes it\n")
    assert json.loads(run("etcdaero_delete", "p/", "--prefix", "--json")[1]) == {"would_delete": 2}
    assert value_of("p/1") == b"1"
    assert run("etcdaero_delete", "p/", "--prefix", "--yes")[1].startswith("2 keys deleted with revision ")
    assert [each.key for each in kv.range("", prefix=True).kvs] == [b"q"]
    assert refusal("etcdaero_delete", "p/", "--prefix", "--yes")[1] == 1
    message, code = refusal("etcdaero_delete", "", "--prefix", "--yes")
    assert ("--force" in message, code) == (True, 1)
    assert value_of("q") == b"1"
    assert run("etcdaero_delete", "", "--prefix", "--yes", "--force")[0] == 0
    assert value_of("q") is None
    assert refusal("etcdaero_delete", "p/", "--prefix", "--if-revision", "3")[1] == 2


# --- ls --------------------------------------------------------------------------------------------------------------


def test_ls() -> None:
    revision = [kv.put(key, "1").revision for key in ("a", "a/1", "b\n")][-1]
    assert run("etcdaero_ls")[1].splitlines()[0].startswith("a\t1\t")
    assert run("etcdaero_ls", "b")[1] == f"b\\x0a\t1\t{revision}\t\n"
    tree = run("etcdaero_ls", "--tree")[1].splitlines()
    assert [line.split("\t")[0] for line in tree] == ["a", "a/", "b\\x0a"]
    assert "1 keys" in tree[1]
    assert [json.loads(line) for line in run("etcdaero_ls", "--tree", "--json")[1].splitlines()][1] == {
        "folder": "a/",
        "count": 1,
    }
    kv.delete("b\n")
    assert "b" in run("etcdaero_ls", "--revision", str(revision))[1]
    assert refusal("etcdaero_ls", "zzz")[1] == 1
    assert refusal("etcdaero_ls", "--limit", "-1")[1] == 2
    assert "REVISION" in on_terminal("etcdaero_ls")


def test_ls_says_that_there_are_more() -> None:
    for number in range(5):
        kv.put(f"k{number}", "1")
    errors, out = io.StringIO(), io.StringIO()
    call_command("etcdaero_ls", "--limit", "2", stdout=out, stderr=errors, no_color=True)
    assert len(out.getvalue().splitlines()) == 2
    assert "more than 2" in errors.getvalue()
    assert len(run("etcdaero_ls", "--limit", "0")[1].splitlines()) == 5


# --- watch -----------------------------------------------------------------------------------------------------------


def test_watch_from_a_revision() -> None:
    first = kv.put("w/a", "1").revision
    gone = kv.delete("w/a").revision
    kv.put("other", "1")
    out = run("etcdaero_watch", "w/", "--from-revision", str(first), "--count", "2")
    assert out == (0, f"{first}\tput\tw/a\t1\n{gone}\tdelete\tw/a\n")
    said = run("etcdaero_watch", "w/", "--from-revision", str(first), "--count", "2", "--json")[1].splitlines()
    assert [json.loads(line)["type"] for line in said] == ["put", "delete"]
    assert refusal("etcdaero_watch", "w/", "--count", "0")[1] == 2


def test_watch_tells_a_gap() -> None:
    first = kv.put("w/a", "1").revision
    last = kv.put("w/a", "2").revision
    kv.open_engine().compact(last)
    later: list[Any] = []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if "\tis\t" in text and not later:
                later.append(kv.put("w/b", "3").revision)
            return super().write(text)

    out = Out()
    call_command("etcdaero_watch", "w/", "--from-revision", str(first), "--count", "1", stdout=out, no_color=True)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("-- gap (compacted): ")
    assert lines[0].endswith(f"; 1 keys then; the oldest revision kept is {last} --")
    assert lines[1:] == [f"{last}\tis\tw/a\t2", f"{later[0]}\tput\tw/b\t3"]


@pytest.mark.slow
def test_watch_ends_cleanly_when_interrupted(tmp_path: Path) -> None:
    """In a process of its own, with values of any bytes in a pipe."""
    settings = tmp_path / "watched.py"
    settings.write_text(
        "SECRET_KEY = 'x'\nUSE_TZ = True\nINSTALLED_APPS = ['django_etcdaero']\nDATABASES = {}\n"
        f"ETCDAERO = {{'default': {{'KV': 'sqlite:///{tmp_path}/kv.sqlite3', "
        f"'RECORDS': 'sqlite:///{tmp_path}/records.sqlite3', 'PREFIX': 'w'}}}}\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "watched", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "django"]
    put = subprocess.run([*command, "etcdaero_put", "a"], input=b"\xff\0\n", env=environment, capture_output=True)
    assert put.returncode == 0, put.stderr
    got = subprocess.run([*command, "etcdaero_get", "a"], env=environment, capture_output=True)
    assert got.stdout == b"\xff\0\n"
    shell = f"{sys.executable} -m django etcdaero_watch '' --from-revision 1 --count 1 | true; echo ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True)
    assert (piped.stdout, piped.stderr) == (b"0\n", b"")
    watching = subprocess.Popen(
        [*command, "etcdaero_watch", "", "--from-revision", "1"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert watching.stdout is not None
        assert b"put\ta" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        out, errors = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert (watching.returncode, out, errors) == (0, b"", b"")
