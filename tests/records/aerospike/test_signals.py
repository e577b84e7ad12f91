"""What a handler of signals raises while the client of Aerospike works goes out as it is, and nothing breaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.records.aerospike.serving import SET, Served

pytestmark = [pytest.mark.slow]

SCRIPT = """
import random, signal, sys, time
from django_etcdaero import schemes
from django_etcdaero.stores.address import Plane

class Interrupt(BaseException):
    pass

def interrupt(number, frame):
    raise Interrupt

store = schemes.open_store(schemes.parse(sys.argv[1], plane=Plane.RECORDS), timeout=30)
items = {b"key%d" % number: b"value" * 20 for number in range(1500)}
calls = [
    lambda: store.put_many(items, ttl=100),
    lambda: store.get_many(list(items)),
    lambda: store.exists_many(list(items)),
    lambda: store.touch_many(dict.fromkeys(items), ttl=60),
    lambda: store.delete_many(list(items)[:50]),
    lambda: store.put(b"key", b"value"),
    lambda: store.get(b"key"),
    lambda: list(store.scan(b"")),
]
for call in calls:
    call()
signal.signal(signal.SIGALRM, interrupt)
rng, hits, other = random.Random(1), 0, []
while hits < 120 and not other:
    call = rng.choice(calls)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.02))
        while True:
            call()
    except Interrupt:
        hits += 1
    except BaseException as error:
        other.append(repr(error))
signal.setitimer(signal.ITIMER_REAL, 0)
store.put(b"key", b"at last")
print(other, store.get(b"key").value)
store.close()
"""


def test_what_a_handler_raises_goes_through_the_client(server: Served) -> None:
    url = f"aerospike://{server.host}:{server.port}/{server.namespace}/{SET}"
    done = subprocess.run([sys.executable, "-c", SCRIPT, url], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (done.stdout, done.returncode) == ("[] b'at last'\n", 0), done.stderr
