"""A process that is stopped inside a transaction of a store: the others say so, in time, and serve on."""

from __future__ import annotations

import signal

import pytest

from tests.processes.site import Site
from tests.waiting import wait_until

IMPATIENT = {"SHOP_CALL_TIMEOUT": "1"}


@pytest.mark.parametrize("plane", ["kv", "records"])
def test_a_store_held_by_a_stopped_process_is_busy_and_not_a_hang(site: Site, plane: str) -> None:
    reader, newcomer, holder = site.agent(**IMPATIENT), site.agent(**IMPATIENT), site.agent()
    site.publish()
    reader.wait_for(1)
    assert holder.ask(f"hold {plane}") is None
    holder.process.send_signal(signal.SIGSTOP)
    site.rows({"a": "new"})

    for options in (("--force",), ("--force", "--wait", "3")):
        refused = site.start("etcdaero_refresh", "--json", *options, **IMPATIENT).wait(30)
        assert (refused.code, refused.outcomes) == (1, ["failed"]), refused
        assert refused.results[0]["error"].startswith(("StoreBusy: ", "LockTimeout: ")), refused
        assert f"{plane}.sqlite3" in refused.results[0]["error"]
        assert "Traceback" not in refused.errors
    status = site.start("etcdaero_status", **IMPATIENT).wait(30)
    assert status.code == 0
    assert "version 1: 3 rows" in status.output
    assert reader.ask("read") == {"version": 1, "rows": {"a": 1, "b": {"price": 2}, "c": [3]}}
    assert newcomer.ask("read")["version"] == 1

    holder.process.send_signal(signal.SIGCONT)
    assert holder.ask("let_go") is None
    assert site.publish() == 2
    for agent in (reader, newcomer):
        agent.wait_for(2)
        wait_until(lambda agent=agent: agent.ask("status")["state"] == "VALID", what="a valid reader")  # type: ignore[misc]
