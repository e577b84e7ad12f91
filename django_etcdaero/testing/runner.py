"""For Django's own test runner.

::

    # myproject/runner.py; settings: TEST_RUNNER = "myproject.runner.Runner"
    class Runner(EtcdAeroRunnerMixin, DiscoverRunner): ...
"""

from __future__ import annotations

from typing import Any

from django.test.runner import ParallelTestSuite

from django_etcdaero.runtime import runtime

from . import reset
from .isolation import isolate_tests


def _start_worker(*args: Any, **kwargs: Any) -> None:
    """Start a worker of a parallel run, which may be a fresh process."""
    runtime.memory_only = True
    isolate_tests()
    ParallelTestSuite.init_worker(*args, **kwargs)


class _ParallelSuite(ParallelTestSuite):
    init_worker = _start_worker


class EtcdAeroRunnerMixin:
    """Mix it into a subclass of ``DiscoverRunner``: every alias is served from memory, each test starts empty."""

    parallel_test_suite = _ParallelSuite

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._memory_only_before = runtime.memory_only
        runtime.memory_only = True
        isolate_tests()
        super().__init__(*args, **kwargs)

    def setup_test_environment(self, **kwargs: Any) -> None:
        super().setup_test_environment(**kwargs)  # type: ignore[misc] # of the runner this is mixed into
        runtime.memory_only = True

    def teardown_test_environment(self, **kwargs: Any) -> None:
        reset()
        runtime.memory_only = self._memory_only_before
        super().teardown_test_environment(**kwargs)  # type: ignore[misc]

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        reset()  # of what was written when the modules of tests were imported
        return super().run_suite(suite, **kwargs)  # type: ignore[misc]
