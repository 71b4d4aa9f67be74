"""Groups the jobs of concurrent calls into batches. Does not depend on what the jobs are.

The first caller becomes the leader and runs a batch of all queued jobs of its kind in its own thread; then the next
caller in the queue leads. A single caller therefore never waits, and batches grow with the load.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xcomp_protos.errors import Cancelled, Exhausted, InvalidRequest
from xcomp_protos.telemetry import api

LONGEST_QUEUE = 256  # calls that wait

Job = TypeVar("Job")
Result = TypeVar("Result")
IsCancelled = Callable[[], bool]


def is_never_cancelled() -> bool:
    """Return False: a caller in this process does not go away."""
    return False


@dataclass(eq=False)
class _QueuedCall(Generic[Job, Result]):
    """A job with its result or error, one of which is there once `ready` is set and the call does not lead."""

    job: Job
    kind: Hashable
    is_cancelled: IsCancelled
    ready: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    results: Sequence[Result] = ()  # one, unless there is an error
    error: BaseException | None = None


class Batcher(Generic[Job, Result]):
    """Runs jobs in the threads of their callers.

    Args:
        run: runs jobs of one kind; returns a result for each, in their order.
        max_batch: jobs that are run together at most.
    """

    def __init__(self, run: Callable[[Sequence[Job]], Sequence[Result]], *, max_batch: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._queue: deque[_QueuedCall[Job, Result]] = deque()
        self._is_led = False

    def __len__(self) -> int:
        """Count the calls in the queue."""
        return len(self._queue)

    def submit(self, job: Job, *, kind: Hashable = None, is_cancelled: IsCancelled = is_never_cancelled) -> Result:
        """Run a job together with others of its kind and return its result; a job without a kind runs alone.

        Raises:
            Exhausted: the queue is full.
            Cancelled: `is_cancelled` returned True when the turn of the job came.
            Exception: the batch of the job failed.
        """
        call = _QueuedCall[Job, Result](job, kind, is_cancelled)
        with self._lock:
            if len(self._queue) >= LONGEST_QUEUE:
                raise Exhausted(f"{len(self._queue)} calls wait for the same model: try again in a second")
            self._queue.append(call)
            call.leads, self._is_led = not self._is_led, True
        if not call.leads:
            with api.count_waiting("texts"):
                call.ready.wait()
        if call.leads:
            self._lead()
        if call.error:
            raise call.error
        return call.results[0]

    def _lead(self) -> None:
        """Run the leader's batch, then make the next call in the queue the leader."""
        try:
            self._run_batch(self._take_batch())
        finally:
            with self._lock:
                self._is_led = bool(self._queue)
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].ready.set()

    def _take_batch(self) -> list[_QueuedCall[Job, Result]]:
        """Remove the first call, which is the leader's, and calls of the same kind from the queue."""
        with self._lock:
            first = self._queue[0]
            same = [call for call in self._queue if call is first or (call.kind == first.kind is not None)]
            batch = same[: self._max_batch]
            for call in batch:
                self._queue.remove(call)
        return batch

    def _run_batch(self, calls: Sequence[_QueuedCall[Job, Result]]) -> None:
        """Run the calls that are not cancelled; an error is raised in each of their threads."""
        active = []
        for call in calls:
            if call.is_cancelled():
                call.error = Cancelled("the caller went away")
            else:
                active.append(call)
        try:
            if active:
                self._run_active(active)
        except BaseException as raised:  # noqa: BLE001  # raised again in each thread that waits
            for call in active:
                call.error = raised
        for call in calls:
            call.ready.set()

    def _run_active(self, calls: Sequence[_QueuedCall[Job, Result]]) -> None:
        try:
            results = self._run([call.job for call in calls])
        except InvalidRequest:
            if len(calls) == 1:
                raise
            for call in calls:  # an invalid job must not fail the others
                self._run_batch([call])
            return
        for call, result in zip(calls, results, strict=True):
            call.results = (result,)
