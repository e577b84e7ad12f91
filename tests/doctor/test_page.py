"""The page of the doctor lists what there is."""

from __future__ import annotations

import re

from django.core.management import BaseCommand, load_command_class

from django_etcdaero.doctor import CHECKS, Report, Severity
from tests.pages import DOCS, tables

TABLES = dict(tables(DOCS / "doctor.rst"))


def names(title: str) -> list[str]:
    return [row[0].strip("`") for row in TABLES[title]]


def test_all_checks_are_listed_with_what_they_look_at_and_why() -> None:
    told = [(row[0].strip("`"), row[1], row[2]) for row in TABLES["All checks"]]
    assert told == [(each.id, each.title, each.why) for each in CHECKS]


def test_severities_are_listed() -> None:
    assert names("Severities") == [str(each) for each in Severity]


def test_options_of_the_command_are_listed() -> None:
    parser = load_command_class("django_etcdaero", "etcdaero_doctor").create_parser("manage.py", "etcdaero_doctor")
    plain = BaseCommand().create_parser("manage.py", "any")
    common = {flag for action in plain._actions for flag in action.option_strings}
    own = {flag for action in parser._actions for flag in action.option_strings} - common
    listed = {flag for row in TABLES["Options of the doctor"] for flag in re.findall(r"--[a-z-]+", row[0])}
    assert listed == own


def test_fields_of_the_report_are_listed() -> None:
    document = Report(findings=(), started=0.0, seconds=0.0).as_dict()
    assert names("Fields of the report") == list(document)
