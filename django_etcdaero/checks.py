"""System checks. All of them are offline: they read settings, declarations and the environment, no file and no server.

========  =============================================================================================
id        meaning
========  =============================================================================================
E001      ``ETCDAERO`` itself is wrong: not a dict, no ``default``, a bad alias, an unknown key
E002      a ``KV`` or ``RECORDS`` URL is wrong
E003      a ``PREFIX`` is wrong or missing
E004      an option in ``OPTIONS`` is wrong or unknown
E005      a dataset's ``using`` names an alias that does not exist
E006      one SQLite file is both a ``KV`` and a ``RECORDS``, or two aliases use it with the same prefix
E007      ``KV`` is on servers and ``RECORDS`` on this host: other hosts see announcements without rows
E008      an entry of ``CACHES`` with this package's backend is wrong
E009      a cache's set of Aerospike is that of a ``RECORDS``
E010      ``ETCDAERO_HEALTH`` is wrong, or names a dataset that does not exist
W001      (``--deploy``) a ``mem:`` store: no process sees another's refreshes
W002      (``--deploy``) a ``sqlite:`` store: one host only
W003      ``GRPC_ENABLE_FORK_SUPPORT`` is off in the environment
W004      an option of the process's one reader is set for another alias than ``default``
W005      an attribute of a dataset's class that nothing reads is called nearly like an option
W006      (``--deploy``) a ``mem:`` cache: no process sees what another stores
W007      (``--deploy``) a cache's ``NEAR`` whose ``KV`` fewer processes see: not all are told of changes
W008      (``--deploy``) a URL with a password, which Django's debug pages and error mails show
========  =============================================================================================
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning

from . import conf
from .options import OPTION_NAMES, READER_OPTIONS, Options
from .password_check import check_passwords
from .secret import is_our_cache
from .stores.address import Address, Plane, Reach, is_split
from .stores.local import FileAddress
from .system.shown import shown_name

TAG: Final = "etcdaero"

_PROBLEM_IDS: Final = {
    None: "E001",
    "KV": "E002",
    "RECORDS": "E002",
    "PREFIX": "E003",
    "PROJECT": "E003",
    "OPTIONS": "E004",
}
_PROBLEM_HINTS: Final = {
    "E001": 'Write ETCDAERO = {"default": {"KV": ..., "RECORDS": ..., "PREFIX": ..., "OPTIONS": {...}}}; each of the '
    "keys may be left out.",
    "E002": "Correct the URL; left out of settings and environment it is a SQLite file under BASE_DIR/.etcdaero/.",
    "E003": "Choose a name that no other project or deployment uses on these stores, such as 'shop' or 'shop/staging'.",
    "E004": f"OPTIONS may have the keys {', '.join(OPTION_NAMES)}; leave one out for its default.",
}


def register_all() -> None:
    """Register the checks with Django. Calling it again changes nothing."""
    register(check_settings, TAG)
    register(check_dataset_aliases, TAG)
    register(check_shared_files, TAG)
    register(check_split_stores, TAG)
    register(check_fork_support, TAG)
    register(check_reader_options, TAG)
    register(check_dataset_attributes, TAG)
    register(check_caches, TAG)
    register(check_health, TAG)
    register(check_reach, TAG, deploy=True)
    register(check_caches_for_deployment, TAG, deploy=True)
    register(check_passwords, TAG, Tags.security, deploy=True)


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """E001 to E004: report everything that is wrong in ``settings.ETCDAERO``."""
    found: list[CheckMessage] = []
    for problem in conf.problems():
        number = _PROBLEM_IDS[problem.key]
        found.append(Error(problem.message, hint=_PROBLEM_HINTS[number], id=f"etcdaero.{number}"))
    return found


def check_dataset_aliases(**kwargs: Any) -> list[CheckMessage]:
    """E005: each dataset's ``using`` must be an alias."""
    from .datasets.registry import datasets

    known = conf.aliases()
    excused = {problem.alias for problem in conf.problems()}
    if None in excused:
        return []
    return [
        Error(
            f"The dataset {dataset.name!r} is declared with using={shown_name(dataset.using)}, and ETCDAERO has no "
            f"such alias{conf.suggestion(dataset.using, known)}",
            hint="Correct the dataset's 'using', or add the alias to ETCDAERO.",
            obj=dataset.origin,
            id="etcdaero.E005",
        )
        for dataset in datasets.values()
        if dataset.using not in known and dataset.using not in excused
    ]


def check_shared_files(**kwargs: Any) -> list[CheckMessage]:
    """E006: a SQLite file is of one kind, and two aliases in it need prefixes of which none contains the other."""
    found: list[CheckMessage] = []
    for one, other in itertools.combinations(_stores(), 2):
        if not isinstance(one.address, FileAddress) or one.address != other.address:
            continue
        if one.plane is not other.plane:
            reason, hint = "but keys and records cannot be in one file.", "Give each of them a file of its own."
        elif _overlap(one.prefix, other.prefix):
            reason = f"and their prefixes {one.prefix!r} and {other.prefix!r} do not keep their entries apart."
            hint = "Give the aliases different prefixes or files."
        else:
            continue
        message = f"{one.setting} and {other.setting} are the same file {one.address.safe}, {reason}"
        found.append(Error(message, hint=hint, id="etcdaero.E006"))
    return found


def check_split_stores(**kwargs: Any) -> list[CheckMessage]:
    """E007: the rows of what is announced to all hosts must be there for all of them."""
    return [
        Error(
            f"{records.setting} is {records.address.safe}, which is on this host only, while {kv.setting} is "
            f"{kv.address.safe}: other hosts are told of versions whose rows they cannot get.",
            hint="Put RECORDS on servers too (aerospike:// or, for some megabytes, etcd://), or KV on this host.",
            id="etcdaero.E007",
        )
        for kv, records in _pairs()
        if is_split(kv.address, records.address)
    ]


def check_caches(**kwargs: Any) -> list[CheckMessage]:
    """E008 and E009: the entries of ``CACHES`` with this package's backend."""
    return _caches(deploy=False)


def check_caches_for_deployment(**kwargs: Any) -> list[CheckMessage]:
    """W006 and W007, with ``--deploy``: caches that fewer processes see, or are told of, than may be meant."""
    return [each for each in _caches(deploy=True) if each.id in ("etcdaero.W006", "etcdaero.W007")]


def check_health(**kwargs: Any) -> list[CheckMessage]:
    """E010: the setting of the views for load balancers."""
    if not hasattr(settings, "ETCDAERO_HEALTH"):
        return []  # and import nothing
    from . import health_settings

    hint = f"ETCDAERO_HEALTH may have the keys {', '.join(health_settings.NAMES)}; leave one out for its default."
    return [Error(f"{problem}.", hint=hint, id="etcdaero.E010") for problem in health_settings.problems()]


def _caches(*, deploy: bool) -> list[CheckMessage]:
    if not any(map(is_our_cache, settings.CACHES.values())):
        return []  # and import nothing
    from .cache.checks import check

    return check(deploy=deploy)


def stores_in_memory() -> list[CheckMessage]:
    """W001: stores that only one process can see. The commands tell it too, whose own process is such a one."""
    what = "a store inside each process: what one process refreshes or locks the others do not see."
    return _unshared(Reach.PROCESS, what, hint="Use sqlite:/// for all processes of one host.", number="W001")


def check_reach(**kwargs: Any) -> list[CheckMessage]:
    """W001 and W002, with ``--deploy``: stores that only one process or one host can see."""
    hint = "For a deployment on one host this is right: there put etcdaero.W002 into SILENCED_SYSTEM_CHECKS."
    what = "a file on this host: other hosts do not see it."
    return stores_in_memory() + _unshared(Reach.HOST, what, hint=hint, number="W002")


def _unshared(reach: Reach, what: str, *, hint: str, number: str) -> list[CheckMessage]:
    return [
        CheckWarning(f"{store.setting} is {store.address.safe}, {what}", hint=hint, id=f"etcdaero.{number}")
        for store in _stores()
        if store.address.reach is reach
    ]


def check_fork_support(**kwargs: Any) -> list[CheckMessage]:
    """W003: gRPC's fork support must not be switched off."""
    value = os.environ.get("GRPC_ENABLE_FORK_SUPPORT")
    # The words that gRPC itself reads as false (absl::SimpleAtob).
    if value is None or value.lower() not in {"0", "false", "f", "no", "n"}:
        return []
    return [
        CheckWarning(
            f"GRPC_ENABLE_FORK_SUPPORT={value} is set: calls to etcd may hang in worker processes that were forked "
            "from a process which had used gRPC (gunicorn --preload, celery, multiprocessing).",
            hint="Remove the variable from the environment or set it to 1.",
            id="etcdaero.W003",
        )
    ]


def check_reader_options(**kwargs: Any) -> list[CheckMessage]:
    """W004: a process has one reader for all aliases, and its options are those of the alias ``default``."""
    broken = {problem.alias for problem in conf.problems()}
    if {conf.DEFAULT_ALIAS, None} & broken:
        return []
    used = conf.get(conf.DEFAULT_ALIAS).options
    return [
        CheckWarning(
            f'ETCDAERO["{alias}"]["OPTIONS"]["{name}"] has no effect.',
            hint=f'The reader of a process serves all aliases; set {name} in ETCDAERO["default"]["OPTIONS"].',
            id="etcdaero.W004",
        )
        for alias in conf.aliases()
        if alias not in broken and alias != conf.DEFAULT_ALIAS
        for name in READER_OPTIONS
        if getattr(conf.get(alias).options, name) not in (getattr(Options(), name), getattr(used, name))
    ]


def check_dataset_attributes(**kwargs: Any) -> list[CheckMessage]:
    """W005: a mistyped option would be silently without effect, for a class may have attributes of its own."""
    import difflib  # here: starting must stay cheap

    from .datasets.dataset import Dataset
    from .datasets.declared import OPTIONS
    from .datasets.registry import datasets
    from .model_datasets.dataset import MODEL_OPTIONS, ModelDataset

    # Shorter names than these are too like words that a user's own attribute may have: load and loader, row and rows.
    candidates = [name for name in (*OPTIONS, "prepare") if len(name) > 5]
    of_models = [*candidates, *(name for name in (*MODEL_OPTIONS, "get_queryset", "serialize") if len(name) > 5)]
    return [
        CheckWarning(
            f"The dataset {dataset.name!r} has an attribute {attribute!r}, which django-etcdaero does not know.",
            hint=f"Did you mean {meant!r}? If not, give it another name, or a leading underscore.",
            obj=dataset.origin,
            id="etcdaero.W005",
        )
        for dataset in datasets.values()
        for base, options in [(ModelDataset, of_models) if isinstance(dataset, ModelDataset) else (Dataset, candidates)]
        for cls in type(dataset).__mro__
        if issubclass(cls, base)
        for attribute in vars(cls)
        if not attribute.startswith("_") and not hasattr(base, attribute)
        for meant in difflib.get_close_matches(attribute, options, n=1, cutoff=0.8)
    ]


class _Store(NamedTuple):
    alias: str
    plane: Plane
    address: Address
    prefix: str

    @property
    def setting(self) -> str:
        return f'ETCDAERO["{self.alias}"]["{self.plane.value}"]'


def _pairs() -> Iterator[tuple[_Store, _Store]]:
    """Yield the two stores of each alias."""
    # Aliases with problems are left out: E001 to E004 report those.
    broken = {problem.alias for problem in conf.problems()}
    for alias in conf.aliases():
        if alias not in broken:
            parsed = conf.get(alias)
            kv = _Store(alias, Plane.KV, parsed.kv, parsed.prefix)
            yield kv, _Store(alias, Plane.RECORDS, parsed.records, parsed.prefix)


def _stores() -> Iterator[_Store]:
    return itertools.chain.from_iterable(_pairs())


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
