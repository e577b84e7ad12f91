"""Faults that a process of this project inflicts on itself at an exact point."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django_etcdaero import conf
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.mapped import making
from django_etcdaero.datasets.mapped.writing import Entries
from django_etcdaero.datasets.publish.commit import GuardedCommit
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, TxnRequest

ENGINE_WRITES = ("put", "delete_range", "txn", "compact", "lease_grant", "lease_revoke")
STORE_WRITES = ("put", "delete", "touch", "increment", "put_many", "delete_many", "touch_many", "truncate")


def arm() -> None:
    """Prepare what the environment asks for: ``SHOP_STOP=announce`` stops the process right before it announces, and
    ``SHOP_STOP=build`` before the end of a file that processes share. With ``SHOP_LAYERS=1`` changes of small files are
    laid over them, as those of large ones are, and ``SHOP_FETCHES`` is a file for how many records are fetched, and by
    which process."""
    if os.environ.get("SHOP_LAYERS") == "1":
        making.LEAST = 0  # type: ignore[misc]
    if "SHOP_FETCHES" in os.environ:
        note_fetches(os.environ["SHOP_FETCHES"])
    match os.environ.get("SHOP_STOP"):
        case "announce":
            stop_before(GuardedCommit, "run")
        case "build":
            stop_before(Entries, "write")


def note_fetches(path: str) -> None:
    """Append a line for each fetch: the id of this process, and how many records it asked for."""
    fetch = BlockStore.fetch

    def noted(self: BlockStore, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        wanted = list(digests)
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {len(wanted)}\n")
        return fetch(self, wanted)

    BlockStore.fetch = noted  # type: ignore[method-assign]


def stop_before(owner: type, name: str) -> None:
    """Stop this process at each call of a method."""
    run = getattr(owner, name)

    def stop_and_run(self: Any, *args: Any) -> Any:
        # To this thread, which then stops here. Told to the process it is stopped when its main thread is.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return run(self, *args)

    setattr(owner, name, stop_and_run)


class Steps:
    """Counts the writes of this process to both stores, and sends it a signal at one of them.

    ``fatal`` is twice the number of the write, and one more for after instead of before it; ``None`` for never.
    """

    def __init__(self, fatal: int | None, number: int) -> None:
        self.taken: list[str] = []
        self._fatal = fatal
        self._signal = number

    def install(self) -> None:
        """Follow every store that is opened from now on."""
        open_engine, open_store = conf.open_engine, conf.open_store
        conf.open_engine = lambda used: self._follow(open_engine(used), "kv", ENGINE_WRITES)  # type: ignore[assignment]
        conf.open_store = lambda used, **options: self._follow(open_store(used), "records", STORE_WRITES)  # type: ignore[assignment]

    def _follow(self, store: Any, plane: str, names: tuple[str, ...]) -> Any:
        for name in names:
            setattr(store, name, self._counted(getattr(store, name), f"{plane}.{name}"))
        return store

    def _counted(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if args and isinstance(args[0], TxnRequest) and not _writes(args[0]):
                return call(*args, **options)
            number = len(self.taken)
            self.taken.append(name)
            self._die_at(2 * number)
            answer = call(*args, **options)
            self._die_at(2 * number + 1)
            return answer

        return counted

    def _die_at(self, moment: int) -> None:
        if moment == self._fatal:
            os.kill(os.getpid(), self._signal)


def _writes(request: TxnRequest) -> bool:
    return any(isinstance(operation, PutRequest | DeleteRequest) for operation in (*request.success, *request.failure))
