"""The settings, the environment, and what is installed."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from django.conf import settings as django_settings
from django.core import checks
from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import Project
from django_etcdaero.doctor.words import some

TAG: Final = "etcdaero"
TRIED: Final = (3, 14)
"""The newest Python that this package was tried with."""
LEAST: Final[Mapping[str, tuple[int, ...]]] = {
    "Django": (5, 2),
    "aerospike": (19, 3),
    "etcd3": (0, 12),
    "grpcio": (1, 62),
    "protobuf": (4, 25),
}


@dataclass(frozen=True, slots=True)
class Message:
    """What a system check says."""

    id: str
    level: int
    text: str
    hint: str


def _checked(project: Project, timeout: float) -> tuple[Message, ...]:
    """Run the system checks of this package, without ``DEBUG`` those for deployments too."""
    found = checks.run_checks(tags=[TAG], include_deployment_checks=not django_settings.DEBUG)
    return tuple(
        Message(each.id or "", each.level, each.msg, each.hint or "") for each in found if not each.is_silenced()
    )


def _installed(project: Project, timeout: float) -> Mapping[str, str]:
    found = {}
    for name in LEAST:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


CHECKED, INSTALLED = Probe("checked", _checked), Probe("installed", _installed)


@check(
    "project.settings",
    "what the system checks say",
    of=Project,
    needs=(CHECKED,),
    why=gettext_noop(
        "They read settings and declarations, and tell what cannot work or is not meant for a deployment."
    ),
)
def settings(facts: Facts) -> Iterator[Verdict]:
    for each in facts[CHECKED]:
        say = error if each.level >= checks.ERROR else warning if each.level >= checks.WARNING else info
        yield say(f"({each.id}) {each.text}", each.hint or f"python manage.py check --tag {TAG}")
    yield ok("nothing")


@check(
    "project.versions",
    "Python and the packages that are needed",
    of=Project,
    needs=(INSTALLED,),
    why=gettext_noop("Other versions may do something else than this package was tried with."),
)
def versions(facts: Facts) -> Iterator[Verdict]:
    old = [f"{name} {found or 'missing'}" for name, found in facts[INSTALLED].items() if _numbers(found) < LEAST[name]]
    if old:
        yield warning(f"too old, or not installed: {some(old)}", "python -m pip install -U django-etcdaero")
    if sys.version_info[:2] > TRIED:
        yield info(f"Python {sys.version_info[0]}.{sys.version_info[1]} is newer than what this package was tried with")
    told = ", ".join(f"{name} {found}" for name, found in facts[INSTALLED].items())
    yield ok(f"Python {sys.version_info[0]}.{sys.version_info[1]}, {told}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version.partition("+")[0])[:2])
