"""Many starts and stops of a server that forks, on etcd and Aerospike."""

from __future__ import annotations

import signal

import pytest

from tests.processes.servers.site import ServerSite
from tests.processes.site import Process, free_port
from tests.processes.test_servers import page
from tests.waiting import wait_until

STARTS = 12
AT_ONCE = 4


@pytest.mark.timeout(240)
def test_gunicorn_starts_and_stops_again_and_again_without_a_hang_or_a_wrong_value(site: ServerSite) -> None:
    rows = {str(number): number * number for number in range(300)}
    version = site.publish(rows)
    stopping: list[Process] = []
    for _ in range(STARTS // AT_ONCE):
        ports = [free_port() for _ in range(AT_ONCE)]
        servers = [
            site.start("-m", "gunicorn", "wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--preload")
            for port in ports
        ]
        for port in ports:
            wait_until(lambda port=port: page(port), 30, "the first page")  # type: ignore[misc]
        for port in ports:
            for _ in range(5):
                answer = page(port)
                assert (answer["version"], answer["rows"]) == (version, rows)
        for server in servers:
            assert server.open_stores == []
            server.signal(signal.SIGTERM)
        stopping += servers
    for server in stopping:
        ended = server.wait(20)
        assert ended.code == 0, ended
        assert "Traceback" not in ended.errors
    wait_until(lambda: site.registered() == {}, 20, "the end of all registrations")
