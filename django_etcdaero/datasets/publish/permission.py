"""Whether a refresh may announce: until another thread takes that away from it, or it begins to announce."""

from __future__ import annotations

import threading

from django_etcdaero.exceptions import EtcdAeroError


class Permission:
    """The permission of one refresh to announce what it loads.

    The guard of the announcement knows what other processes did. It cannot know that somebody in this process has given
    the refresh up, because its time was over or the process is about to end: that is known here. Using the permission
    and withdrawing it exclude each other, so a refresh that was given up announces nothing, and one that announces is
    not given up.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._used = False
        self._refusal: EtcdAeroError | None = None

    @property
    def refusal(self) -> EtcdAeroError | None:
        """Why it was withdrawn, if it was."""
        return self._refusal

    def withdraw(self, refusal: EtcdAeroError) -> bool:
        """Let ``refusal`` be raised instead of an announcement. Return False if it is used or withdrawn already."""
        with self._mutex:
            if self._used or self._refusal is not None:
                return False
            self._refusal = refusal
            return True

    def check(self) -> None:
        """Raise the refusal if it was withdrawn."""
        if self._refusal is not None:
            raise self._refusal

    def use(self) -> None:
        """Begin to announce: from now on it cannot be withdrawn. Raises the refusal if it was."""
        with self._mutex:
            self.check()
            self._used = True
