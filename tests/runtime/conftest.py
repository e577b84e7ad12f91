"""A runtime for one test, and what it asked of the interpreter."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator

import pytest
from django.core.signals import request_started

from django_etcdaero import conf
from django_etcdaero.datasets.host import bind
from django_etcdaero.runtime import Runtime, runtime
from django_etcdaero.system import forks, gevent_pool
from tests.runtime.hooking import Hooks


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    found = Hooks()
    monkeypatch.setattr(forks, "in_child", found.after_in_child.append)
    monkeypatch.setattr(gevent_pool, "may_patch", lambda: False)  # whatever other tests have imported
    monkeypatch.setattr(atexit, "register", found.at_exit.append)
    monkeypatch.setattr(sys, "argv", ["gunicorn", "shop.wsgi"])
    return found


@pytest.fixture
def fresh(hooks: Hooks) -> Iterator[Runtime]:
    """A runtime as in a process that has just begun, on stores in memory; it is not armed yet."""
    runtime.close()  # a reader that an earlier test has left behind would be counted
    made = Runtime()
    made.memory_only = True
    before = bind(made)
    uid = "django_etcdaero.runtime"
    waiting = request_started.disconnect(dispatch_uid=uid)  # the runtime of the process that runs the tests
    yield made
    made.forget_memory()
    bind(before)
    conf.changed.disconnect(made._on_settings_changed)
    request_started.disconnect(dispatch_uid=uid)
    if waiting:
        request_started.connect(runtime._on_request, dispatch_uid=uid)
