"""Many waiters for one lock, in tasks and in threads, with a count of what wakes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from django_etcdaero.keyvalue import KV, Lock
from tests.waiting import wait_until


class Line:
    """What the waiters of one lock saw."""

    def __init__(self, kv: KV, name: str) -> None:
        self.kv = kv
        self.first = kv.lock(name, ttl=60)
        self.order: list[int] = []
        self.tokens: list[int] = []
        self.inside = 0
        self.most = 0

    def waiting(self) -> int:
        """How many are in line, the holder included."""
        return self.kv.range(self.first.name + b"/", prefix=True, count_only=True).count

    def in_turn(self, number: int, lock: Lock) -> None:
        """Note that the lock's turn has come."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(number)
        self.tokens.append(lock.token)
        self.inside -= 1

    def check(self, count: int) -> None:
        """See that all were served, one at a time, in the order in which they came."""
        assert self.most == 1
        assert len(self.order) == count
        assert self.tokens == sorted(set(self.tokens))
        assert self.tokens[0] > 0
        assert self.waiting() == 0


def serve_tasks(line: Line, count: int, *, ready: Callable[[], bool], begin: Callable[[], object]) -> None:
    """Let ``count`` tasks wait until ``ready()``, call ``begin()`` and serve them all."""

    async def wait(number: int) -> None:
        lock = line.kv.lock(line.first.name, ttl=60)
        await lock.aacquire(100)
        line.in_turn(number, lock)
        await lock.arelease()

    async def main() -> None:
        await line.first.aacquire()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(wait(number))
            await asyncio.to_thread(
                wait_until, lambda: line.waiting() == count + 1 and ready(), 60, f"{count} tasks in line"
            )
            begin()
            await line.first.arelease()

    asyncio.run(main())


def serve_threads(line: Line, count: int, *, ready: Callable[[], bool], begin: Callable[[], object]) -> None:
    """Let ``count`` threads wait until ``ready()``, call ``begin()`` and serve them all."""

    def wait(number: int) -> None:
        lock = line.kv.lock(line.first.name, ttl=60)
        lock.acquire(100)
        line.in_turn(number, lock)
        lock.release()

    line.first.acquire()
    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    wait_until(lambda: line.waiting() == count + 1 and ready(), 60, f"{count} threads in line")
    begin()
    line.first.release()
    for thread in threads:
        thread.join(100)


SERVING = {"tasks": serve_tasks, "threads": serve_threads}
