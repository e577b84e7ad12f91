"""What every publication of a dataset has, whether everything is loaded (:mod:`.full_load`) or what has changed
(:mod:`.change_load`): what was read when it began, where it stores, how it validates and tries."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from functools import cached_property, partial
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.assembly import Assembled
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.formats import Allowed, allowed
from django_etcdaero.datasets.state.sightings import sightings
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.system.clocks import elapsed

from .announcing import Announcing
from .base import Base
from .changing import Difference
from .context import PublishingContext
from .expiry import kept
from .repair import refuse_repair_in_vain
from .source import Progress
from .storing import Storing
from .validation import run_validators

logger = logging.getLogger("django_etcdaero.datasets")


_told: dict[bytes, str] = {}
"""Why versions are written in an older form, as it was told, by the start of a dataset's records."""


class Published(NamedTuple):
    """What has come of a publication."""

    outcome: Outcome
    version: int | None
    """The new version, if there is one."""
    checked: Checked | None
    """What was noted in the store; ``None`` for a dry run."""
    rows: int
    bytes_written: int
    bytes_total: int
    changes: bool = False
    """Whether not everything was loaded."""
    drift: int | None = None
    """Of a full load: rows that were not what changes had told; ``None``: it is not known."""


class Publishing:
    """What stages 2 to 5 need for one dataset, once.

    ``force`` repairs damage that was repaired in vain before. ``read`` takes the place of the source, as
    :func:`.source.load_rows`; what it gives answers no request.
    ``full``: everything is loaded, also where changes would do; ``keys``: only their rows are, where that can be done.
    ``serving``: whoever called folds deltas himself, between two refreshes (:mod:`.folding`).
    """

    def __init__(
        self,
        context: PublishingContext,
        *,
        force: bool,
        progress: Progress | None,
        read: Callable[[Progress | None], dict[Any, Any]] | None = None,
        skip_validators: bool = False,
        full: bool = False,
        keys: Sequence[Any] | None = None,
        serving: bool = False,
    ) -> None:
        self.serving = serving
        self.full = full
        self.keys = keys
        self.dataset = context.dataset
        self.kv = context.stores.kv
        self.layout = context.layout
        self.blocks = context.blocks
        self.stores = context.stores
        self.state = state = context.state
        self.lock = context.lock
        self.permission = context.permission
        self.force = force
        self.progress = progress
        self.read = read
        self.from_source = read is None
        self._skip_validators = skip_validators
        self.results: list[ValidatorResult] = []
        """What validators said."""
        self.verify = state.pending is not None and state.pending.repair
        """Whether records that exist are read back and checked."""
        self.phases: dict[str, float] = {}
        """Seconds that each took."""
        self.end = Announcing(
            context,
            answers=read is None and keys is None,
            of_keys=keys is not None,
            results=self.results,
            phases=self.phases,
        )
        self.loading = False
        """Whether it runs code of the project: ``load()``, a validator, or what takes part in a trial load."""

    @property
    def changeable(self) -> bool:
        """Whether parts of the source can be loaded by themselves."""
        return self.from_source and (self.dataset._loads_changes() or self.dataset._loads_keys())

    @cached_property
    def allowed(self) -> Allowed:
        """The form in which the version may be written, for all who read it."""
        dataset, stores = self.dataset, self.stores
        found = allowed(self.kv, dataset.name, dataset.schema, newest=stores.newest_format)
        if found.why != _told.get(self.layout.records, ""):
            _told[self.layout.records] = found.why
            if found.why:
                logger.warning("dataset %s: versions are written in an older form: %s", dataset.name, found.why)
        return found

    def may_stay(self, manifest: Manifest) -> bool:
        """Tell whether all who read the dataset can read a version."""
        return (self.allowed.deltas or not manifest.deltas) and manifest.codec <= self.allowed.forms.codec

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure how long the block takes."""
        began = elapsed()
        yield
        self.phases[name] = self.phases.get(name, 0.0) + elapsed() - began

    def refuse_load_in_vain(self) -> None:
        """Raise ``CorruptBlock`` as :func:`.repair.refuse_repair_in_vain` does."""
        if self.lock is None or self.force:
            return
        try:
            ages = sightings(self.kv, self.layout).ages(time.time())
            refuse_repair_in_vain(self.dataset, self.state, ages, self.blocks, self.latest)
        except CorruptBlock:
            self.end.answer_request()
            raise

    def validate(
        self, latest: Announcement | None, rows: Mapping[Any, Any], changed: tuple[Base, Difference] | None = None
    ) -> None:
        """Run the validators. The arguments and what is raised are those of :func:`.validation.run_validators`."""
        if self._skip_validators:
            self.results.append(ValidatorResult(name="validators", ok=True, text="left out by hand"))
            return
        validate = partial(run_validators, self.dataset, self.stores, latest, rows, self.results, changed=changed)
        with self.phase("validate"):
            Context().run(validate)
        if self.allowed.why:  # for whoever looks at the history
            self.results.append(ValidatorResult(name="form", ok=True, text=f"an older one: {self.allowed.why}"))

    def latest(self) -> Announcement | None:
        """Return the version to compare with: the announced one; while pinned the newest of the history."""
        if self.state.pin is None:
            return self.state.current
        newest = kept(self.kv.range(self.layout.history(), prefix=True).kvs)
        return newest[-1][0] if newest else self.state.current

    def storing(self, base: Manifest | None) -> Storing:
        """Return what brings a version into the record store; ``base``: one whose records are certain to stay."""
        return Storing(
            self.dataset,
            self.blocks,
            base,
            verify=self.verify,
            dry_run=self.lock is None,
            ttl=self.stores.garbage_ttl,
            progress=self.progress,
        )

    def restored(self) -> bool:
        """Tell whether the coordination store is an older state of itself: then the same rows are announced anew.

        Otherwise readers would go by the announcement copy of before whenever the coordination plane is away.
        """
        state = self.state
        if state.current is None or state.pin is not None:
            return False
        return state.next_epoch(self.blocks.read_copy()) != state.current.epoch

    def on_trial(self, trial: Callable[[], Assembled | None]) -> Assembled | None:
        """Load the version as readers load it, by ``trial``; return what that does."""
        self.loading = True  # code of the project takes part
        with self.phase("try"):
            made = Context().run(trial)
        self.loading = False
        return made
