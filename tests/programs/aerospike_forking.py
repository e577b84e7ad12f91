"""Programs that fork with a store: ``python -m tests.programs.aerospike_forking <program> <host> <port> <ns>``."""

from __future__ import annotations

import _imp
import ctypes
import os
import sys
import threading
from collections.abc import Callable

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import RecordStore
from tests.records.aerospike.serving import SET

KEYS = [b"key-%d" % number for number in range(50)]
CHILDREN = 20


def main(program: str, host: str, port: str, namespace: str) -> None:
    def open_store() -> AerospikeStore:
        return AerospikeStore([(host, int(port))], namespace=namespace, set_name=SET, timeout=10)

    PROGRAMS[program](open_store)


def threads(open_store: Callable[[], RecordStore]) -> None:
    """Fork again and again while threads read and write; children work with stores of their own, and exit normally."""
    store = open_store()
    store.put_many({key: key for key in KEYS})
    wrong: list[object] = []
    done = threading.Event()
    callers = [threading.Thread(target=_call_until, args=(store, done, wrong)) for _ in range(6)]
    for caller in callers:
        caller.start()
    children = [_fork(lambda: _work(store, open_store)) for _ in range(CHILDREN)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    done.set()
    for caller in callers:
        caller.join()
    _check(store, wrong)
    print("children", sorted(set(statuses)), "wrong", wrong)


def unprepared(open_store: Callable[[], RecordStore]) -> None:
    """As under uWSGI, which forks in C: it takes the import lock before, and only the hooks of the child run."""
    store = open_store()
    store.put_many({key: key for key in KEYS})
    libc = ctypes.PyDLL(None)  # does not let other threads run meanwhile
    statuses = []
    for _ in range(CHILDREN):
        _imp.acquire_lock()
        child = libc.fork()
        if child == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            _work(store, open_store)
            sys.exit(0)
        _imp.release_lock()
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    wrong: list[object] = []
    _check(store, wrong)
    print("children", sorted(set(statuses)), "wrong", wrong)


def busy(open_store: Callable[[], RecordStore]) -> None:
    """Fork while a call hangs for longer than a fork waits; it goes on in the parent."""
    store = open_store()
    store.put_many({key: key for key in KEYS})
    print("ready", flush=True)
    sys.stdin.readline()  # the server is frozen now
    outcome: list[object] = []
    caller = threading.Thread(target=lambda: outcome.append(store.get(KEYS[0])))
    caller.start()
    child = _fork(lambda: _refused(store))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("forked", flush=True)  # the server goes on now
    caller.join()
    print("child", status, "parent", outcome[0].value.decode())  # type: ignore[attr-defined]


def scan(open_store: Callable[[], RecordStore]) -> None:
    """Fork in the middle of a scan, which goes on in the parent."""
    store = open_store()
    items = {b"%05d" % number: number for number in range(3500)}
    store.put_many(items)
    scan = store.scan()
    seen = [next(scan)[0] for _ in range(1500)]
    child = _fork(lambda: _refused(store))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen += [key for key, _ in scan]
    print("child", status, "seen once", len(seen) == len(set(seen)) and set(seen) == set(items))


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        work()
        sys.exit(0)  # through the interpreter's normal end, which destroys what is left
    return child


def _work(inherited: RecordStore, open_store: Callable[[], RecordStore]) -> None:
    _refused(inherited)
    store = open_store()
    wrong: list[object] = []
    _check(store, wrong)
    if wrong:
        os._exit(1)
    if os.getpid() % 2:
        store.close()  # the others leave that to the end of the interpreter


def _refused(store: RecordStore) -> None:
    try:
        store.get(KEYS[0])
    except EtcdAeroError:
        store.close()
        return
    os._exit(2)


def _call_until(store: RecordStore, done: threading.Event, wrong: list[object]) -> None:
    while not done.is_set():
        _check(store, wrong)


def _check(store: RecordStore, wrong: list[object]) -> None:
    try:
        for key in KEYS[:10]:
            record = store.get(key)
            if record is None or record.value != key:
                wrong.append((key, record))
        store.put(KEYS[0], KEYS[0])
        found = store.get_many(KEYS)
        wrong.extend((key, found.get(key)) for key in KEYS if key not in found or found[key].value != key)
    except Exception as error:
        wrong.append(error)


PROGRAMS = {"threads": threads, "unprepared": unprepared, "busy": busy, "scan": scan}

if __name__ == "__main__":
    main(*sys.argv[1:])
