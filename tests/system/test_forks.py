"""What :mod:`django_etcdaero.system.forks` promises to engines and stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

SCRIPT = """
import os
from django_etcdaero.system import forks

class Resource:
    def __init__(self, name):
        self.name, self.calls = name, []
        forks.protect(self)
    def before_fork(self, timeout):
        self.calls.append("before")
    def after_fork_in_parent(self):
        self.calls.append("parent")
    def abandon(self):
        self.calls.append("abandon")

mine, gone = Resource("mine"), Resource("gone")
del gone
opened = []
os.register_at_fork(after_in_child=lambda: opened.append(Resource("child's")))
if os.fork() == 0:
    if os.fork() == 0:
        print(mine.calls, [each.calls for each in opened], flush=True)
        os._exit(0)
    os.wait()
    print(mine.calls, [each.calls for each in opened], flush=True)
    os._exit(0)
os.wait()
print(mine.calls, flush=True)
"""


def test_what_a_process_opened_rests_and_what_it_inherited_is_abandoned_once() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines() == [
        "['before', 'abandon'] [['before', 'abandon'], []]",
        "['before', 'abandon'] [['before', 'parent']]",
        "['before', 'parent']",
    ], done.stderr


IMPORTING = """
import os, sys, threading
import django
from django.conf import settings

home = sys.argv[1]
settings.configure(
    INSTALLED_APPS=["django_etcdaero"], BASE_DIR=home, ETCDAERO={"default": {"OPTIONS": {"START": sys.argv[2]}}}
)
importing = threading.Event()

class Slow:
    "Gives the main thread the time to fork while the reader imports."
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[3] and threading.current_thread().name == "etcdaero-reader":
            importing.set()
            threading.Event().wait(0.5)
sys.meta_path.insert(0, Slow())

django.setup()
from django_etcdaero import dataset

@dataset(first_read_timeout=20)
def prices():
    return {"a": 1}

if sys.argv[2] == "lazy":
    threading.Thread(target=lambda: prices.get("a")).start()
assert importing.wait(20)
pid = os.fork()
if pid == 0:
    print(prices.refresh().outcome, prices.wait_version(1, timeout=20)["a"], flush=True)
    os._exit(0)
os.waitpid(pid, 0)
os._exit(0)
"""


@pytest.mark.parametrize("start", ["always", "lazy"])
@pytest.mark.parametrize(
    "module", ["django_etcdaero.datasets.blocks.manifest", "django_etcdaero.keyvalue.embedded.hub"]
)
def test_a_fork_waits_for_what_the_reader_imports(tmp_path: Path, start: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, str(tmp_path), start, module],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stdout == "refreshed 1\n", done.stderr


BLOCKS = """
import os, threading
from django_etcdaero.system import forks

entered, leave, forked = threading.Event(), threading.Event(), threading.Event()

def work():
    with forks.postponed():
        entered.set()
        leave.wait(20)
        done.append(1)

def fork():
    pid = os.fork()
    if pid == 0:
        with forks.postponed():
            os._exit(len(done))
    forked.set()
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

done, codes = [], []
threads = [threading.Thread(target=work), threading.Thread(target=fork)]
threads[0].start()
assert entered.wait(20)
with forks.postponed():  # does not wait for the other block
    pass
threads[1].start()
print(forked.wait(0.3))
leave.set()
for thread in threads:
    thread.join(20)
with forks.postponed():
    pid = os.fork()  # does not wait for its own block
    if pid == 0:
        os._exit(7)
codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(codes)
"""


def test_forks_wait_for_the_blocks_of_other_threads() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines() == ["False", "[1, 7]"], done.stderr
