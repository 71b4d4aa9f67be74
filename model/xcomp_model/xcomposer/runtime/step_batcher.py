"""Steps of several answers in one pass: whoever draws a token hands it in, and one of them runs for all.

The one idea: answers that are drawn at the same time meet at every token. Whoever finds nobody running leads: it waits
until all who were in the last step, or came since, have handed in their next token, or left, and runs. So a lone answer
waits for nobody, one joins or leaves at any token, and one whose reader dawdles holds the others up once, not at every
token. What a step is, is the caller's matter.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")
Out = TypeVar("Out")

_PATIENCE_S = 0.05  # for one who was in the last step and has not come back


class FifoLock:
    """A lock that is given in the order in which it was asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = self._served = 0

    def __enter__(self) -> None:
        """Waits for its turn."""
        with self._changed:
            ticket = self._asked
            self._asked += 1
            self._changed.wait_for(lambda: self._served == ticket)

    def __exit__(self, *_: object) -> None:
        """Lets the next one in."""
        with self._changed:
            self._served += 1
            self._changed.notify_all()


@dataclass(eq=False)
class _DecodeCall(Generic[Row, Out]):
    member: object
    row: Row
    out: Out | None = None
    error: BaseException | None = None
    is_done: bool = False


class StepBatcher(Generic[Row, Out]):
    """Runs steps of all who draw."""

    def __init__(self, run: Callable[[Sequence[Row]], Sequence[Out]]) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._waiting: list[_DecodeCall[Row, Out]] = []
        self._expected: set[object] = set()
        self._is_led = False

    @contextmanager
    def member(self) -> Iterator[Callable[[Row], Out]]:
        """Yields the function that takes one's next step; it raises what the step raised."""
        member = object()
        try:
            yield lambda row: self._step(member, row)
        finally:
            with self._changed:
                self._expected.discard(member)
                self._changed.notify_all()

    def _step(self, member: object, row: Row) -> Out:
        call = _DecodeCall[Row, Out](member, row)
        with self._changed:
            self._waiting.append(call)
            self._expected.add(member)
            self._changed.notify_all()
            self._changed.wait_for(lambda: call.is_done or not self._is_led)
            leads = not call.is_done
            self._is_led = self._is_led or leads
        if leads:
            self._lead()
        if call.error is not None:
            raise call.error
        assert call.out is not None
        return call.out

    def _lead(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= len(self._expected), timeout=_PATIENCE_S)
            calls, self._waiting = self._waiting, []
            self._expected = {call.member for call in calls}
        try:
            for call, out in zip(calls, self._run([call.row for call in calls]), strict=True):
                call.out = out
        except BaseException as error:  # noqa: BLE001  # raised again by everyone whose step it was
            for call in calls:
                call.error = error
        finally:
            with self._changed:
                for call in calls:
                    call.is_done = True
                self._is_led = False
                self._changed.notify_all()
