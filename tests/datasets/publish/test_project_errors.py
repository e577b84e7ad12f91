"""Whatever a project's code raises is a failure of the refresh; what interrupts it from outside is not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import FakeHost


class Panic(BaseException):
    """As an extension in another language raises it."""


class Silent(Exception):
    def __str__(self) -> str:
        raise TypeError("an error in an error's text")


class TimeIsUp(Exception):
    """As the limit on the time of a task raises it, in a handler of a signal."""


ERRORS = [SystemExit(0), asyncio.CancelledError(), Panic("index 7"), Silent()]


@pytest.fixture(params=[TimeIsUp, SystemExit])
def limited(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Gives what a limit on the time does to the code that runs."""

    def handle(number: int, frame: object) -> None:
        raise request.param

    before = signal.signal(signal.SIGUSR1, handle)
    yield lambda: signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_source_may_raise_anything(host: FakeHost, declare: Callable[..., Any], error: BaseException) -> None:
    prices = declare()
    prices.source.error = error
    result = Refresh(prices, host).run()
    assert result.outcome is Outcome.FAILED
    assert type(error).__name__ in (result.error or "")
    attempt = host.state(prices).attempt
    assert attempt is not None
    assert attempt.error == result.error
    assert host.kv.lock(prices.layout("t").lock).holder() is None


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_validators_may(host: FakeHost, declare: Callable[..., Any], error: BaseException) -> None:
    def refuses(old: Any, new: Any) -> None:
        raise error

    result = Refresh(declare(validators=[refuses]), host).run()
    assert result.outcome is Outcome.FAILED
    assert f"refuses raised {type(error).__name__}" in (result.error or "")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_prepare_may(host: FakeHost, declare: Callable[..., Any], error: BaseException) -> None:
    def prepare(self: Any, rows: Any) -> None:
        raise error

    result = Refresh(declare(prepare=prepare), host).run()
    assert result.outcome is Outcome.FAILED
    assert f"prepare() raised {type(error).__name__}" in (result.error or "")


def test_a_signal_that_raises_ends_the_refresh_and_is_nobodys_failure(
    host: FakeHost, declare: Callable[..., Any], limited: Callable[[], None]
) -> None:
    prices = declare()
    prices.source.during = limited
    with pytest.raises((TimeIsUp, SystemExit)):
        Refresh(prices, host).run()
    assert host.state(prices).attempt is None
    assert host.listener.failures == []
    assert host.kv.lock(prices.layout("t").lock).holder() is None
    prices.source.during = lambda: None
    assert Refresh(prices, host).run().outcome is Outcome.REFRESHED


@pytest.mark.parametrize("place", ["validators", "prepare"])
def test_also_in_other_code_of_the_project(
    host: FakeHost, declare: Callable[..., Any], limited: Callable[[], None], place: str
) -> None:
    options: dict[str, Any] = {
        "validators": {"validators": [lambda old, new: limited()]},
        "prepare": {"prepare": lambda self, rows: limited()},
    }[place]
    prices = declare(**options)
    with pytest.raises((TimeIsUp, SystemExit)):
        Refresh(prices, host).run()
    assert host.state(prices).attempt is None
