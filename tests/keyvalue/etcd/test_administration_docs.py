"""The examples of the page on administration, against a real cluster of three."""

from __future__ import annotations

import contextlib
import doctest
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_etcdaero import conf
from django_etcdaero.exceptions import PermissionDenied
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.administration import Member
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import PROGRAMS, Cluster, Server
from tests.keyvalue.etcd.test_administration_members import allowed
from tests.pages import DOCS, Example, examples
from tests.processes.site import Site
from tests.waiting import wait_until

PAGE = DOCS / "administration.rst"
IMPORT = "from django_etcdaero import kv\n"
"""In the page it is a client of the settings; here it is one of the test's cluster."""


class Page:
    """Plays the examples of a page, whose addresses are replaced by those of real servers."""

    def __init__(self, directory: Path, addresses: dict[str, str], names: dict[str, Any]) -> None:
        self.directory = directory
        self._addresses = addresses
        self._names = names

    def play(self, example: Example) -> None:
        if example.file is not None:
            names: dict[str, Any] = {}
            exec(example.text, names)
            with override_settings(ETCDAERO=names["ETCDAERO"]):
                assert conf.problems() == ()
            return
        text = example.text.replace(IMPORT, "")
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        {"python": self._python, "pycon": self._session, "console": self._console}[example.kind](text, example.line)

    def _python(self, text: str, line: int) -> None:
        exec(compile("\n" * (line - 1) + text, str(PAGE), "exec"), self._names)

    def _session(self, text: str, line: int) -> None:
        test = doctest.DocTestParser().get_doctest(text, self._names, PAGE.name, str(PAGE), line)
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        doctest.DebugRunner(optionflags=options).run(test, clear_globs=False)
        self._names.update(test.globs)

    def _console(self, text: str, line: int) -> None:
        command = shlex.split(text.removeprefix("$ "))
        environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "ETCDCTL_API": "3"}
        subprocess.run(command, cwd=self.directory, env=environment, check=True, capture_output=True, timeout=60)


def restored_keys(directory: Path, peer: str, connect: Callable[..., EtcdEngine]) -> set[bytes]:
    """Return the keys of the store that the page has restored."""
    server = Server("m1", directory.parent)
    (directory.parent / "restored").rename(directory.parent / "data")
    server.peer_port = int(peer.rpartition(":")[2])
    server.initial_cluster = server.peer_address
    with server.running():
        engine = connect([server.endpoint])
        return {found.key for found in engine.range(RangeRequest(b"\0", b"\0"), timeout=20).kvs}


def check_processes(directory: Path, endpoints: list[str]) -> None:
    """Let one process refresh and another one read, register itself and ask for a load, each in its role."""

    def url(user: str) -> str:
        return f"etcd://{user}:another-long-one-{user}@{','.join(endpoints)}"

    directory.mkdir()
    with contextlib.closing(Site(directory / "shop", kv=url("shop-web"), prefix="shop")) as site:
        reader = site.agent()
        assert site.refresh("--force", SHOP_KV=url("shop-refresh"))["outcome"] == "refreshed"
        reader.wait_for(1)
        wait_until(lambda: site.registered() == {reader.pid: 1}, 20, "a registered reader")
        assert reader.ask("request") is None
        site.rows({"a": 2})
        assert site.refresh(SHOP_KV=url("shop-refresh"))["outcome"] == "refreshed"
        reader.wait_for(2)
        assert reader.ask("read")["rows"] == {"a": 2}
        assert reader.ask("status")["state"] == "VALID"
        assert reader.ask("rollback 1")["raised"] == "PermissionDenied"
        assert site.refresh("--force")["outcome"] == "failed", "in the role of a reader"


def test_the_examples_of_the_page_work(
    tmp_path: Path, connect: Callable[..., EtcdEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = Cluster(tmp_path / "cluster")
    ports = sorted((member.client_port for member in cluster.members), key=str)  # in the order of the page
    for member, port in zip(cluster.members, ports, strict=True):
        member.client_port = port
    new = Server("new", tmp_path / "new", options=[*cluster.members[0].options, "--initial-cluster-state", "existing"])
    new.initial_cluster = ",".join(each.peer_address for each in [*cluster.members, new])
    standby = Server("standby", tmp_path / "standby")
    kv = KV(connect(cluster.endpoints, user="root", password="choose-a-long-one"), prefix="shop/")

    def start_new_member() -> None:
        new.start()
        alone = connect([new.endpoint])
        wait_until(lambda: (found := alone.maintenance.statuses()[0].status) and found.leader, 30, "the learner")

    def check_least_privilege() -> None:
        endpoints = [each.endpoint for each in cluster.members[1:]]
        web, refresh = (
            connect(endpoints, user=user, password=f"another-long-one-{user}") for user in ("shop-web", "shop-refresh")
        )
        base = b"shop/datasets/prices/s1/"
        names = [base + each for each in (b"pin", b"lock/1", b"history/1", b"request/1", b"reques")]
        for name in (b"shop/announcements/prices/s1", b"shop/loads/prices/s1", *names):
            with pytest.raises(PermissionDenied):
                web.put(PutRequest(name))
            with pytest.raises(PermissionDenied):
                web.delete_range(DeleteRequest(name))
        for engine in (web, refresh):
            engine.put(PutRequest(base + b"request"))
            engine.delete_range(DeleteRequest(base + b"request"))
            assert engine.range(RangeRequest(b"shop/processes/", b"shop/processes0")).count == 0
            for key in (b"shop/other", b"shop", b"shop2/datasets/a"):
                with pytest.raises(PermissionDenied):
                    engine.range(RangeRequest(key))
        web.put(PutRequest(b"shop/processes/1"))
        web.delete_range(DeleteRequest(b"shop/processes/1"))
        with pytest.raises(PermissionDenied):
            refresh.put(PutRequest(b"shop/processes/2"))
        check_processes(tmp_path / "site", endpoints)

    page = Page(
        tmp_path,
        {
            "10.0.0.4:2380": f"127.0.0.1:{new.peer_port}",
            "10.0.0.1:2380": f"127.0.0.1:{standby.peer_port}",
            **{f"10.0.0.{number}:2379": each.endpoint for number, each in enumerate(cluster.members, 1)},
        },
        {"kv": kv, "start_new_member": start_new_member, "check_least_privilege": check_least_privilege},
    )
    try:
        cluster.start()
        kv.put("before", "the backup")
        # The page begins with a cluster that has been up for a while.
        probe = allowed(lambda: kv.cluster.add(["http://127.0.0.1:1"], learner=True))
        assert isinstance(probe, Member)
        kv.cluster.remove(probe.id)
        for example in examples(PAGE):
            page.play(example)
        assert restored_keys(tmp_path / "data", f"127.0.0.1:{standby.peer_port}", connect) == {b"shop/before"}
    finally:
        kv.close()
        new.kill()
        cluster.kill()
