"""The embedded engine answers as a real etcd does, to whatever is asked in whatever order.

The ordinary run repeats the same few hundred commands each time. ``ETCDAERO_TEST_DIFFERENTIAL=10000`` makes it about
so many, other ones each time unless ``--hypothesis-seed`` is given, and prints how many there were of each kind.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.differential.machine import Engines
from tests.keyvalue.etcd.servers import Server

STEPS = int(os.environ.get("ETCDAERO_TEST_DIFFERENTIAL", "0"))
_STEPS_AT_ONCE = 50
SHORT = settings(
    derandomize=True,
    max_examples=15,
    stateful_step_count=40,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(
    SHORT, derandomize=False, max_examples=max(1, STEPS // _STEPS_AT_ONCE), stateful_step_count=_STEPS_AT_ONCE
)


@pytest.fixture
def fresh_servers(tmp_path: Path) -> Iterator[Callable[[], list[EtcdEngine]]]:
    """Makes two clients of a server that nobody has written to yet, and ends the one made before."""
    with ExitStack() as stack:

        def start() -> list[EtcdEngine]:
            stack.close()
            server = stack.enter_context(Server("fresh", Path(mkdtemp(dir=tmp_path))).running())
            engines = [EtcdEngine([server.endpoint]) for _ in range(2)]
            for engine in engines:
                stack.callback(engine.close)
            return engines

        yield start


def machine(clients: Callable[[], list[EtcdEngine]], counts: Counter[str], *, untouched: bool) -> type[Engines]:
    return type("Engines", (Engines,), {"etcd": staticmethod(clients), "counts": counts, "untouched": untouched})


@pytest.mark.timeout(600 + STEPS)
def test_both_engines_say_the_same(servers: list[EtcdEngine], capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    run_state_machine_as_test(machine(lambda: servers, counts, untouched=False), settings=LONG if STEPS else SHORT)
    report(counts, capsys)
    assert set(counts) >= {"put", "range", "delete", "txn", "compact", "lease grant", "watch", "cancel", "expiry"}


@pytest.mark.timeout(600 + STEPS)
def test_both_engines_say_the_same_when_nothing_was_ever_written(
    fresh_servers: Callable[[], list[EtcdEngine]], capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    few = settings(LONG, max_examples=20) if STEPS else settings(SHORT, max_examples=2)
    run_state_machine_as_test(machine(fresh_servers, counts, untouched=True), settings=few)
    report(counts, capsys)
    assert counts.total() > 30


def report(counts: Counter[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Print, in the long form, what was done."""
    if STEPS:
        with capsys.disabled():
            print(f"\n{counts.total()} commands on both engines: {dict(counts.most_common())}")
