"""Run as a program: fork again and again while members are examined, backed up and looked up, and print what happened.

Arguments: how many forks, a file for backups, and the endpoints of a cluster.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path

from django_etcdaero.exceptions import ClusterError, EtcdAeroError
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.waiting import wait_until


def knows(engine: EtcdEngine, endpoints: list[str]) -> bool:
    return {each.endpoint for each in engine.maintenance.endpoints()} == set(endpoints)


def child(inherited: EtcdEngine, endpoints: list[str]) -> int:
    """What a worker does: finds that the parent's engine is closed to it, and uses one of its own."""
    for call in (inherited.maintenance.health, inherited.cluster.members, inherited.auth.user_list):
        try:
            call()
        except EtcdAeroError:
            continue
        return 3
    inherited.close()
    own = EtcdEngine(endpoints[:1], sync_members=1)
    if not all(each.healthy for each in own.maintenance.health()):
        return 4
    wait_until(lambda: knows(own, endpoints))
    own.close()
    return 0


def main(forks: int, backup: Path, endpoints: list[str]) -> None:
    engine = EtcdEngine(endpoints[:1], sync_members=1)
    engine.cluster.members()
    wait_until(lambda: knows(engine, endpoints))
    stop = threading.Event()
    errors: list[str] = []
    done = {"health": 0, "snapshot": 0}

    def work(name: str) -> None:
        while not stop.is_set():
            try:
                if name == "health":
                    engine.maintenance.health()
                else:
                    engine.maintenance.snapshot(backup)
                done[name] += 1
            except ClusterError:
                pass  # closed for a fork, as it says
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(name,)) for name in done]
    for thread in threads:
        thread.start()
    outcomes = []
    for _ in range(forks):
        before = dict(done)
        wait_until(lambda before=before: errors or all(done[name] > before[name] for name in done), 30)  # type: ignore[misc]
        pid = os.fork()
        if pid == 0:
            code = 5
            try:
                code = child(engine, endpoints)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        outcomes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join(10)
    healthy = [each.healthy for each in engine.maintenance.health()]
    looking = any(thread.name == "etcdaero-members" for thread in threading.enumerate())
    engine.close()
    result = {
        "children": outcomes,
        "errors": errors[:5],
        "healthy": healthy,
        "looking": looking,
        "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("etcdaero")],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
