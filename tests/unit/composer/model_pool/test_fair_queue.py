"""Turns of a queue are fair and bounded, and end whatever happens."""

import threading
from collections.abc import Generator

import pytest

from tests.scripted import wait_until
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.server.streaming import stream_in_thread
from xcomp_protos.errors import Cancelled, Exhausted


class Clock:
    """A clock that work moves on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def patient() -> float:
    return 10.0


class Line:
    """Work that waits in a queue until all of it has arrived."""

    def __init__(self, queue: FairQueue, clock: Clock) -> None:
        self._fair, self._clock = queue, clock
        self._busy = 0  # owners that have work left; changed by the one in the lane
        self.done: list[str] = []

    def run(self, *works: tuple[str, int, float]) -> list[str]:
        """Each owner works so many times for so long, one piece after the other; returns who had which turn."""
        held = threading.Event()
        self._busy = len(works)
        arrived = threading.Barrier(len(works) + 1)
        workers = [threading.Thread(target=self._work, args=(arrived, *work)) for work in works]
        with self._fair.enter(patient, owner="the first"):
            for worker in workers:
                worker.start()
            arrived.wait(timeout=60)
            while len(self._fair._queue) < len(works):
                held.wait(0.001)
        for worker in workers:
            worker.join(timeout=60)
        return self.done

    def _work(self, arrived: threading.Barrier, owner: str, times: int, seconds: float) -> None:
        arrived.wait(timeout=60)
        for left in reversed(range(times)):
            with self._fair.enter(patient, owner=owner):
                self._clock.now += seconds
                self.done.append(owner)
                self._busy -= not left
                others = self._busy - bool(left)
                wait_until(lambda others=others: len(self._fair._queue) >= others)  # type: ignore[misc]  # they come back


def test_a_short_article_is_not_starved_by_two_long_ones() -> None:
    clock = Clock()
    done = Line(FairQueue(width=1, waiting=10, clock=clock), clock).run(
        ("long", 8, 10.0), ("other", 8, 10.0), ("short", 3, 1.0)
    )
    last = max(turn for turn, owner in enumerate(done) if owner == "short")
    assert done.count("short") == 3
    assert last <= 5, done  # each long one had at most two turns before


def test_equal_articles_take_turns() -> None:
    clock = Clock()
    done = Line(FairQueue(width=1, waiting=10, clock=clock), clock).run(("a", 4, 1.0), ("b", 4, 1.0))
    for start in range(0, len(done), 2):
        assert set(done[start : start + 2]) == {"a", "b"}, done


def test_a_full_queue_says_when_to_come_back() -> None:
    queue = FairQueue(width=1, waiting=0)
    with queue.enter(patient), pytest.raises(Exhausted, match=r"try again in 5 s") as caught, queue.enter(patient):
        pass
    assert caught.value.retry_after_s == 5
    with queue.enter(patient):
        pass


def test_a_cancelled_call_leaves_the_queue() -> None:
    queue = FairQueue(width=1, waiting=1)

    def gone() -> float:
        raise Cancelled("the caller went away")

    with queue.enter(patient):
        for _ in range(3):
            with pytest.raises(Cancelled), queue.enter(gone):
                pass
    with queue.enter(patient):
        pass


def test_failed_work_ends_its_turn() -> None:
    queue = FairQueue(width=1, waiting=0)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), queue.enter(patient):
            raise ValueError("broken")


def test_owners_without_work_are_forgotten() -> None:
    queue = FairQueue(width=1, waiting=0)
    for owner in range(100):
        with queue.enter(patient, owner=owner):
            pass
    with queue.enter(patient, owner="last"):
        assert len(queue._ends) <= 2


def test_a_slow_reader_does_not_block_the_queue() -> None:
    queue = FairQueue(width=1, waiting=0)
    finished = threading.Event()

    def make() -> Generator[int]:
        with queue.enter(patient):
            yield from range(100)
        finished.set()

    stream = stream_in_thread(make, is_cancelled=lambda: False)
    assert next(stream) == 0
    assert finished.wait(timeout=60)  # although no consumer reads on
    with queue.enter(patient):
        pass
    assert list(stream) == list(range(1, 100))


def test_an_error_of_a_stream_is_raised_where_it_is_read() -> None:
    def make() -> Generator[int]:
        yield 1
        raise Exhausted("full")

    stream = stream_in_thread(make, is_cancelled=lambda: False)
    assert next(stream) == 1
    with pytest.raises(Exhausted, match="full"):
        next(stream)


def test_a_stream_ends_when_its_reader_stops() -> None:
    stopped = threading.Event()

    def make() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            stopped.set()

    stream = stream_in_thread(make, is_cancelled=lambda: False)
    assert next(stream) == 1
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert stopped.wait(timeout=60)


def test_a_queue_is_idle_from_its_last_turn_on_and_never_during_one() -> None:
    clock = Clock()
    queue = FairQueue(width=1, waiting=1, clock=clock)
    clock.now = 5.0
    assert queue.idle_s() == 5.0
    with queue.enter(patient):
        clock.now = 50.0
        assert queue.idle_s() == 0.0
    clock.now = 53.0
    assert queue.idle_s() == 3.0
