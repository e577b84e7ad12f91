"""What :mod:`django_etcdaero.forks` promises to engines and stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os
from django_etcdaero import forks

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
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60
    )
    assert done.stdout.splitlines() == [
        "['before', 'abandon'] [['before', 'abandon'], []]",
        "['before', 'abandon'] [['before', 'parent']]",
        "['before', 'parent']",
    ], done.stderr
