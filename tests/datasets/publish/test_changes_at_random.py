"""Whatever happens in between, what is published by changes is what the source has, and readers hold it."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.assembly import assemble
from django_etcdaero.datasets.blocks.codec import Encoder
from django_etcdaero.datasets.blocks.content import content_of, row_digest, sum_of_digests
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.publish import base as bases
from django_etcdaero.datasets.publish import folding
from django_etcdaero.datasets.publish.folding import Left, fold_on
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state import formats
from django_etcdaero.exceptions import CorruptBlock
from tests.datasets.hosting import FakeHost, follow, many

from .changing import declared

STEPS = 60
OLD = "processes/old-7-abcd"


class Killed(BaseException):
    """The process ends here."""


class Play:
    """One sequence of events, which a seed decides."""

    def __init__(self, host: FakeHost, dataset: Any, seed: int) -> None:
        self.host, self.dataset, self.table = host, dataset, dataset.table
        self.random = random.Random(seed)
        self.pinned = False
        self.missed: set[str] = set()
        """Keys of which changes told nothing."""
        self.certain = True
        """Whether these are all: a version that was gone back to may miss others."""

    def key(self) -> str:
        return f"k{self.random.randrange(700)}"

    def change(self) -> None:
        for _ in range(self.random.choice([1, 1, 3, 40])):
            key = self.key()
            if self.random.random() < 0.3:
                self.table.remove(key)
            else:
                self.table.put(**{key: {"n": self.random.randrange(5)}})
            self.missed.discard(key)

    def change_silently(self) -> None:
        self.table.silent, key = True, self.key()
        self.table.put(**{key: {"n": "silent"}})
        self.table.silent = False
        self.missed.add(key)

    def fold(self) -> None:
        """As a process that serves does between two refreshes."""
        for _ in range(self.random.choice([1, 3, 30])):
            if fold_on(self.dataset, self.host.stores("default")) is not Left.MORE:
                break

    def refresh(self, **options: Any) -> None:
        serving = self.random.random() < 0.5
        result = Refresh(self.dataset, self.host, force=True, serving=serving, **options).run()  # type: ignore[arg-type]
        assert result.ok, result.error
        if not result.changes:
            if result.drift is not None and self.certain:
                assert result.drift <= len(self.missed)
            self.certain = not self.pinned
            self.missed.clear()
        if self.certain and "keys" not in options:
            self.check()

    def refresh_all(self) -> None:
        self.refresh(full=True)

    def refresh_keys(self) -> None:
        keys = [*{self.key() for _ in range(3)} | set(sorted(self.missed)[:1])]
        self.refresh(keys=keys)
        if not self.pinned:
            self.missed -= set(keys)

    def go_back(self) -> None:
        versions = self.dataset.history()
        with suppress(CorruptBlock):  # something of it was lost
            self.dataset.rollback(self.random.choice(versions).version)
            self.pinned, self.certain = True, False

    def go_on(self) -> None:
        if self.dataset.unpin():
            self.pinned = False
            self.refresh(full=True)  # what a version missed that was gone back to is not known here

    def be_another_process(self) -> None:
        bases.forget(self.dataset.layout("t"))

    def die(self) -> None:
        call = self.random.choice(["put_many", "touch_many", "exists_many"])

        def killed(*args: Any, **options: Any) -> None:
            raise Killed

        self.change()
        self.host.records.before[call] = killed
        try:
            self.dataset.refresh(force=True)
        except Killed:
            pass
        finally:
            self.host.records.before.clear()

    def lose_a_record(self) -> None:
        manifest = self.newest()
        lost = self.random.choice([*manifest.deltas, *manifest.blocks])
        self.host.records.inner.delete(self.dataset.layout("t").record(lost))
        if not self.pinned:
            self.dataset.request_refresh()
            self.refresh(full=True)  # as a reader that misses it would ask for

    def old_code(self) -> None:
        if self.host.kv.get(OLD) is not None:
            self.host.kv.delete(OLD)
            return
        value = {"host": "old", "pid": 7, "started": 1.0, "schemas": {self.dataset.name: 1}}
        self.host.kv.put(OLD, json.dumps(value).encode())

    def newest(self) -> Manifest:
        root = self.dataset.history()[0].announcement.root
        return Manifest.load(self.host.blocks(self.dataset).fetch, bytes.fromhex(root))

    def step(self) -> None:
        usual = [self.change] * 4 + [self.refresh] * 6 + [self.fold] * 3
        rare = [self.change_silently, self.refresh_all, self.refresh_keys, self.be_another_process, self.die]
        self.random.choice([*usual, *rare, self.go_back, self.go_on, self.old_code, self.lose_a_record])()

    def check(self) -> None:
        """After a refresh the newest version is what the source has, but for what nobody has told."""
        entry, manifest = self.dataset.history()[0].announcement, self.newest()
        rows = assemble(1, manifest, self.host.blocks(self.dataset).fetch, rows="plain").rows
        keys, values = Encoder().encode(list(rows), list(rows.values()))
        digest = content_of(sum_of_digests(row_digest(key + row) for key, row in zip(keys, values, strict=True)))
        assert entry.content == digest.hex()
        assert manifest.content in (b"", digest)
        differing = {key for key in rows | self.table.rows if rows.get(key) != self.table.rows.get(key)}
        assert differing <= self.missed
        if self.host.kv.get(OLD) is not None:
            assert manifest.deltas == ()
        ttls = self.host.ttls(self.dataset)
        assert all(ttls[digest] is None for digest in manifest.digests())


@pytest.mark.parametrize("seed", range(4))
def test_readers_hold_what_the_source_has(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(bases, "MOST_DELTAS", 6)
    monkeypatch.setattr(formats, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(folding, "AT_ONCE", 2)
    dataset = declared(declare, many(500), keep=3)
    dataset.refresh()
    play, following = Play(host, dataset, seed), follow(dataset, host)
    for _ in range(STEPS):
        play.step()
        following.step()
    play.go_on()
    play.refresh()
    play.check()
    following.step()
    following.step()
    assert dataset.status().version == dataset.history()[0].version
    assert play.newest().rows == len(dataset)
    assert {key for key in play.table.rows if dataset.get(key) != play.table.rows[key]} <= play.missed
    play.refresh_all()
    play.check()
    assert play.missed == set()
    following.close()
