"""Work of calls that come at the same time, done together: one call leads, the others wait for what it brings.

Whoever finds nobody at work leads: it takes what waits, its own job with it, and hands the lead to the next in the
queue. So a lone call waits for nobody, and under load the batches grow by themselves. It knows nothing of the work.
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
Gone = Callable[[], bool]


def never_cancelled() -> bool:
    """Says of a caller in this process that it is not gone."""
    return False


@dataclass(eq=False)
class _Job(Generic[Job, Result]):
    """A caller's job, and what came of it once `ready` is set."""

    job: Job
    kind: Hashable
    gone: Gone
    ready: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    results: Sequence[Result] = ()  # one; none yet, or an error
    error: BaseException | None = None


class Batcher(Generic[Job, Result]):
    """Does jobs in the threads of those who ask.

    Args:
        do: does jobs of one kind; a result for each, in their order.
        at_once: so many jobs at most go together.
    """

    def __init__(self, do: Callable[[Sequence[Job]], Sequence[Result]], *, at_once: int) -> None:
        self._do = do
        self._at_once = at_once
        self._lock = threading.Lock()
        self._waiting: deque[_Job[Job, Result]] = deque()
        self._is_led = False

    def __len__(self) -> int:
        """Counts the calls that wait for others."""
        return len(self._waiting)

    def result(self, job: Job, *, kind: Hashable = None, gone: Gone = never_cancelled) -> Result:
        """Returns what comes of a job, which goes together with others of its kind; one of no kind goes alone.

        Raises:
            Exhausted: too many wait already.
            Cancelled: `gone` called the caller gone while the job waited.
            Exception: whatever went wrong with the jobs that it went together with.
        """
        call = _Job[Job, Result](job, kind, gone)
        with self._lock:
            if len(self._waiting) >= LONGEST_QUEUE:
                raise Exhausted(f"{len(self._waiting)} calls wait for the same model: try again in a second")
            self._waiting.append(call)
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
        """Does the leader's job, and what goes together with it, then lets the next one lead."""
        try:
            self._run(self._taken())
        finally:
            with self._lock:
                self._is_led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].leads = True
                    self._waiting[0].ready.set()

    def _taken(self) -> list[_Job[Job, Result]]:
        """Takes the first call out of the queue, which is the leader's, and what goes together with it."""
        with self._lock:
            first = self._waiting[0]
            alike = [call for call in self._waiting if call is first or (call.kind == first.kind is not None)]
            taken = alike[: self._at_once]
            for call in taken:
                self._waiting.remove(call)
        return taken

    def _run(self, calls: Sequence[_Job[Job, Result]]) -> None:
        """Does what is still wanted; what goes wrong belongs to everyone who waits for it."""
        left = []
        for call in calls:
            if call.gone():
                call.error = Cancelled("the caller went away")
            else:
                left.append(call)
        try:
            if left:
                self._do_all(left)
        except BaseException as raised:  # noqa: BLE001  # raised again in each thread that waits
            for call in left:
                call.error = raised
        for call in calls:
            call.ready.set()

    def _do_all(self, calls: Sequence[_Job[Job, Result]]) -> None:
        try:
            results = self._do([call.job for call in calls])
        except InvalidRequest:
            if len(calls) == 1:
                raise
            for call in calls:  # one is bad, and must not spoil the others
                self._run([call])
            return
        for call, result in zip(calls, results, strict=True):
            call.results = (result,)
