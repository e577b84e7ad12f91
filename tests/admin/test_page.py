"""The page of the documentation lists what there is."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission

from django_etcdaero.inspection.conditions import Condition
from django_etcdaero.models import Dataset, Inspected
from tests.pages import DOCS, examples, tables

TABLES = dict(tables(DOCS / "admin.rst"))


def test_all_permissions_are_listed(db: None) -> None:
    told = {(row[0], row[1].strip("`"), row[2]) for row in TABLES["Permissions"]}
    models = [each for each in apps.get_app_config("django_etcdaero").get_models() if issubclass(each, Inspected)]
    there = {
        (each.content_type.model, each.codename, each.name)
        for each in Permission.objects.filter(content_type__app_label="django_etcdaero").select_related("content_type")
    }
    assert told == there
    assert {section for section, *_ in told} == {each._meta.model_name for each in models}


def test_all_states_are_listed() -> None:
    assert [row[0].strip("`") for row in TABLES["States"]] == [str(each) for each in Condition]


def test_the_examples_run(db: None) -> None:
    found = {each.file: each.text for each in examples(DOCS / "admin.rst")}
    assert set(found) == {"shop/groups.py", "shop/staff_site.py"}
    spaces: dict[str | None, dict[str, Any]] = {name: {} for name in found}
    for name, text in found.items():
        exec(text, spaces[name])
    allowed = set(Group.objects.get().permissions.values_list("codename", flat=True))
    assert {"view_overview", "view_dataset", "refresh_dataset"} <= allowed
    assert not {"view_row", "reveal_value", "pin_dataset"} & allowed
    assert Dataset in spaces["shop/staff_site.py"]["staff_site"]._registry
