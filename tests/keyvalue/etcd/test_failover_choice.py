"""Which member is asked next, when some have failed or have too much to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from django_etcdaero.exceptions import DeadlineExceeded, OutcomeUnknown, StoreBusy
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer, Choice
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from django_etcdaero.stores.etcd import address_of
from tests.waiting import wait_until


@pytest.fixture
def balancer() -> Balancer:
    """Three members, none of which is ever talked to."""
    endpoints = address_of(["one:1", "two:2", "three:3"]).endpoints
    return Balancer(endpoints, lambda endpoint: cast("MemberClient", SimpleNamespace(is_outdated=False)))


def wait_until_all_are_due(balancer: Balancer) -> None:
    wait_until(lambda: not any(state.retry_in for state in balancer.states()), what="the end of all pauses")


def fail(balancer: Balancer) -> Choice:
    """Let the member that is picked fail, and the time go by for which it is left alone; return it."""
    choice, _ = balancer.pick()
    balancer.failed(choice)
    wait_until_all_are_due(balancer)
    return choice


def test_a_member_that_failed_is_not_picked_while_another_has_not(balancer: Balancer) -> None:
    failed = {fail(balancer).name, fail(balancer).name}
    assert balancer.pick()[0].name not in failed
    assert len(failed) == 2


def test_when_all_have_failed_the_first_to_fail_is_picked_first(balancer: Balancer) -> None:
    failed = [fail(balancer) for _ in range(3)]
    assert len(set(failed)) == 3
    assert fail(balancer) is failed[0]
    assert fail(balancer) is failed[1]


def test_a_member_that_works_again_is_kept(balancer: Balancer) -> None:
    first, *_ = (fail(balancer) for _ in range(3))
    assert balancer.pick()[0] is first
    balancer.worked(first)
    assert balancer.pick()[0] is first
    assert [state.failures for state in balancer.states() if state.in_use] == [0]


def test_what_was_tried_is_not_picked_again_even_if_it_is_healthy(balancer: Balancer) -> None:
    tried: set[Choice] = set()
    for _ in range(3):
        tried.add(balancer.pick(tried)[0])
    assert len(tried) == 3
    assert balancer.pick(tried)[0] in tried


class Overloaded(grpc.GenericRpcHandler):  # type: ignore[misc] # gRPC has no types
    """A server that turns everything away."""

    def __init__(self) -> None:
        self.asked = 0

    def service(self, handler_call_details: Any) -> Any:
        def refuse(request: bytes, context: Any) -> None:
            self.asked += 1
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests")

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def overloaded() -> Iterator[dict[str, Overloaded]]:
    """Two such servers, by their endpoints."""
    found: dict[str, Overloaded] = {}
    servers = []
    with ThreadPoolExecutor(4) as threads:
        for _ in range(2):
            handler = Overloaded()
            server = grpc.server(threads, handlers=[handler])
            found[f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"] = handler
            server.start()
            servers.append(server)
        yield found
        for server in servers:
            server.stop(None).wait(10)


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.range(RangeRequest(b"a"), timeout=1),
        lambda engine: engine.put(PutRequest(b"a"), timeout=1),
    ],
    ids=["read", "write"],
)
def test_overloaded_members_are_asked_in_turn_and_less_and_less_often(
    overloaded: dict[str, Overloaded], connect: Callable[..., EtcdEngine], call: Callable[[Engine], Any]
) -> None:
    engine = connect(list(overloaded))
    with pytest.raises((StoreBusy, DeadlineExceeded, OutcomeUnknown)):  # the others: the time ended in a try
        call(engine)
    asked = Counter({name: each.asked for name, each in overloaded.items()})
    assert min(asked.values()) >= 1
    assert max(asked.values()) <= 10  # with pauses that begin at 25 ms and double
