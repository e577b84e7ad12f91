"""The error for a table that is not there says what makes it."""

from __future__ import annotations

from django.db import ProgrammingError
from django.test import modify_settings

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.records.database.dialect import Fault
from django_etcdaero.records.database.errors import translate
from django_etcdaero.stores.database import DatabaseAddress


def told() -> str:
    error = ProgrammingError('relation "etcdaero_records" does not exist')
    found = translate(DatabaseAddress("servers"), error, Fault.NO_TABLE, write=False, late=False)
    assert isinstance(found, ConfigurationError)
    return str(found)


def test_the_command_is_named() -> None:
    message = told()
    assert "run: python manage.py migrate django_etcdaero --database=servers" in message
    assert "INSTALLED_APPS" not in message


@modify_settings(INSTALLED_APPS={"remove": ["django_etcdaero"]})
def test_without_the_app_it_is_named_too() -> None:
    message = told()
    assert 'add "django_etcdaero" to INSTALLED_APPS' in message
    assert "migrate django_etcdaero --database=servers" in message
