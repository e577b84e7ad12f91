"""A member that takes requests for watches and says nothing, as one does whose gRPC lives and whose etcd does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.values import WatchRequest
from tests.keyvalue.etcd.pretending import pretending, until_it_ends
from tests.keyvalue.etcd.test_lease_renewals import begin_with
from tests.keyvalue.recording import Recording, short

Connect = Callable[..., EtcdEngine]


def header() -> Any:
    return rpc.ResponseHeader(cluster_id=7, member_id=1, revision=5, raft_term=2)


def silent(requests: Iterator[Any], context: Any) -> Iterator[Any]:
    next(requests)
    until_it_ends(context)
    yield from ()


class BreaksOnce:
    """Accepts a watch and ends the stream; when it is asked again it has an event."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        self.asked += 1
        asked = next(requests).create_request
        yield rpc.WatchResponse(header=header(), watch_id=asked.watch_id, created=True)
        if self.asked == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        event = rpc.Event(kv=rpc.KeyValue(key=b"a", value=b"1", create_revision=6, mod_revision=6, version=1))
        yield rpc.WatchResponse(header=header(), watch_id=asked.watch_id, events=[event])
        until_it_ends(context)


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Start servers that answer reads and have a manner of watching; return where they listen."""
    with ExitStack() as servers:

        def start(watch: Any) -> str:
            methods = {
                "KV/Range": grpc.unary_unary_rpc_method_handler(
                    lambda request, context: rpc.RangeResponse(header=header()),
                    rpc.RangeRequest.FromString,
                    rpc.RangeResponse.SerializeToString,
                ),
                "Watch/Watch": grpc.stream_stream_rpc_method_handler(
                    watch, rpc.WatchRequest.FromString, rpc.WatchResponse.SerializeToString
                ),
            }
            return servers.enter_context(pretending(methods))

        yield start


def test_a_watch_that_goes_on_is_moved_from_a_member_that_does_not_answer(
    serve: Callable[[Any], str], connect: Connect
) -> None:
    first = BreaksOnce()
    begin, quiet = serve(first), serve(silent)
    engine = begin_with(begin, [begin, quiet], connect)
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    assert short(seen.wait(1, 30)) == ["+a=1"]
    assert first.asked == 2
