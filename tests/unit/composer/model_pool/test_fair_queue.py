"""Turns are fair, bounded, and given back whatever happens."""

import threading
from collections.abc import Generator

import pytest

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
    """Work that queues at a lane that is held until all of it has arrived."""

    def __init__(self, lane: FairQueue, clock: Clock) -> None:
        self._lane, self._clock = lane, clock
        self.done: list[str] = []

    def run(self, *works: tuple[str, int, float]) -> list[str]:
        """Each owner works so many times for so long, one piece after the other; returns who had which turn."""
        held = threading.Event()
        arrived = threading.Barrier(len(works) + 1)
        workers = [threading.Thread(target=self._work, args=(arrived, *work)) for work in works]
        with self._lane.enter(patient, owner="the first"):
            for worker in workers:
                worker.start()
            arrived.wait(timeout=60)
            while len(self._lane._queue) < len(works):
                held.wait(0.001)
        for worker in workers:
            worker.join(timeout=60)
        return self.done

    def _work(self, arrived: threading.Barrier, owner: str, times: int, seconds: float) -> None:
        arrived.wait(timeout=60)
        for _ in range(times):
            with self._lane.enter(patient, owner=owner):
                self._clock.now += seconds
                self.done.append(owner)
                threading.Event().wait(0.005)  # the others are back in the queue by then


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
    lane = FairQueue(width=1, waiting=0)
    with lane.enter(patient), pytest.raises(Exhausted, match=r"try again in 5 s") as caught, lane.enter(patient):
        pass
    assert caught.value.retry_after_s == 5
    with lane.enter(patient):
        pass


def test_one_who_leaves_the_queue_gives_the_place_up() -> None:
    lane = FairQueue(width=1, waiting=1)

    def gone() -> float:
        raise Cancelled("the caller went away")

    with lane.enter(patient):
        for _ in range(3):
            with pytest.raises(Cancelled), lane.enter(gone):
                pass
    with lane.enter(patient):
        pass


def test_work_that_fails_gives_the_turn_back() -> None:
    lane = FairQueue(width=1, waiting=0)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), lane.enter(patient):
            raise ValueError("broken")


def test_owners_who_are_done_are_forgotten() -> None:
    lane = FairQueue(width=1, waiting=0)
    for owner in range(100):
        with lane.enter(patient, owner=owner):
            pass
    with lane.enter(patient, owner="last"):
        assert len(lane._ends) <= 2


def test_a_slow_reader_holds_nothing() -> None:
    lane = FairQueue(width=1, waiting=0)
    finished = threading.Event()

    def make() -> Generator[int]:
        with lane.enter(patient):
            yield from range(100)
        finished.set()

    stream = stream_in_thread(make, is_gone=lambda: False)
    assert next(stream) == 0
    assert finished.wait(timeout=60)  # although nobody reads on
    with lane.enter(patient):
        pass
    assert list(stream) == list(range(1, 100))


def test_what_is_made_ahead_fails_where_it_is_read() -> None:
    def make() -> Generator[int]:
        yield 1
        raise Exhausted("full")

    stream = stream_in_thread(make, is_gone=lambda: False)
    assert next(stream) == 1
    with pytest.raises(Exhausted, match="full"):
        next(stream)


def test_work_ends_when_its_reader_does() -> None:
    stopped = threading.Event()

    def make() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            stopped.set()

    stream = stream_in_thread(make, is_gone=lambda: False)
    assert next(stream) == 1
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert stopped.wait(timeout=60)
