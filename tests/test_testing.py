"""For the tests of users: stores in memory, empty for each test, and rows set by hand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_etcdaero import dataset, kv
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.exceptions import DatasetNotReady, EncodeError, KeyNotFound
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import override_dataset, real_stores

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]


@pytest.fixture
def prices(registry: object) -> Any:
    @dataset(first_read_timeout=60, prepare=lambda rows: sum(rows.values()))
    def prices() -> dict[str, int]:
        return {"a": 1}

    return prices


# --- override_dataset ------------------------------------------------------------------------------------------------


def test_an_override_needs_no_source_and_no_store(prices: Any) -> None:
    with override_dataset("prices", {"a": 5, "b": 6}) as live:
        assert live is prices
        assert dict(prices) == {"a": 5, "b": 6}
        assert (prices.index, prices.snapshot().version) == (11, 0)
    with override_dataset(prices, {"a": 7}):
        assert prices["a"] == 7
    assert runtime._stores._opened == {}


def test_after_an_override_the_published_rows_are_back(prices: Any) -> None:
    prices.refresh()
    assert prices["a"] == 1
    with override_dataset(prices, {}):
        assert dict(prices) == {}
        prices.refresh(force=True)
        prices.wait_version(1, timeout=20)
        assert dict(prices) == {}
    assert prices["a"] == 1


def test_overrides_nest(prices: Any) -> None:
    again = override_dataset(prices, {"a": 3})
    with override_dataset(prices, {"a": 2}):
        with again:
            with again, override_dataset(prices, {"a": 4}):
                assert prices["a"] == 4
            assert prices["a"] == 3
        assert prices["a"] == 2


def test_an_override_ends_with_an_error_too(prices: Any) -> None:
    with pytest.raises(RuntimeError), override_dataset(prices, {"a": 2}):
        raise RuntimeError
    assert live_state(prices).overridden is None


def test_functions_and_coroutine_functions_are_decorated(prices: Any) -> None:
    @override_dataset("prices", {"a": 2})
    def plain(number: int) -> tuple[int, int]:
        return number, prices["a"]

    @override_dataset("prices", {"a": 3})
    async def coroutine(number: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return number, prices["a"]

    assert (plain(1), plain(2)) == ((1, 2), (2, 2))
    assert asyncio.run(coroutine(3)) == (3, 3)
    assert (plain.__name__, coroutine.__name__) == ("plain", "coroutine")
    assert live_state(prices).overridden is None


def test_rows_that_production_would_refuse_are_refused(prices: Any) -> None:
    with pytest.raises(EncodeError, match="row 'a'"), override_dataset(prices, {"a": object()}):
        pass
    assert live_state(prices).overridden is None
    with pytest.raises(KeyNotFound, match="did you mean 'prices'"), override_dataset("price", {}):
        pass


def test_rows_come_as_they_would_from_a_store(registry: object) -> None:
    given: dict[str, Any] = {"a": {"tags": ["x"]}}
    seen: list[Any] = []

    @dataset(prepare=seen.append)
    def articles() -> dict[str, Any]:
        return {}

    with override_dataset(articles, given):
        assert articles["a"] == given["a"]
        assert articles["a"] is not given["a"]
        with pytest.raises(TypeError, match="read-only"):
            articles["a"]["tags"].append("y")
    with pytest.raises(TypeError):
        seen[0]["a"] = 2


class Article(NamedTuple):
    tags: list[str]


def test_rows_come_in_the_form_that_the_dataset_declares(registry: object) -> None:
    @dataset(rows="plain", row_type=Article)
    def articles() -> dict[str, Any]:
        return {}

    with override_dataset(articles, {"a": {"tags": ["x"]}}):
        articles["a"].tags.append("y")
        assert articles["a"] == Article(["x", "y"])


def test_an_override_wants_a_mapping() -> None:
    with pytest.raises(TypeError, match="a mapping of keys to rows, not list"):
        override_dataset("prices", [1, 2])  # type: ignore[arg-type]


def test_a_read_without_rows_says_what_a_test_has_to_do(prices: Any) -> None:
    for read in (lambda: prices["a"], prices.wait_ready, lambda: asyncio.run(prices.aready())):
        with pytest.raises(DatasetNotReady, match=r"in memory: call its refresh\(\), or .* override_dataset\(\)"):
            read()


def test_a_read_that_says_how_long_waits_for_another_thread_to_publish(prices: Any) -> None:
    publisher = threading.Timer(0.1, prices.refresh)
    publisher.start()
    assert prices.wait_ready(30)["a"] == 1
    publisher.join()


def test_a_read_does_not_wait_for_what_nobody_publishes(registry: object) -> None:
    @dataset(first_read_timeout=3600)
    def prices() -> dict[str, int]:
        return {"a": 1}

    for read in (lambda: prices["a"], prices.wait_ready, lambda: asyncio.run(prices.aready())):
        with pytest.raises(DatasetNotReady, match="no version has been published yet"):
            read()
    prices.refresh()
    assert prices["a"] == 1


# --- isolation -------------------------------------------------------------------------------------------------------


def test_tests_run_on_stores_in_memory() -> None:
    assert runtime.memory_only
    assert kv.engine.info.location == "mem:etcdaero-test-default"


def test_real_stores_are_those_of_the_settings(prices: Any) -> None:
    prices.refresh()
    assert prices["a"] == 1
    with real_stores():
        assert not runtime.memory_only
        assert kv.engine.info.location == "mem:"
        assert prices.status().version is None
        kv.put("test_real_stores", "x")
        kv.delete("test_real_stores")
    assert runtime.memory_only
    assert prices["a"] == 1


PROJECT = {
    "settings.py": """
        from pathlib import Path
        BASE_DIR = Path(__file__).parent
        SECRET_KEY = "x"
        INSTALLED_APPS = ["django_etcdaero", "shop"]
        TEST_RUNNER = "runner.Runner"
        USE_TZ = True
    """,
    "runner.py": """
        from django.test.runner import DiscoverRunner
        from django_etcdaero.testing.runner import EtcdAeroRunnerMixin
        class Runner(EtcdAeroRunnerMixin, DiscoverRunner): ...
    """,
    "manage.py": """
        import os, sys
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        if __name__ == "__main__":
            from django.core.management import execute_from_command_line
            execute_from_command_line(sys.argv)
    """,
    "shop/__init__.py": "",
    "shop/datasets.py": """
        from datetime import timedelta
        from django_etcdaero import dataset
        @dataset(first_read_timeout=30, refresh_every=timedelta(hours=1))
        def prices():
            return {"a": 1}
    """,
}


def make_project(directory: Path, **files: str) -> None:
    from textwrap import dedent

    for name, text in {**PROJECT, **{name.replace("__py", ".py"): text for name, text in files.items()}}.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))


def test_the_pytest_plugin_isolates_tests_by_itself(pytester: pytest.Pytester) -> None:
    make_project(
        pytester.path,
        test_shop__py="""
            from pathlib import Path
            import pytest
            from django.conf import settings
            from django_etcdaero import datasets, kv
            from django_etcdaero.datasets.state.status import Outcome, State
            from django_etcdaero.runtime import runtime

            prices = datasets["prices"]

            @pytest.fixture(scope="session")
            def early():
                kv.put("early", "1")
                return kv.engine.info.location

            def test_fixtures_of_the_session_are_kept_from_the_real_stores(early):
                assert early.startswith("mem:")

            @pytest.mark.parametrize("number", [1, 2])
            def test_each_begins_empty(number):
                assert kv.get("a") is None
                assert prices.status().state is State.INITIALIZING
                assert prices.refresh().outcome is Outcome.REFRESHED
                assert prices["a"] == 1
                kv.put("a", "1")

            def test_nothing_was_written_to_disk():
                assert not (settings.BASE_DIR / ".etcdaero").exists()

            @pytest.mark.etcdaero_real_stores
            def test_with_the_mark_it_is():
                assert prices.refresh().outcome is Outcome.REFRESHED
                assert prices["a"] == 1
                assert (settings.BASE_DIR / ".etcdaero" / "kv.sqlite3").exists()

            def test_and_that_is_left_behind():
                assert runtime.memory_only
                assert prices.status().version is None
                assert prices.history() == []
        """,
    )
    result = pytester.runpytest_subprocess(
        "--ds=settings", "-p", "no:randomly", "--strict-markers", "-W", "error", timeout=60
    )
    result.assert_outcomes(passed=6)


def test_the_pytest_plugin_is_idle_without_django(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing_is_loaded():
            assert "django_etcdaero.runtime" not in sys.modules
    """)
    pytester.runpytest_subprocess("-p", "no:django", timeout=60).assert_outcomes(passed=1)


TESTS = """
    import multiprocessing
    import unittest
    from django.conf import settings
    from django.test import SimpleTestCase
    from django_etcdaero import datasets, kv
    from django_etcdaero.datasets.state.status import Outcome
    from django_etcdaero.runtime import runtime

    class Isolated:
        def check(self):
            prices = datasets["prices"]
            self.assertTrue(runtime.memory_only)
            self.assertIsNone(kv.get("a"))
            self.assertIsNone(prices.status().version)
            self.assertIs(prices.refresh().outcome, Outcome.REFRESHED)
            self.assertEqual(prices["a"], 1)
            kv.put("a", "1")
            with open(settings.BASE_DIR / "workers", "a") as file:
                file.write(f"{multiprocessing.parent_process() is not None}\\n")

        def test_one(self):
            self.check()

        def test_other(self):
            for number in range(3):
                with self.subTest(number=number):
                    kv.put("b", "1")
            self.check()

    class First(Isolated, SimpleTestCase): pass
    class Second(Isolated, unittest.TestCase): pass
    class Third(Isolated, SimpleTestCase):
        @classmethod
        def setUpClass(cls):  # what a class does is not there for its tests, the first one included
            super().setUpClass()
            kv.put("a", "1")
            datasets["prices"].refresh()
"""


PARALLEL = ["--parallel", "2"]
PLAIN = ["--testrunner", "django.test.runner.DiscoverRunner"]


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ([], ""),
        (PARALLEL, "fork"),
        (PARALLEL, "spawn"),
        (PLAIN, ""),
        ([*PLAIN, *PARALLEL], "fork"),
        ([*PLAIN, *PARALLEL], "spawn"),
    ],
)
def test_a_test_command_isolates_tests_with_the_mixin_and_without(
    tmp_path: Path, options: list[str], method: str
) -> None:
    make_project(tmp_path, test_shop__py=TESTS)
    if method:  # that of Python 3.14 is a third one, which Django 5.2 does not know
        manage = tmp_path / "manage.py"
        manage.write_text(
            manage.read_text().replace(
                'if __name__ == "__main__":',
                f'if __name__ == "__main__":\n    import multiprocessing; multiprocessing.set_start_method("{method}")',
            )
        )
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 6 tests" in done.stderr
    assert not (tmp_path / ".etcdaero").exists()
    assert (tmp_path / "workers").read_text().split() == [str("--parallel" in options)] * 6


def test_the_runner_keeps_the_result_class_that_was_asked_for(tmp_path: Path) -> None:
    make_project(tmp_path, test_shop__py=TESTS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test", "--pdb", "-v", "2", "test_shop.First"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_one (test_shop.First.test_one) ... ok" in done.stderr


# --- from the very beginning -----------------------------------------------------------------------------------------

EAGER = {
    "settings.py": PROJECT["settings.py"]
    + """
        ETCDAERO = {"default": {"OPTIONS": {"START": "always"}}}
    """,
    "shop/apps.py": """
        from django.apps import AppConfig
        class ShopConfig(AppConfig):
            name = "shop"
            def ready(self):
                from django_etcdaero import kv
                kv.put("from ready", "1")
    """,
}
"""A project that reads at once and writes when Django is set up: before a test runner, or pytest, has said a word."""

FIRST = """
    import threading
    from django.conf import settings
    from django.test import SimpleTestCase
    from django_etcdaero import kv

    started = [thread.name for thread in threading.enumerate()]
    kv.put("from the module", "1")

    class Tests(SimpleTestCase):
        def test_the_first_test_begins_empty_and_nothing_was_written_to_disk(self):
            self.assertTrue(kv.engine.info.location.startswith("mem:"))
            self.assertEqual(list(kv.range("", prefix=True).kvs), [])
            self.assertNotIn("etcdaero-reader", started)
            self.assertFalse((settings.BASE_DIR / ".etcdaero").exists())
"""
CONFTEST = """
    import django
    django.setup()
    from django_etcdaero import kv
    kv.put("from conftest", "1")
"""


IN_PYTHON = ["-c", "import pytest, sys; sys.exit(pytest.main())"]


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        (["-m", "pytest"], [], True),
        (["-m", "pytest"], ["-p", "no:django"], True),
        (["-m", "pytest"], ["-n", "1"], False),
        (IN_PYTHON, [], False),
    ],
    ids=["pytest", "without pytest-django", "xdist", "another program"],
)
def test_pytest_keeps_from_the_real_stores_what_is_imported(
    tmp_path: Path, command: list[str], options: list[str], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the command line does not tell that it is pytest, the reader starts, and starts on memory.
    first = FIRST if told else FIRST.replace("assertNotIn", "assertIn")
    make_project(tmp_path, **EAGER, test_shop__py=first, conftest__py=CONFTEST)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(["-W", "error", *options]))
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert not (tmp_path / ".etcdaero").exists()


@pytest.mark.parametrize("mixed", [True, False], ids=["with the mixin", "without"])
def test_a_test_command_keeps_from_the_real_stores_what_is_imported(tmp_path: Path, mixed: bool) -> None:
    make_project(tmp_path, **EAGER, test_shop__py=FIRST)
    if not mixed:
        settings = tmp_path / "settings.py"
        settings.write_text(settings.read_text().replace("runner.Runner", "django.test.runner.DiscoverRunner"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 1 test" in done.stderr
    assert not (tmp_path / ".etcdaero").exists()


def test_a_runner_that_another_program_makes_is_isolated_from_then_on(tmp_path: Path) -> None:
    make_project(
        tmp_path,
        run__py="""
            import os
            os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
            import django
            django.setup()
            from django_etcdaero import kv
            from runner import Runner
            print(kv.engine.info.location[:3])
            runner = Runner()
            print(kv.engine.info.location[:3])
            runner.run_tests(["test_shop.First"])
            print(kv.engine.info.location[:3])
        """,
        test_shop__py=TESTS.replace('settings.BASE_DIR / "workers"', '"/dev/null"'),
    )
    done = subprocess.run([sys.executable, "-W", "error", "run.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
    assert [line for line in done.stdout.splitlines() if len(line) == 3] == ["sql", "mem", "sql"]
