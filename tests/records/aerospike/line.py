"""The way from a client to a server, which a test can interrupt: a relay on 127.0.0.1, for a stand-in or a real server.

A client that was given the address of a relay on loopback keeps to it (it asks a server for other addresses only when
it reached it from elsewhere).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

RECORD_ANSWER = b"\x02\x03\x00\x00"
"""How an answer to a record command begins (version, type, upper bits of the length)."""


class Line:
    """A relay to ``target``; :meth:`close` ends it."""

    host = "127.0.0.1"

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._swallow: bytes | None = None
        self._delay = 0.0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = socket.create_server((self.host, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._pairs)

    def freeze(self) -> None:
        """Take connections and requests and never answer, until :meth:`thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def slow(self, seconds: float) -> None:
        """Let each part of an answer wait."""
        self._delay = seconds

    def swallow_answer(self, containing: bytes = RECORD_ANSWER) -> None:
        """Close the connection instead of passing on the next answer that contains these bytes: it was executed."""
        with self._lock:
            self._swallow = containing

    def cut(self) -> None:
        """Close every connection; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def refuse(self) -> None:
        """Close the port and every connection, as if the server had ended."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        self.cut()

    def restore(self) -> None:
        """Listen again on the same port."""
        self._listener = socket.create_server((self.host, self.port), backlog=128)
        self._listen()

    def close(self) -> None:
        self._closing.set()
        self._flowing.set()
        self.refuse()
        for thread in self._threads:
            thread.join(5)

    def _listen(self) -> None:
        self._start(self._accept, self._listener)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads = [*(old for old in self._threads if old.is_alive()), thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            self._start(self._relay, near, far)

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        answers = threading.Thread(target=self._pass_on, args=(far, near, True), daemon=True)
        answers.start()
        self._pass_on(near, far, False)
        answers.join(5)
        with self._lock:
            self._pairs = [pair for pair in self._pairs if pair != (near, far)]
        near.close()
        far.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self._loses(data):
                    break
                if answers and self._delay:
                    self._closing.wait(self._delay)
                self._flowing.wait()
                sink.sendall(data)
        _end(source, sink)

    def _loses(self, data: bytes) -> bool:
        with self._lock:
            if self._swallow is None or self._swallow not in data:
                return False
            self._swallow = None
            return True


def _end(*sockets: socket.socket) -> None:
    for end in sockets:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
