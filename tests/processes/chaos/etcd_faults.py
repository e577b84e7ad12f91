"""What can happen to etcd, and to the connections with it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes.chaos.site import ALL, ASKED, GUARDED, NAMES, alias_of
from tests.processes.chaos.steps import Kind, Steps, Wait, kind, pause
from tests.processes.chaos.stores import Etcd

if TYPE_CHECKING:
    from tests.processes.chaos.schedule import Chaos

SERVERS = "servers"


class EtcdFaults:
    """The faults of the coordination store of the alias on servers, one at a time."""

    def __init__(self, chaos: Chaos, etcd: Etcd) -> None:
        self._chaos = chaos
        self._observer = chaos.observer
        self._chance = chaos.chance
        self._etcd = etcd
        self._snapshots: list[Path] = []
        self.kinds: list[Kind] = [
            kind(self.freeze_etcd, "etcd"),
            kind(self.restart_etcd, "etcd"),
            kind(self.cut_etcd, "etcd"),
            kind(self.stall_etcd, "etcd"),
            kind(self.lose_answers_of_etcd, "etcd"),
            kind(self.wipe_etcd, "etcd", "operator"),
            kind(self.restore_etcd, "etcd", "operator"),
        ]
        if etcd.cluster is not None:
            alone = [self.kill_leader, self.freeze_member, self.swallow_member]
            self.kinds += [kind(each, "etcd") for each in alone]

    def _away(self) -> None:
        self._chaos.away.add(SERVERS)

    def _back(self) -> None:
        self._chaos.away.discard(SERVERS)

    # all of it --------------------------------------------------------------------------------------------------------

    def freeze_etcd(self) -> Steps:
        """While one alias answers nobody, the other one goes on; nobody reads what is too old."""
        self._observer.say("freeze etcd")
        self._etcd.freeze()
        self._away()
        yield self._chaos.arrival(NAMES["files"])
        for reader in self._observer.readers.values():
            yield Wait(
                lambda reader=reader: (  # type: ignore[misc]
                    reader.dataset("servers-strict").get("refused") in ("stale", "not ready")
                    or reader.name in self._observer.frozen
                ),
                f"what is too old to be refused in {reader.name}",
            )
        self._etcd.go_on()
        self._back()
        self._observer.say("etcd goes on")

    def restart_etcd(self) -> Steps:
        self._observer.say("kill etcd")
        self._etcd.kill()
        self._away()
        yield pause(self._chance.uniform(0, 2))
        yield self._chaos.arrival(NAMES["files"])
        self._etcd.start()
        yield Wait(self._etcd.healthy, "the start of etcd")
        self._back()
        self._observer.say("etcd was started again")

    def wipe_etcd(self) -> Steps:
        """All of it is lost, and nobody has a copy."""
        yield from self._begin_anew(None)

    def restore_etcd(self) -> Steps:
        """It is as it was once: a moment ago, or when the one before was saved."""
        if not self._snapshots or self._chance.random() < 0.6:
            path = self._etcd.save(len(self._snapshots))
            self._observer.say(f"etcd is saved as {path.name}")
            self._snapshots.append(path)
            yield pause(self._chance.uniform(1, 6))
        yield from self._begin_anew(self._snapshots[-1])

    def _begin_anew(self, snapshot: Path | None) -> Steps:
        """Nobody reaches it any more once all has been noted that was announced in it."""
        published = self._observer.published
        self._away()
        for line in self._etcd.lines:
            line.refuse()
        yield Wait(lambda: published.has_seen_all(SERVERS), "all that was announced to be noted")
        published.end(SERVERS)
        self._chaos.site.begin_era()
        self._observer.say("etcd is wiped" if snapshot is None else f"etcd is put back to {snapshot.name}")
        self._etcd.begin_anew(snapshot)
        yield Wait(self._etcd.healthy, "the start of etcd")
        yield Wait(lambda: published.begin(SERVERS), "what the store knows now")
        self._chaos.pinned -= {name for name in GUARDED if alias_of(name) == SERVERS and not published.pinned(name)}
        self._chaos.pinned |= {name for name in GUARDED if alias_of(name) == SERVERS and published.pinned(name)}
        for line in self._etcd.lines:
            line.restore()
        self._back()
        self._observer.say("etcd is there again")
        for name in ASKED:  # a request may be lost with it, and the promise is that it says so to nobody
            if alias_of(name) == SERVERS:
                yield Wait(lambda name=name: self._chaos.operators.request_asked(name), f"a request of {name}")  # type: ignore[misc]

    # one member -------------------------------------------------------------------------------------------------------

    def kill_leader(self) -> Steps:
        """One member of several is gone: the others go on."""
        assert self._etcd.cluster is not None
        leader = self._etcd.cluster.leader()
        self._observer.say(f"kill the leader {leader.name}")
        leader.kill()
        yield self._chaos.arrival(ALL)
        leader.start()
        yield Wait(self._etcd.healthy, "the start of the member")

    def freeze_member(self) -> Steps:
        """One member of several, maybe the leader, takes requests and answers none: the others go on."""
        member = self._chance.choice(self._etcd.members)
        self._observer.say(f"freeze the member {member.name}")
        member.signal(signal.SIGSTOP)
        yield self._chaos.arrival(ALL)
        member.signal(signal.SIGCONT)
        yield Wait(self._etcd.healthy, "all members to answer")

    def swallow_member(self) -> Steps:
        """What goes to one member and comes from it gets lost, and no connection ends: the others go on."""
        number = self._chance.randrange(len(self._etcd.lines))
        line = self._etcd.lines[number]
        self._observer.say(f"nothing gets through to the member {self._etcd.members[number].name}")
        line.freeze()
        yield self._chaos.arrival(ALL)
        line.cut()
        line.thaw()
        self._observer.say("it gets through again")

    # connections ------------------------------------------------------------------------------------------------------

    def cut_etcd(self) -> Steps:
        for _ in range(3):
            self._observer.say(f"cut {sum(line.connections for line in self._etcd.lines)} connections to etcd")
            for line in self._etcd.lines:
                line.cut()
            yield pause(self._chance.uniform(0, 0.5))

    def stall_etcd(self) -> Steps:
        """Nothing gets through to etcd; then it arrives late, or is lost."""
        seconds, lost = self._chance.choice([1.0, 4.0, 9.0]), self._chance.random() < 0.5
        self._observer.say(
            f"nothing gets through to etcd for {seconds} s; {'then it is lost' if lost else 'then it is'}"
        )
        for line in self._etcd.lines:
            line.freeze()
        self._away()
        yield pause(seconds)
        for line in self._etcd.lines:
            if lost:
                line.cut()
            line.thaw()
        self._back()

    def lose_answers_of_etcd(self) -> Steps:
        """What was asked for is done, and nobody is told."""
        for _ in range(3):
            self._observer.say("the next answers of etcd are lost")
            for line in self._etcd.lines:
                line.swallow_answer(b"")
            yield pause(self._chance.uniform(0.2, 0.8))
