"""What a process tells about itself has no secrets in it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from django_etcdaero import conf
from django_etcdaero.about import LONGEST, about, command_line, fingerprints, kind
from django_etcdaero.schemes import parse
from django_etcdaero.stores.address import Plane

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["/srv/manage.py", "runserver", "8000"], "manage.py runserver 8000"),
        (["/lib/celery/__main__.py", "-A", "shop", "worker"], "celery -A shop worker"),
        ([], "python"),
        ([""], "python"),
        (["x", "--kv", "etcd://a.b:2379"], "x --kv etcd://a.b:2379"),
        (["x", "\udcff\x00\n\u202e"], "x ????"),
    ],
)
def test_a_command_line_is_told_in_short(argv: list[str], shown: str) -> None:
    assert command_line(argv) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["--password", PASSWORD],
        ["--db-password", PASSWORD, "more"],
        [f"--password={PASSWORD}"],
        [f"--API_KEY={PASSWORD}"],
        ["-p", PASSWORD],
        [f"-p{PASSWORD}"],
        [f"SECRET_KEY={PASSWORD}"],
        [f"etcd://root:{PASSWORD}@10.0.0.1:2379"],
        [f"--broker=amqp://root:{PASSWORD}@10.0.0.1"],
        ["-b", f"redis://:{PASSWORD}@10.0.0.1/0"],
        [f"root:{PASSWORD}@10.0.0.1"],
        [f"--url=https://x/?token={PASSWORD}"],
        ["--header", f"Authorization: Bearer {PASSWORD}"],
        [f"Authorization:{PASSWORD}"],
        [f'{{"password": "{PASSWORD}"}}'],
    ],
)
def test_no_password_of_a_command_line_is_told(arguments: list[str]) -> None:
    shown = command_line(["/bin/program", *arguments])
    assert PASSWORD not in shown
    assert "***" in shown
    assert shown.startswith("program ")


def test_a_long_command_line_is_cut() -> None:
    assert len(command_line(["x", *["word"] * 1000])) == LONGEST


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["manage.py", "runserver"], "server"),
        (["/bin/gunicorn", "shop.wsgi"], "server"),
        (["/bin/celery", "worker"], "worker"),
        (["manage.py", "etcdaero_refresh"], "command"),
        (["manage.py", "test"], "tests"),
        (["/bin/pytest"], "tests"),
        (["/srv/job.py"], "program"),
    ],
)
def test_the_kind_of_a_process_follows_from_its_command_line(argv: list[str], said: str) -> None:
    assert kind(argv) == said


def test_settings_that_have_to_agree_are_told_apart_without_being_told() -> None:
    used = conf.get("default")
    told = about(used, ["x"])
    assert told.software.keys() == {"python", "django", "django-etcdaero"}
    assert told.settings == fingerprints(used)
    shown = json.dumps(dataclasses.asdict(told))
    assert used.records.safe not in shown
    other = dataclasses.replace(used, project="another")
    assert {name for name, value in fingerprints(other).items() if value != told.settings[name]} == {"PROJECT"}


def test_users_and_passwords_are_not_in_the_hash_of_an_address() -> None:
    used = conf.get("default")
    urls = ["aerospike://h:3000/test/set", f"aerospike://root:{PASSWORD}@h:3000/test/set"]
    found = [parse(each, plane=Plane.RECORDS, base_dir=None) for each in urls]
    one, other = (fingerprints(dataclasses.replace(used, records=each)) for each in found)
    assert one == other
