"""Sphinx configuration: ``sphinx-build -W -b html docs docs/_build``; ``-n`` reports references without a target."""

import sys
import tomllib
from pathlib import Path

import django
from django.conf import settings

sys.path.insert(0, str(Path(__file__).resolve().parent))  # references.py

with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
    release = version = tomllib.load(file)["project"]["version"]

# The reference is made from docstrings, so the package is imported: as an app of a project without settings of its own.
settings.configure(INSTALLED_APPS=["django_etcdaero"], USE_TZ=True, ETCDAERO={"default": {"OPTIONS": {"START": "off"}}})
django.setup()

project = "django-etcdaero"
author = "The django-etcdaero maintainers"
copyright = author
html_theme = "furo"
html_title = f"{project} {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["etcdaero.css"]
exclude_patterns = ["_build"]
extensions = ["sphinx.ext.autodoc", "references"]
smartquotes = False

# What extras bring along is not needed to read docstrings.
autodoc_mock_imports = ["celery", "debug_toolbar", "opentelemetry", "prometheus_client"]
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_display_short_literal_types = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# What is documented elsewhere: Python's own types, and Django's.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(builtins|collections|concurrent|contextlib|dataclasses|datetime|decimal|enum|os|pathlib|threading|types|typing|uuid)\..*",
    ),
    (r"py:.*", r"(asyncio|django|grpc|opentelemetry|prometheus_client|pytest)\..*"),
]
