"""Many processes of which each does what one did when it was measured alone, and waits in line where there is one.

Lines are at the cores of a host, the cores of a store, and the network. ``model.py`` says what is assumed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

SLICE = 0.005
"""Seconds of computing after which others on the same host get their turn: CPython's and the kernel's are as short."""
REGISTER_WITHIN = 0.5
"""A process tells etcd what it holds within this time (``datasets/read/registering.py``)."""
DEADLINE = 5.0
"""Seconds that a call may take by default (``CALL_TIMEOUT``); what is slower fails and is tried again."""
SPLAY_BYTES = 1 << 20
LOOK = 1.0
"""A process that shares looks for the file that another one makes so often (``datasets/mapped/versions.py``)."""


class Line:
    """Servers that all do the same work, each one thing at a time, in the order in which it comes."""

    def __init__(self, servers: int, *, speed: float = 1.0) -> None:
        self._free = [0.0] * servers
        self._speed = speed
        self.busy: list[tuple[float, float]] = []
        """When each of them worked."""

    def take(self, now: float, seconds: float) -> float:
        """Return when work is done that comes now."""
        seconds /= self._speed
        begin = max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, begin + seconds)
        if seconds:
            self.busy.append((begin, begin + seconds))
        return begin + seconds


@dataclass(frozen=True)
class Call:
    """One call to the record store: what it takes of the client, and what it asks for."""

    cpu: float
    rest: float
    """Seconds that are neither the client's nor the store's CPU."""
    records: int
    bytes: int


@dataclass(frozen=True)
class Trace:
    """What one process did alone: calls, and the CPU seconds before each, before the swap and after it."""

    latency: float
    """Seconds until it was told."""
    before: tuple[tuple[float, Call], ...]
    """Until it is known how much is to be fetched."""
    fetching: tuple[tuple[float, Call], ...]
    last: float
    after: float
    register: float

    @property
    def bytes(self) -> int:
        return sum(call.bytes for _, call in (*self.before, *self.fetching))

    @property
    def cpu(self) -> float:
        steps = (*self.before, *self.fetching)
        return sum(cpu + call.cpu for cpu, call in steps) + self.last + self.after + self.register


@dataclass(frozen=True)
class Costs:
    """CPU seconds of the servers."""

    call: float
    record: float
    event: float
    registration: float


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    processes: int
    per_host: int
    splay: float
    shared: bool = False
    host_cores: int = 8
    store_cores: int = 24
    """Of all nodes together."""
    etcd_cores: int = 4
    slower: float = 1.0
    """How many times as much CPU the steps of a process take as when it was traced alone."""
    core_speed: float = 1.0
    """What part of a core is there for this, beside what else its host does."""
    together: bool = False
    """Everything is on one host, as it was measured."""
    store_network: float = 3 * 1.25e9
    """Bytes a second, of all nodes together; infinite where it is one machine."""
    host_network: float = 1.25e9


@dataclass
class Outcome:
    """What happened."""

    swaps: list[float] = field(default_factory=list)
    calls: list[tuple[float, float, int]] = field(default_factory=list)
    """When each call began and ended, and the bytes it gave."""
    etcd: list[float] = field(default_factory=list)
    """When etcd sent an event or wrote a registration."""
    late: int = 0
    store_busy: list[tuple[float, float]] = field(default_factory=list)


def simulate(setting: Setting, trace: Trace, costs: Costs, *, seed: int = 1) -> Outcome:
    """Return what an announcement at time 0 leads to."""
    chance, outcome = random.Random(seed), Outcome()
    hosts = -(-setting.processes // setting.per_host)
    cores = [Line(setting.host_cores, speed=setting.core_speed) for _ in range(hosts)]
    store = cores[0] if setting.together else Line(setting.store_cores)
    etcd = cores[0] if setting.together else Line(setting.etcd_cores)
    network, links = Line(1), [Line(1) for _ in range(hosts)]
    made: dict[int, float] = {}
    put_off = trace.bytes > SPLAY_BYTES and setting.splay > 0

    def process(number: int) -> Generator[float, None, None]:
        """Yield the moments at which a process goes on; what happens between two of them is one step."""
        host = number // setting.per_host
        now = etcd.take(0.0, costs.event) + trace.latency
        outcome.etcd.append(now)
        yield now
        fetches = not setting.shared or number % setting.per_host == 0
        if fetches:
            for stage, steps in enumerate((trace.before, trace.fetching)):
                if stage and put_off:
                    now += chance.uniform(0, setting.splay)
                    yield now
                for cpu, call in steps:
                    now = yield from compute(cores[host], now, (cpu + call.cpu) * setting.slower)
                    begin = now
                    now = store.take(now, costs.call + costs.record * call.records)
                    yield now
                    now = network.take(now, call.bytes / setting.store_network)
                    yield now
                    now = links[host].take(now, call.bytes / setting.host_network) + call.rest
                    yield now
                    outcome.calls.append((begin, now, call.bytes))
                    outcome.late += now - begin > DEADLINE
            now = yield from compute(cores[host], now, trace.last * setting.slower)
            made[host] = now
        else:
            while host not in made:
                now += chance.uniform(0.1, LOOK)
                yield now
        outcome.swaps.append(now)
        now = yield from compute(cores[host], now, trace.after * setting.slower if fetches else 0.0)
        now += chance.uniform(0, REGISTER_WITHIN)
        yield now
        now = yield from compute(cores[host], now, trace.register * setting.slower)
        now = etcd.take(now, costs.registration)
        yield now
        outcome.etcd.append(now)

    waiting = []
    for number in range(setting.processes):
        steps = iter(process(number))
        waiting.append((next(iter(steps)), number, steps))
    heapq.heapify(waiting)
    while waiting:
        _, number, steps = heapq.heappop(waiting)
        then = next(steps, None)
        if then is not None:
            heapq.heappush(waiting, (then, number, steps))
    outcome.store_busy = store.busy
    outcome.swaps.sort()
    return outcome


def compute(cores: Line, now: float, seconds: float) -> Generator[float, None, float]:
    """Yield the ends of the slices of so much computing that begins now, and return the last."""
    while seconds > 0:
        now = cores.take(now, min(SLICE, seconds))
        seconds -= SLICE
        yield now
    return now


def per_second(amounts: Iterable[tuple[float, float]], step: float) -> list[tuple[float, float]]:
    """Return how much came a second, in each step of time."""
    found: dict[int, float] = {}
    for at, amount in amounts:
        found[int(at / step)] = found.get(int(at / step), 0.0) + amount
    return [((at + 0.5) * step, found.get(at, 0.0) / step) for at in range(max(found, default=0) + 1)]


def share(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
