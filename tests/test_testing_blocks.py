"""What the context managers for tests do as decorators: of functions, of coroutine functions and of whole classes."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import IsolatedAsyncioTestCase, TestCase
from unittest import TestResult as Result

import pytest
from django.test import SimpleTestCase

from django_etcdaero import dataset, kv
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.exceptions import ClusterError, EncodeError
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import failing_kv, interruptible_watches, override_dataset, real_stores
from django_etcdaero.testing.blocks import Block

pytest_plugins = ["pytester"]

BLOCKS = [lambda: override_dataset("prices", {"a": 2}), lambda: failing_kv(ClusterError("away")), real_stores]


@pytest.fixture(autouse=True)
def prices(registry: object) -> Any:
    @dataset(first_read_timeout=0)
    def prices() -> dict[str, int]:
        return {"a": 1}

    return prices


def run(cls: type[TestCase], name: str = "test_it") -> Result:
    result = Result()
    cls(name).run(result)
    assert result.testsRun == 1
    return result


# --- classes of unittest ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("base", [TestCase, SimpleTestCase])
def test_a_decorated_class_keeps_its_tests(block: Callable[[], Block], base: type[TestCase]) -> None:
    class Tests(base):  # type: ignore[misc, valid-type]
        def test_it(self) -> None:
            self.fail("it ran")

    decorated = block()(Tests)
    assert decorated is Tests
    ((_, trace),) = run(Tests).failures
    assert "it ran" in trace


def test_a_class_is_inside_the_block_from_set_up_to_the_cleanups(prices: Any) -> None:
    seen: list[tuple[str, int]] = []

    @override_dataset("prices", {"a": 2})
    class Tests(SimpleTestCase):
        def setUp(self) -> None:
            seen.append(("setUp", prices["a"]))
            self.addCleanup(lambda: seen.append(("cleanup", prices["a"])))

        def test_it(self) -> None:
            seen.append(("test", prices["a"]))

        def tearDown(self) -> None:
            seen.append(("tearDown", prices["a"]))

    assert run(Tests).wasSuccessful()
    assert run(Tests).wasSuccessful()
    assert seen == [("setUp", 2), ("test", 2), ("tearDown", 2), ("cleanup", 2)] * 2
    assert live_state(prices).overridden is None


def test_a_class_of_async_tests(prices: Any) -> None:
    @override_dataset("prices", {"a": 2})
    class Tests(IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            assert prices["a"] == 2

        async def test_it(self) -> None:
            await asyncio.sleep(0)
            assert prices["a"] == 2

    assert run(Tests).wasSuccessful()
    assert live_state(prices).overridden is None


def test_the_subclass_and_the_inner_decorator_have_the_last_word(prices: Any) -> None:
    seen: list[int] = []

    class Plain(TestCase):
        def test_it(self) -> None:
            seen.append(prices["a"])

    @override_dataset("prices", {"a": 2})
    class Base(Plain): ...

    @override_dataset("prices", {"a": 3})
    @override_dataset("prices", {"a": 4})
    class Sub(Base):
        def setUp(self) -> None:
            seen.append(prices["a"])
            super().setUp()

    class Heir(Base): ...

    for cls in (Base, Sub, Heir):
        assert run(cls).wasSuccessful()
    assert seen == [2, 4, 4, 2]
    assert live_state(prices).overridden is None


def test_a_block_that_cannot_be_entered_is_an_error_of_the_test(prices: Any) -> None:
    @override_dataset("prices", {"a": 2})
    @override_dataset("prices", {"a": object()})
    class Tests(TestCase):
        def test_it(self) -> None:
            raise AssertionError

    ((_, trace),) = run(Tests).errors
    assert EncodeError.__name__ in trace
    assert live_state(prices).overridden is None


def test_each_test_of_a_class_meets_the_failures() -> None:
    @failing_kv(ClusterError("away"), calls=["put"], times=1)
    class Tests(TestCase):
        def test_it(self) -> None:
            with pytest.raises(ClusterError):
                kv.put("a", "1")
            kv.put("a", "1")

    for _ in range(2):
        assert run(Tests).wasSuccessful()


# --- classes of pytest -----------------------------------------------------------------------------------------------


def test_a_plain_class_of_pytest_is_decorated(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        settings='SECRET_KEY = "x"; INSTALLED_APPS = ["django_etcdaero"]; USE_TZ = True; BASE_DIR = "."',
        test_shop="""
            import pytest
            from django_etcdaero.datasets.read.live import live_state
            from django_etcdaero import dataset
            from django_etcdaero.testing import override_dataset

            @dataset(first_read_timeout=0)
            def prices():
                return {"a": 1}

            @override_dataset("prices", {"a": 2})
            class TestBase:
                def test_it(self):
                    assert prices["a"] == 2

                @pytest.mark.parametrize("number", [1, 2])
                def test_numbers(self, number):
                    assert prices["a"] == 2

            @override_dataset("prices", {"a": 3})
            @override_dataset("prices", {"a": 4})
            class TestSub(TestBase):
                def test_it(self):
                    assert prices["a"] == 4

                test_numbers = None

            def test_outside():
                assert live_state(prices).overridden is None
        """,
    )
    result = pytester.runpytest_subprocess("--ds=settings", "-W", "error", timeout=60)
    result.assert_outcomes(passed=5)


# --- functions -------------------------------------------------------------------------------------------------------


def test_functions_and_coroutine_functions_run_inside_the_block() -> None:
    @real_stores()
    def plain() -> bool:
        return runtime.memory_only

    @real_stores()
    async def coroutine() -> bool:
        await asyncio.sleep(0)
        return runtime.memory_only

    assert runtime.memory_only
    assert (plain(), asyncio.run(coroutine()), plain()) == (False, False, False)
    assert runtime.memory_only


# --- what is refused -------------------------------------------------------------------------------------------------


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


async def coroutine() -> None: ...


class NoTests: ...


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (generator, "generator is a generator function, use 'with' inside it"),
        (async_generator, "async_generator is a generator function, use 'with' inside it"),
        (NoTests, "NoTests is not a class of tests"),
        (generator(), "is not a function"),
    ],
)
def test_what_would_run_outside_the_block_is_refused(block: Callable[[], Block], target: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=f"decorates functions, coroutine functions and test classes: .*{reason}"):
        block()(target)


@pytest.mark.parametrize(
    ("hidden", "kind"), [(generator, "generator"), (async_generator, "async_generator"), (coroutine, "coroutine")]
)
def test_what_another_decorator_hides_is_refused_when_it_is_called(hidden: Any, kind: str, prices: Any) -> None:
    @override_dataset("prices", {"a": 2})
    @functools.wraps(hidden)
    def wrapped() -> Any:
        return hidden()

    with pytest.raises(TypeError, match=f"{hidden.__name__} returned a {kind}, use 'with' inside it"):
        wrapped()
    assert live_state(prices).overridden is None


def test_watches_are_interrupted_with_with_only() -> None:
    with pytest.raises(TypeError, match="interruptible_watches"):
        interruptible_watches()(generator)  # type: ignore[operator]


def test_without_pytest_a_plain_class_is_no_class_of_tests() -> None:
    script = """
from django_etcdaero.testing import override_dataset
try:
    @override_dataset("prices", {})
    class Tests:
        def test_it(self): ...
except TypeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "Tests is not a class of tests" in done.stdout, done.stderr
