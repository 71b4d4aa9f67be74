"""The steps of several answers run in one pass."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from xcomp_model.xcomposer.runtime import step_batcher
from xcomp_model.xcomposer.runtime.step_batcher import FifoLock, StepBatcher

WAIT_S = 20.0


class Passes:
    """Doubles numbers; the first pass waits until the others have queued their rows."""

    def __init__(self, others: int) -> None:
        self.steps = StepBatcher(self.run)
        self.sizes: list[int] = []
        self._others = others

    def run(self, rows: Sequence[int]) -> list[int]:
        self.sizes.append(len(rows))
        if len(self.sizes) == 1:
            until(lambda: len(self.steps._waiting) == self._others)
        if -1 in rows:
            raise ValueError("one")
        return [2 * row for row in rows]

    def walk(self, numbers: Sequence[int]) -> list[int]:
        with self.steps.join() as step:
            return [step(number) for number in numbers]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def set_wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda seconds: monkeypatch.setattr(step_batcher, "_WAIT_S", seconds)


def test_simultaneous_steps_share_a_pass(set_wait: Callable[[float], None]) -> None:
    set_wait(WAIT_S)
    passes = Passes(others=3)
    with ThreadPoolExecutor(4) as pool:
        walks = [pool.submit(passes.walk, range(first, first + 5)) for first in (0, 10, 20, 30)]
    assert [walk.result() for walk in walks] == [[2 * (first + i) for i in range(5)] for first in (0, 10, 20, 30)]
    assert passes.sizes == [1, 4, 4, 4, 4, 3]  # the first one started alone and ends a step earlier


def test_a_member_that_leaves_delays_no_other(set_wait: Callable[[float], None]) -> None:
    set_wait(10 * WAIT_S)
    passes = Passes(others=1)
    with ThreadPoolExecutor(2) as pool:
        walks = [pool.submit(passes.walk, range(count)) for count in (3, 9)]
        assert [len(walk.result(timeout=WAIT_S)) for walk in walks] == [3, 9]


def test_a_slow_member_delays_the_others_once(set_wait: Callable[[float], None]) -> None:
    set_wait(0.3)
    passes = Passes(others=0)
    with passes.steps.join() as slow, passes.steps.join() as quick:
        slow(1)
        started = time.monotonic()
        assert [quick(number) for number in range(20)] == [2 * number for number in range(20)]
        assert 0.3 <= time.monotonic() - started < 10 * 0.3  # each of the twenty steps would wait as long
        assert slow(4) == 8  # it may continue


def test_an_error_reaches_every_caller_of_its_step_and_no_other() -> None:
    passes = Passes(others=2)
    caught: list[str] = []

    def failing(numbers: Sequence[int]) -> None:
        try:
            passes.walk(numbers)
        except ValueError as error:
            caught.append(str(error))

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(passes.walk, [1])
        until(lambda: passes.sizes == [1])
        for numbers in ([-1], [3]):
            pool.submit(failing, numbers)
        assert first.result() == [2]
    assert caught == ["one", "one"]
    assert passes.walk([5]) == [10]


def test_the_lock_serves_its_callers_in_their_order() -> None:
    lock, order = FifoLock(), list[int]()

    def take(number: int) -> None:
        with lock:
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    with lock:
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda number=number: lock._next_ticket == number + 2)  # type: ignore[misc]  # a default argument binds the loop variable
    for thread in threads:
        thread.join()
    assert order == list(range(8))
