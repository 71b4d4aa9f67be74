"""Batches the decoding steps of several answers: one thread runs a step for all of them.

The first caller becomes the leader: it waits until every answer of the last step, and every new one, has handed in its
next token or has ended, and runs the batch. So a single answer never waits, answers join or leave at any token, and one
whose reader is slow delays the others once, not at every token. This file does not depend on what a step computes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")
Out = TypeVar("Out")

_WAIT_S = 0.05  # the longest wait for an answer of the last step


class FifoLock:
    """A lock that serves its callers in their order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next_ticket = self._serving = 0

    def __enter__(self) -> None:
        """Waits for the caller's turn."""
        with self._changed:
            ticket = self._next_ticket
            self._next_ticket += 1
            self._changed.wait_for(lambda: self._serving == ticket)

    def __exit__(self, *_: object) -> None:
        """Lets the next caller in."""
        with self._changed:
            self._serving += 1
            self._changed.notify_all()


@dataclass(eq=False)
class _DecodeCall(Generic[Row, Out]):
    member: object
    row: Row
    out: Out | None = None
    error: BaseException | None = None
    is_done: bool = False


class StepBatcher(Generic[Row, Out]):
    """Runs the steps of all members; `run` maps the rows of a batch to their results."""

    def __init__(self, run: Callable[[Sequence[Row]], Sequence[Out]]) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._waiting: list[_DecodeCall[Row, Out]] = []
        self._expected: set[object] = set()  # members whose next row the leader waits for
        self._has_leader = False

    @contextmanager
    def join(self) -> Iterator[Callable[[Row], Out]]:
        """Makes the caller a member; yields the function that runs its next step, which raises what the step raises."""
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
            self._changed.wait_for(lambda: call.is_done or not self._has_leader)
            is_leader = not call.is_done
            self._has_leader = self._has_leader or is_leader
        if is_leader:
            self._lead()
        if call.error is not None:
            raise call.error
        assert call.out is not None
        return call.out

    def _lead(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= len(self._expected), timeout=_WAIT_S)
            calls, self._waiting = self._waiting, []
            self._expected = {call.member for call in calls}
        try:
            for call, out in zip(calls, self._run([call.row for call in calls]), strict=True):
                call.out = out
        except BaseException as error:  # noqa: BLE001  # raised again in every caller of the step
            for call in calls:
                call.error = error
        finally:
            with self._changed:
                for call in calls:
                    call.is_done = True
                self._has_leader = False
                self._changed.notify_all()
