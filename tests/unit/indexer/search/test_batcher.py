"""Queued jobs of one kind run as a batch; an invalid job fails its own caller only."""

import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from xcomp_indexer.search.batcher import Batcher
from xcomp_protos.errors import InvalidRequest, Unavailable

MAX_BATCH = 4


class Crowd:
    """Callers that wait while the job of another one runs."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self._begun, self._go = threading.Event(), threading.Event()
        self.batcher = Batcher(self._double, max_batch=MAX_BATCH)
        self._pool = ThreadPoolExecutor(32)
        self.first = self._pool.submit(self.batcher.submit, "first", kind="first")
        assert self._begun.wait(60)

    def call(self, job: str, *, kind: Hashable) -> "Future[str]":
        before = len(self.batcher)
        future = self._pool.submit(self.batcher.submit, job, kind=kind)
        while len(self.batcher) == before:
            threading.Event().wait(0.001)
        return future

    def go(self) -> None:
        self._go.set()
        assert self.first.result(60) == "firstfirst"

    def _double(self, jobs: Sequence[str]) -> list[str]:
        self.batches.append(list(jobs))
        self._begun.set()
        assert self._go.wait(60)
        if "bad" in jobs:
            raise InvalidRequest("this job is bad")
        if "late" in jobs:
            raise Unavailable("the server is away")
        return [job + job for job in jobs]


def test_jobs_of_a_kind_run_together_and_jobs_without_a_kind_alone() -> None:
    crowd = Crowd()
    kinds = {"a": 1, "b": None, "c": 2, "d": 1, "e": None, "f": 2, "g": 1, "h": 1, "i": 1}
    futures = {job: crowd.call(job, kind=kind) for job, kind in kinds.items()}
    crowd.go()
    assert {job: future.result(60) for job, future in futures.items()} == {job: job + job for job in kinds}
    assert crowd.batches[1:] == [["a", "d", "g", "h"], ["b"], ["c", "f"], ["e"], ["i"]]


def test_an_invalid_job_fails_no_other() -> None:
    crowd = Crowd()
    bad, good = crowd.call("bad", kind=1), crowd.call("good", kind=1)
    crowd.go()
    with pytest.raises(InvalidRequest, match="this job is bad"):
        bad.result(60)
    assert good.result(60) == "goodgood"
    assert crowd.batches[1:] == [["bad", "good"], ["bad"], ["good"]]


def test_another_error_fails_all_jobs_of_the_batch_at_once() -> None:
    crowd = Crowd()
    late, other, next_one = crowd.call("late", kind=1), crowd.call("other", kind=1), crowd.call("next", kind=2)
    crowd.go()
    for future in (late, other):
        with pytest.raises(Unavailable, match="the server is away"):
            future.result(60)
    assert next_one.result(60) == "nextnext"
    assert crowd.batches[1:] == [["late", "other"], ["next"]]
