"""Run as a program: use the cache of :mod:`tests.programs.cache_site`, and end when the input does.

Arguments: ``busy`` has threads inside calls then, ``gevent`` has gevent's patches. It prints ``ready`` when it has used
the cache, and ``ending`` when it begins to end.
"""

from __future__ import annotations

import sys
import threading

if "gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

from tests.programs.cache_site import cache


def main() -> None:
    for number in range(20):
        cache.set(f"k{number}", {"number": number})
        assert cache.get(f"k{number}") == {"number": number}
    print("ready", flush=True)
    sys.stdin.readline()
    if "busy" in sys.argv:
        entered = threading.Barrier(5)

        def ask(number: int) -> None:
            entered.wait()
            cache.set(f"k{number}", "never told")

        for number in range(4):
            threading.Thread(target=ask, args=(number,), daemon=True).start()
        entered.wait()
        threading.Event().wait(0.2)  # until they are inside their calls, as a rule
    print("ending", flush=True)


if __name__ == "__main__":
    main()
