"""What is said where a package is missing that one of these modules is for."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


def missing(module: str, package: str, extra: str) -> ImproperlyConfigured:
    """Return the error to raise when ``module`` cannot do without ``package``, which the ``extra`` brings along."""
    return ImproperlyConfigured(f"{module} needs {package}: python -m pip install 'django-etcdaero[{extra}]'")
