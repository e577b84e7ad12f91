"""Waiting where signal handlers raise: nothing stays taken, whatever step they come between."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django_etcdaero.system.conditions import Bell, Condition, Flag
from django_etcdaero.system.turns import Claim, Turn


class Raised(Exception):
    pass


def free(lock: Any) -> bool:
    """Tell whether another thread could take a lock."""
    answers: list[bool] = []

    def take() -> None:
        answers.append(lock.acquire(blocking=False))
        if answers[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return answers[0]


def test_a_handler_that_raises_in_a_with_statement_leaves_the_condition_free() -> None:
    condition = Condition()
    raised = 0

    def handle(*_: object) -> None:
        raise Raised

    before = signal.signal(signal.SIGALRM, handle)
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001)
                while True:
                    with condition:
                        pass
            except Raised:
                raised += 1
            assert free(condition)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert raised == 300


def test_a_flag_is_waited_for() -> None:
    flag = Flag()
    assert not flag.wait(0)
    thread = threading.Thread(target=flag.set)
    thread.start()
    assert flag.wait(10)
    thread.join()
    assert flag.is_set()
    flag.clear()
    assert not flag.is_set()


def test_a_bell_wakes_all_who_wait_and_forgets_them() -> None:
    bell, so = Bell(), threading.Event()
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(bell.wait_for(so.is_set, 10))) for _ in range(3)]
    for thread in threads:
        thread.start()
    bell.ring()  # for nothing
    so.set()
    bell.ring()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 3
    assert not bell.wait_for(lambda: False, 0.01)
    assert bell._waiting == []


def test_a_turn_is_taken_by_one_claim_and_given_back_by_no_other() -> None:
    turn, first, second = Turn(), Claim(60), Claim(60)
    assert turn.take(first)
    assert turn.take(first)  # it has it
    assert not turn.take(second)
    assert not turn.wait(second, 0.01)
    turn.give_back(second)
    assert turn.holder is first
    thread = threading.Thread(target=lambda: turn.give_back(first))
    thread.start()
    assert turn.wait(second, 10)
    thread.join()
    turn.give_back(second)
    assert turn.holder is None


def test_a_claim_that_is_over_time_holds_up_nobody() -> None:
    turn, lost, next_one = Turn(), Claim(0.0), Claim(60)
    assert turn.take(lost)
    assert turn.wait(next_one, 10)
    turn.give_back(lost)
    assert turn.holder is next_one
