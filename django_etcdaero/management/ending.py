"""How commands end early: told by Ctrl-C, or because who reads what they print has enough, as ``head`` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


@contextmanager
def quiet_ending(out: Any) -> Iterator[None]:
    """End with :data:`INTERRUPTED` after Ctrl-C, and with exit code 0 when the pipe is closed; without a traceback.

    ``out`` is the output of the command. It is flushed here: at the end of the interpreter it would be too late.
    """
    try:
        try:
            yield
        finally:
            out.flush()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Nothing more is to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
