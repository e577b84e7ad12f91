"""A refresher that is killed at every one of its steps: nobody ever sees half of what it did."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.datasets.state.announcement import Announcement
from tests.processes.site import PROJECT, Site

KEYS = [f"key {number}" for number in range(200)]


def block_of(key: str) -> int:
    """Return which block a change of this key changes."""
    plain, changed = (
        {block.index: block.digest for block in partition(rows, max_value_bytes=1 << 20)}
        for rows in (dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0) | {key: 1})
    )
    (index,) = (index for index in plain if plain[index] != changed[index])
    return index


BY_BLOCK = {block_of(key): key for key in KEYS[:20]}
NAMES = dict(zip("abcd", BY_BLOCK.values(), strict=False))
"""Keys in blocks of their own."""


def rows(**changed: int) -> dict[str, int]:
    """Rows in eight blocks; a, b, c and d name one in a block of its own each."""
    return dict.fromkeys(KEYS, 0) | {NAMES[name]: value for name, value in changed.items()}


VERSIONS = [
    rows(a=1, b=1, c=1),
    rows(a=2, b=1, c=1),
    rows(a=2, b=3, c=1),
    rows(a=1, b=3, c=4),
    rows(a=1, b=3, c=4, d=5),
]
"""With two kept, the first is gone when the third is there. The fourth takes a block of the first into use again."""


class Trials:
    """Forks of one prepared process, each in a deployment of its own."""

    def __init__(self, pristine: Site, directory: Path, **environment: str) -> None:
        self._pristine = pristine
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "trials"],
            cwd=PROJECT,
            env=pristine.whole_environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def deployment(self, name: str, of: Site | None = None) -> Site:
        """Return a new deployment, a copy of another one if that is given."""
        return (of or self._pristine).copy(self._directory / name)

    def attempt(
        self, site: Site, do: str, fatal: int | None = None, *, number: int = signal.SIGKILL
    ) -> tuple[int, Any]:
        """Do something in a process of its own; return its exit code (negative: by a signal) and what it said."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        place = {"directory": str(site.directory), "urls": site.urls, "prefix": site.prefix}
        asked = {**place, "do": do, "fatal": fatal, "signal": number}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["said"]

    def read(self, site: Site) -> tuple[int, Any]:
        """Return the version that a new process reads, and the rows."""
        status, said = self.attempt(site, "read")
        assert status == 0
        return said["version"], said["rows"]

    def publish(self, site: Site, number: int) -> dict[str, Any]:
        """Publish one of ``VERSIONS``, which may take the end of a killed refresher's lease."""
        site.rows(VERSIONS[number - 1])
        status, said = self.attempt(site, "refresh")
        assert status == 0
        result: dict[str, Any] = said["result"]
        return result

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def trials(site: Site, tmp_path: Path) -> Iterator[Trials]:
    started = Trials(site, tmp_path)
    yield started
    started.close()


def entries(site: Site, kind: str) -> dict[int, Announcement]:
    """Return the announcements under ``history/`` or ``retired/``, by version."""
    with site.kv() as kv:
        found = [Announcement.decode(item.value) for item in kv.range(getattr(site.layout(), kind)(), prefix=True).kvs]
    return {entry.version: entry for entry in found}


def check_that_kept_versions_are_whole(site: Site) -> None:
    stored = site.stored()
    for entry in entries(site, "history").values():
        for digest in site.named_by(entry.root):
            assert stored[digest].ttl is None, (entry.version, digest.hex())


def permanent_strays(site: Site) -> set[bytes]:
    """Return the records that never expire although no kept version names them."""
    kept: set[bytes] = set()
    for entry in entries(site, "history").values():
        kept |= site.named_by(entry.root)
    return {digest for digest, meta in site.stored().items() if meta.ttl is None} - kept


@pytest.fixture
def before(trials: Trials) -> Site:
    """A deployment with two versions kept and one retired, where the fourth is to be published."""
    prepared = trials.deployment("before")
    for number in (1, 2, 3):
        assert trials.publish(prepared, number)["version"] == number
    prepared.rows(VERSIONS[3])
    return prepared


def test_a_refresher_killed_at_any_step_leaves_one_whole_version_and_the_next_one_heals(
    trials: Trials, before: Site
) -> None:
    assert sorted(entries(before, "history")) == [2, 3]
    assert len(before.stored().keys() - permanent_strays(before)) > 12

    control = trials.deployment("control", before)
    status, said = trials.attempt(control, "refresh")
    steps = said["steps"]
    assert (status, said["result"]["version"]) == (0, 4)
    assert {"kv.lease_grant", "kv.txn", "kv.lease_revoke", "records.put_many", "records.touch_many"} <= set(steps)
    new = control.named_by(entries(control, "history")[4].root)
    resurrected = {digest for digest in new if (meta := before.stored().get(digest)) and meta.ttl is not None}
    assert resurrected, "the fourth version is to use a block that was about to expire"
    retired = before.named_by(entries(before, "history")[2].root)

    crashed = []
    for moment in range(2 * len(steps)):
        site = trials.deployment(f"killed-at-{moment}", before)
        status, _ = trials.attempt(site, "refresh", moment)
        assert status == -9, moment
        crashed.append(site)

    seen = []
    for site in crashed:
        version, read = trials.read(site)
        assert read == VERSIONS[version - 1], site.directory.name
        history, notes = entries(site, "history"), entries(site, "retired")
        stage = (sorted(history), sorted(notes))
        assert stage in (([2, 3], []), ([2, 3], [4]), ([3, 4], [2]), ([3, 4], [])), site.directory.name
        assert version == max(history)
        check_that_kept_versions_are_whole(site)
        strays = permanent_strays(site)
        # Nothing is permanent without a reason: what is about to be announced, or noted for a clean-up.
        assert strays <= ((new if version == 3 else retired) if notes else set()), site.directory.name
        seen.append((version, bool(strays)))
    assert seen == sorted(seen, key=lambda each: each[0]), "the new version is announced in one step"
    assert {version for version, _ in seen} == {3, 4}
    assert sum(strays for version, strays in seen if version == 3) <= 2, "from making them permanent to announcing"

    for number, site in enumerate(crashed):
        # What is stored after one step is what is stored before the next: one goes on with the same rows, one without.
        if number % 2 == 0:
            healed = trials.publish(site, 4)
            assert healed["version"] == 4
            assert trials.read(site) == (4, VERSIONS[3])
            assert sorted(entries(site, "history")) == [3, 4]
            check_that_kept_versions_are_whole(site)
        elif 4 in entries(site, "retired"):
            assert trials.publish(site, 1)["version"] == 4
        else:
            continue
        assert trials.publish(site, 5)["version"] == 5
        assert trials.read(site) == (5, VERSIONS[4])
        assert sorted(entries(site, "history")) == [4, 5]
        assert entries(site, "retired") == {}
        check_that_kept_versions_are_whole(site)
        assert permanent_strays(site) == set(), site.directory.name


def test_a_refresher_terminated_at_any_step_gives_the_lock_back(trials: Trials, before: Site) -> None:
    status, said = trials.attempt(trials.deployment("control", before), "refresh")
    assert status == 0
    released = len(said["steps"]) - 2
    assert said["steps"][released:] == ["kv.txn", "kv.lease_revoke"]
    for step in range(released):
        site = trials.deployment(f"terminated-at-{step}", before)
        status, _ = trials.attempt(site, "refresh", 2 * step, number=signal.SIGTERM)
        assert status == 143, step
        assert site.lock_is_free(), step
        check_that_kept_versions_are_whole(site)
        assert trials.publish(site, 4)["version"] == 4
        assert trials.read(site) == (4, VERSIONS[3])
        check_that_kept_versions_are_whole(site)


@pytest.fixture
def changing(site: Site, tmp_path: Path) -> Iterator[Trials]:
    started = Trials(site, tmp_path, SHOP_CHANGES="1")
    yield started
    started.close()


def test_a_service_killed_at_any_step_of_a_fold_loses_nothing(changing: Trials) -> None:
    before = changing.deployment("before")
    for number in (1, 2, 3, 4):
        changing.publish(before, number)
    named = [before.named_by(entry.root) for _, entry in sorted(entries(before, "history").items())]
    assert len(named[1] - named[0]) == 2, "a root and a delta"

    control = changing.deployment("control", before)
    status, said = changing.attempt(control, "fold")
    steps = said["steps"]
    assert (status, said["outcomes"]) == (0, ["unchanged", "refreshed"])
    assert steps.count("records.put_many") >= 3
    assert changing.read(control) == (5, VERSIONS[3])

    for step in range(len(steps)):
        site = changing.deployment(f"killed-at-{step}", before)
        status, _ = changing.attempt(site, "fold", 2 * step)
        assert status == -9, step
        version, read = changing.read(site)
        assert (version in (4, 5), read) == (True, VERSIONS[3]), step
        check_that_kept_versions_are_whole(site)
        if step % 4 and version == 4:
            continue
        assert changing.publish(site, 5)["version"] == version + 1
        assert changing.publish(site, 1)["version"] == version + 2
        assert changing.read(site) == (version + 2, VERSIONS[0])
        check_that_kept_versions_are_whole(site)
        assert entries(site, "retired") == {}
        assert permanent_strays(site) == set(), step
