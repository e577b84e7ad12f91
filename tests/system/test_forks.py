"""What :mod:`django_etcdaero.system.forks` promises to engines and stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from django_etcdaero.system import forks
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
        if name == sys.argv[3] and threading.current_thread().name in ("etcdaero-reader", "etcdaero-load"):
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


@pytest.mark.slow
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


WAITING = """
import os, threading
from django_etcdaero.system import forks

forks.LIMIT, forks.PATIENCE, forks._FOR_BLOCKS, forks._GIVE_WAY = 5.0, 1.0, 20.0, 20.0
now, waits, told = [0.0], [], []
forks.monotonic = lambda: now[0]

class Hung:
    def before_fork(self, timeout):
        now[0] += timeout
        waits.append(round(timeout, 3))
        if len(waits) == 8:  # another thread, during the fork
            thread = threading.Thread(target=made.append, args=(Made(),))
            thread.start()
            thread.join()
    def after_fork_in_parent(self):
        told.append(self)
    def abandon(self): ...

class Made(Hung):
    def __init__(self):
        forks.protect(self)

made = []
hung = [Hung() for _ in range(8)]
for each in hung:
    forks.protect(each)
forks.at_rest(lambda: waits.append("rest"))
forks.surround()
if os.fork() == 0:
    os._exit(0)
os.wait()
print(waits, len(told), set(told) == set(hung))

# A block that begins while a fork waits for another one lets the fork go first.
now[0], order, codes = 0.0, [], []
hung.clear(); made.clear()
entered, leave, waiting = threading.Event(), threading.Event(), threading.Event()

class Passed(type(forks._blocks.passed)):
    def wait_for(self, predicate, timeout):
        waiting.set()
        return super().wait_for(predicate, timeout)
forks._blocks.passed = Passed()

def first():
    with forks.postponed():
        entered.set()
        leave.wait(20)
        with forks.postponed():  # it is in one already
            order.append("first")

def second():
    with forks.postponed():
        order.append("second")

def fork():
    pid = os.fork()
    if pid == 0:
        with forks.postponed():
            os._exit(len(order))
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

threads = [threading.Thread(target=call) for call in (first, fork, second)]
threads[0].start()
assert entered.wait(20)
threads[1].start()
while not forks._blocks.awaited:
    pass
threads[2].start()
assert waiting.wait(20)
leave.set()
for thread in threads:
    thread.join(20)
print(order, codes)
"""


def test_a_fork_has_one_limit_for_all_it_waits_for() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", WAITING]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines() == [
        "[1.0, 1.0, 1.0, 1.0, 1.0, 0.02, 0.02, 0.02, 'rest'] 8 True",
        "['first', 'second'] [1]",
    ], done.stderr


UNSEEN = """
import ctypes, os, sys, threading
import django
from django.conf import settings

settings.configure(SECRET_KEY="x", INSTALLED_APPS=["django_etcdaero"], BASE_DIR=sys.argv[1], CACHES={"default": {
    "BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "etcdaero:default"}})
django.setup()
from django.core.cache import cache
from django_etcdaero import dataset, kv

@dataset(first_read_timeout=20)
def prices():
    return {"a": 1}

kv.put("key", "parent")
cache.set("key", "parent")
assert threading.active_count() == 1  # one that waits for the interpreter's lock would block the child for ever
pid = ctypes.PyDLL(None).fork()  # as a server in C does
if pid == 0:
    lock = kv.lock("name", timeout=20)
    with lock:
        kv.put("key", kv.get("key").value + b" and child")
    prices.refresh()
    print(kv.get("key").value, cache.get("key"), prices["a"], lock.lost, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(kv.get("key").value)
"""


def test_the_child_of_a_fork_that_ran_no_hooks_is_found_out_at_the_first_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNSEEN, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "b'parent and child' parent 1 False\nb'parent and child'\n", done.stderr


def test_what_is_to_be_done_in_a_child_is_done_once_the_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(forks, "_in_child", [])
    forks.in_child(lambda: done.append("first"))
    forks.in_child(lambda: (done.append("second"), forks.catch_up()))  # type: ignore[func-returns-value]
    forks.catch_up()
    assert done == []
    monkeypatch.setattr(forks, "_pid", forks._pid - 1)
    monkeypatch.setattr(forks, "_resources", {})
    forks.catch_up()
    forks.catch_up()
    assert done == ["second", "first"]


LET_GO = """
import ctypes, os, sys, threading
from django_etcdaero.system import forks, unseen_forks

class Resource:
    def let_go(self):
        print("let go")
    def before_fork(self, timeout): ...
    def after_fork_in_parent(self): ...
    def abandon(self):
        print("abandoned")

stop = threading.Event()
resource = Resource()
forks.protect(resource)
assert unseen_forks.see_to(lambda: (print("closed"), stop.set()))
assert unseen_forks.see_to(lambda: print("not called: there is one already"))
threading.Thread(target=stop.wait, daemon=True).start()
unseen_forks.when_closed(lambda: print("at last, with", threading.active_count(), "thread", flush=True))
if os.fork() == 0:
    print("child of Python's fork", flush=True)
    ctypes.PyDLL(None).fork()  # in a child nobody sees to it any more
    os._exit(0)
os.wait()
if ctypes.PyDLL(None).fork() == 0:
    os._exit(0)
os.wait()
"""


def test_before_a_fork_without_hooks_everything_is_closed_and_threads_have_ended() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LET_GO]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    expected = ["let go", "closed", "at last, with 1 thread"]
    assert done.stdout.splitlines()[:2] == ["abandoned", "child of Python's fork"]
    assert done.stdout.splitlines()[2:5] == expected, (done.stdout, done.stderr)
    assert done.stderr == ""
