"""Counters, transactional memory, locks, elections and temporary keys do on a real etcd what they do embedded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.differential.recipes import Recipes
from tests.keyvalue.etcd.differential.test_engines import LONG, SHORT, STEPS, report


@pytest.mark.timeout(600 + STEPS)
def test_recipes_do_the_same_on_both_engines(servers: list[EtcdEngine], capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    machine = type("Recipes", (Recipes,), {"etcd": staticmethod(lambda: servers), "counts": counts})
    few = settings(SHORT, max_examples=8)
    run_state_machine_as_test(machine, settings=LONG if STEPS else few)
    report(counts, capsys)
    assert set(counts) >= {
        "increment",
        "test_and_set",
        "stm",
        "lock release",
        "semaphore queue",
        "read queue",
        "write queue",
        "mirror",
        "campaign",
        "temporary update",
        "iterate",
    }
