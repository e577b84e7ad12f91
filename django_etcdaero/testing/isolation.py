"""Empty stores for each test of ``manage.py test``, whichever runner the project has.

Django tells nobody that a test begins. But every result of unittest, in the runner's process and in its workers, is a
``TestResult`` that is told so: that is where the stores are emptied. It is done in the processes of such a run only.
"""

from __future__ import annotations

import unittest
from functools import wraps

from django_etcdaero.runtime import runtime

from . import reset

_MARK = "_etcdaero_isolates"


def isolate_tests() -> None:
    """Let each test that unittest runs in this process begin with empty stores, from now on. Idempotent."""
    plain = unittest.TestResult.startTest
    if hasattr(plain, _MARK):
        return

    @wraps(plain)
    def start_test(result: unittest.TestResult, test: unittest.TestCase) -> None:
        if runtime.memory_only:
            reset()
        plain(result, test)

    setattr(start_test, _MARK, True)
    setattr(unittest.TestResult, "startTest", start_test)  # noqa: B010 - types say that a method is not replaced
