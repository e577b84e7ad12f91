"""Which run of the operating system this is: monotonic clocks of different runs cannot be compared."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from pathlib import Path


@functools.cache
def boot_id() -> str:
    """Return a text that is the same in all processes of this host until it is started anew."""
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=5, check=False
        )
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        # Minutes are coarse enough to agree between processes nearly always; if they do not, leases live longer.
        return f"minute-{round((time.time() - time.monotonic()) / 60)}"
