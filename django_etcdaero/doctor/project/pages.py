"""What the pages in Django's admin need: permissions, and their static files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_permission_codename
from django.db import DatabaseError, connections, router
from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, NotVisible, Probe, Verdict, check, ok, warning
from django_etcdaero.doctor.subjects import Project
from django_etcdaero.doctor.words import some
from django_etcdaero.exceptions import NotSupported

LABEL: Final = "django_etcdaero"
STYLES: Final = "django_etcdaero/admin.css"


def _needs_admin() -> None:
    if not apps.is_installed("django.contrib.admin"):
        raise NotSupported("django.contrib.admin is not installed")


def _missing_permissions(project: Project, timeout: float) -> list[str]:
    """Return the codenames of permissions that the models declare and the database lacks."""
    _needs_admin()
    from django.contrib.auth.models import Permission

    declared = set()
    for options in (model._meta for model in apps.get_app_config(LABEL).get_models()):
        declared |= {get_permission_codename(action, options) for action in options.default_permissions}
        declared |= {codename for codename, _ in options.permissions}
    using = router.db_for_read(Permission)
    if _is_in_memory(using):
        raise NotVisible("the database is in memory, where each thread may have one of its own")
    there = Permission.objects.using(using).filter(content_type__app_label=LABEL)
    return sorted(declared - set(there.values_list("codename", flat=True)))


def _is_in_memory(using: str) -> bool:
    return bool(getattr(connections[using], "is_in_memory_db", bool)())


def _static(project: Project, timeout: float) -> bool:
    """Tell whether the style sheet of the pages is where static files are served from."""
    _needs_admin()
    if not apps.is_installed("django.contrib.staticfiles"):
        raise NotSupported("django.contrib.staticfiles is not installed")
    from django.contrib.staticfiles import finders
    from django.contrib.staticfiles.storage import StaticFilesStorage, staticfiles_storage

    if settings.DEBUG:
        return finders.find(STYLES) is not None
    if not settings.STATIC_ROOT and isinstance(staticfiles_storage, StaticFilesStorage):
        raise NotVisible("STATIC_ROOT is not set: another program serves static files")

    stored_name = getattr(staticfiles_storage, "stored_name", str)  # of a storage with hashed names
    try:
        return bool(staticfiles_storage.exists(stored_name(STYLES)))
    except ValueError:  # the manifest has no such file
        return False


PERMISSIONS, STATIC = Probe("permissions", _missing_permissions), Probe("static", _static)


@check(
    "project.permissions",
    "permissions for the admin's pages",
    of=Project,
    needs=(PERMISSIONS,),
    why=gettext_noop("Without its permission nobody but a superuser sees a page or may act on it."),
)
def permissions(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.failure(PERMISSIONS), DatabaseError):
        yield warning(f"the database does not tell: {facts.failure(PERMISSIONS)}", "python manage.py migrate")
        return
    missing = facts[PERMISSIONS]
    if missing:
        yield warning(f"the database lacks {len(missing)}: {some(missing)}", "python manage.py migrate django_etcdaero")
    else:
        yield ok("all are there")


@check(
    "project.static",
    "static files of the admin's pages",
    of=Project,
    needs=(STATIC,),
    why=gettext_noop(
        "The pages load their style sheets and scripts as files, so that a strict Content-Security-Policy lets them."
    ),
)
def static(facts: Facts) -> Iterator[Verdict]:
    if facts[STATIC]:
        yield ok("they are there")
    else:
        yield warning(f"{STYLES} is not there", "python manage.py collectstatic --noinput")
