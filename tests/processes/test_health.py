"""Servers as load balancers see them: workers are ready when they have the data, and stay so without the stores."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.processes.site import Site, free_port
from tests.waiting import wait_until


def ask(port: int, view: str) -> tuple[int, Any]:
    """Return status and answer; 0 when the server does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/{view}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, None


@pytest.mark.files_only("the views ask no store")
def test_a_server_is_ready_when_it_has_the_data(site: Site) -> None:
    port = free_port()
    site.start("-m", "gunicorn", "wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "2")
    wait_until(lambda: ask(port, "live")[0] == 200, 30, "the server")
    code, answer = ask(port, "ready")
    assert code == 503
    assert answer["status"] == "unfit"
    site.publish()
    for question in ("ready", "startup"):  # either of the workers may be the one that answers
        wait_until(lambda asked=question: all(ask(port, asked)[0] == 200 for _ in range(8)), 30, f"all say {question}")
    code, answer = ask(port, "live")
    assert code == 200
    assert answer["reader"] is not None


def test_the_doctor_looks_at_a_deployment(site: Site) -> None:
    site.publish()
    ended = site.run("etcdaero_doctor", "--json", "--write-probe", "--timeout", "60")
    assert ended.output, ended.errors
    findings = {each["check"]: each for each in json.loads(ended.output)["findings"]}
    for check in ("kv.read", "kv.write", "records.read", "records.write", "datasets.published", "datasets.whole"):
        assert findings[check]["severity"] == "ok", findings[check]
    grave = {each["check"] for each in findings.values() if each["severity"] in ("error", "no answer")}
    assert grave <= {"etcd.version"}  # of the tests' own server
