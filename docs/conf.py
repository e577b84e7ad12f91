"""Sphinx configuration: ``sphinx-build -W -b html docs docs/_build``."""

import tomllib
from pathlib import Path

with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
    release = version = tomllib.load(file)["project"]["version"]

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
nitpicky = True
smartquotes = False
