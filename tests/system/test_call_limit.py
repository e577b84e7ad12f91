"""One end for all calls of a piece of work."""

from __future__ import annotations

import threading

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from django_etcdaero.inspection.together import together
from django_etcdaero.keyvalue.values import RangeRequest
from django_etcdaero.schemes import open_engine, parse
from django_etcdaero.stores.address import Plane
from django_etcdaero.system.call_limit import bounded_seconds, calls_end_within


def test_a_call_has_its_own_time_or_what_is_left_of_the_work() -> None:
    assert bounded_seconds(5.0) == 5.0
    with calls_end_within(2.0):
        assert 1.0 < bounded_seconds(5.0) <= 2.0
        assert bounded_seconds(0.5) == 0.5
        with calls_end_within(60.0):
            assert bounded_seconds(5.0) <= 2.0
        with calls_end_within(0.0):
            assert bounded_seconds(5.0) == 0.0
        assert bounded_seconds(5.0) > 1.0
    assert bounded_seconds(5.0) == 5.0


def test_other_threads_have_their_own() -> None:
    found: list[float] = []
    with calls_end_within(1.0):
        thread = threading.Thread(target=lambda: found.append(bounded_seconds(5.0)))
        thread.start()
        thread.join()
    assert found == [5.0]


def test_a_question_says_which_server_did_not_answer() -> None:
    engine = open_engine(parse("etcd://127.0.0.1:1", plane=Plane.KV), timeout=60.0)
    try:
        answer = together({"a": lambda: engine.range(RangeRequest(b"a"))}, timeout=0.5)["a"]
        assert isinstance(answer, ClusterError)
        assert "127.0.0.1:1" in str(answer)
        # The second where it has turned out meanwhile that the server is away: then nothing is tried any more.
        with calls_end_within(0.0), pytest.raises((DeadlineExceeded, ClusterError), match=r"no time was left|answered"):
            engine.range(RangeRequest(b"a"))
    finally:
        engine.close()
