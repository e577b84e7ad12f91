"""A member of staff at work in the admin of the example project, with three workers and a refresher."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.test_example_project import Project, environment, serving
from tests.test_example_project import project as project  # a fixture

from .visitor import DRIVER, Visitor, visiting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.skipif(DRIVER is None, reason="NO BROWSER: chromedriver (Debian: chromium-driver) is not installed"),
]


@pytest.fixture(scope="module")
def site(project: Project) -> Iterator[str]:
    """The example with three workers and a running refresher."""
    with ExitStack() as stack:
        workers = stack.enter_context(
            serving(project, "-m", "gunicorn", "-c", "gunicorn.conf.py", GUNICORN_BIND="127.0.0.1:{port}")
        )
        stack.enter_context(looping(project))
        yield f"http://127.0.0.1:{workers.port}"


@contextmanager
def looping(project: Project) -> Iterator[None]:
    """Run a refresher."""
    with (project.path / "loop.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "etcdaero_refresh", "--loop"],
            cwd=project.path, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def visitor(site: str, project: Project) -> Iterator[Visitor]:
    """The admin user, who has logged in."""
    password = re.search(r"with the password (\S+) ", project.output)
    assert password is not None, project.output
    with visiting(site) as visitor:
        visitor.goes_to("/admin/")
        visitor.fills(username="admin", password=password[1])
        visitor.clicks("Log in")
        visitor.sees("Site administration")
        yield visitor


def test_a_dataset_is_watched_refreshed_compared_and_rolled_back(visitor: Visitor) -> None:
    visitor.looks("index")
    visitor.clicks("Datasets")
    visitor.looks("datasets")
    visitor.clicks("cities", within="//div[@id='content']")
    visitor.looks("dataset")
    visitor.clicks("Refresh now")
    visitor.looks("refresh-now")
    assert visitor.complaints() == []
