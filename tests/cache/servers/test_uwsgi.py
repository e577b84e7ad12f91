"""uWSGI, which forks in C: with the hooks of Python or without, after the cache was used or before, and lazily."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cache.servers.conftest import Records
from tests.cache.servers.serving import UWSGI, serving, uwsgi
from tests.cache.servers.test_servers import check_clients, check_end, near_on_files, put_to_the_test

pytestmark = pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed: python -m pip install uwsgi")


@pytest.mark.parametrize(
    ("options", "preload"),
    [
        pytest.param(["--py-call-uwsgi-fork-hooks"], True, id="the master has used it, hooks"),
        pytest.param([], True, id="the master has used it"),
        pytest.param([], False, id="the master has imported it"),
        pytest.param(["--lazy-apps"], True, id="lazy"),
    ],
)
def test_uwsgi(records: Records, tmp_path: Path, options: list[str], preload: bool) -> None:
    command = uwsgi("--master", "--processes", "3", "--threads", "4", "--enable-threads", *options)
    with serving(
        tmp_path, command, location=records.location, workers=3, preload=preload, **near_on_files(tmp_path)
    ) as server:
        put_to_the_test(server)
        check_clients(server, records, threads=4)
        check_end(server)
