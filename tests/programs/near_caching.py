"""Run as a program: a process with a near cache, on the files of a directory or on an etcd, that does what it is told.

Each line of the input is a method of the cache and its arguments, as a JSON list; its answer is printed as JSON. There
are also ``near`` (what is answered without the store), ``following`` and ``fork``, after which the child goes on with
the input while the parent waits for it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches


def configure(directory: str, kv: str) -> None:
    settings.configure(
        SECRET_KEY="only for tests",
        BASE_DIR=directory,
        INSTALLED_APPS=["django_etcdaero"],
        ETCDAERO={"default": {"KV": kv, "RECORDS": "sqlite:///records.sqlite3", "PREFIX": os.path.basename(directory)}},
        CACHES={
            "default": {
                "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
                "LOCATION": "sqlite:///cache.sqlite3",
                "OPTIONS": {"NEAR": {"max_age": 600}, "STAMP_MAX_AGE": 600},
            }
        },
    )
    django.setup()


def near(key: str) -> Any:
    cache: Any = caches["default"]
    return cache._near_values([cache.make_key(key)]).get(cache.make_key(key))


def following() -> bool:
    cache: Any = caches["default"]
    return bool(cache._core.entries._notices.following)


def fork() -> bool:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        print(json.dumps(["child", os.waitstatus_to_exitcode(status)]), flush=True)
    return child == 0


def main(directory: str, kv: str) -> None:
    configure(directory, kv)
    while line := sys.stdin.readline():
        name, *arguments = json.loads(line)
        if name == "exit":
            break
        own = {"near": near, "following": following, "fork": fork}.get(name)
        call = own or getattr(caches["default"], name)
        answer = call(*arguments)
        if name != "fork" or answer:
            print(json.dumps(answer), flush=True)


main(sys.argv[1], sys.argv[2])
