"""Trying again, where that can help and does no harm.

Only what may be done twice is ever tried again: calls that read, or compute an answer from their request alone, and
streams of which nothing has come yet. A server that is gone may be back; a full one says when to come back.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from xcomp_protos.errors import Exhausted, Unavailable, XcompError

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How patiently a client tries again; `Retry(attempts=1)` does not.

    Attributes:
        attempts: in all.
        first_s: the first pause at most; each further one may be twice as long. A pause is drawn between half and all
            of it, so that clients that failed together do not come back together.
        longest_s: no pause is longer, but for one that the server asks for.
    """

    attempts: int = 4
    first_s: float = 0.2
    longest_s: float = 5.0

    def run(self, attempt: Callable[[float], T], *, timeout_s: float) -> T:
        """Returns what `attempt` returns; it is told how many of the seconds are left.

        Raises:
            XcompError: of the last attempt, once attempts or seconds are used up.
        """
        end = time.monotonic() + timeout_s
        for number in range(1, self.attempts):
            try:
                return attempt(end - time.monotonic())
            except (Unavailable, Exhausted) as error:
                pause_s = self._pause_s(error, number)
                if pause_s is None or time.monotonic() + pause_s >= end:
                    raise
            time.sleep(pause_s)
        return attempt(end - time.monotonic())

    def _pause_s(self, error: XcompError, number: int) -> float | None:
        """Seconds until the next attempt; None where it would be of no use."""
        drawn: float = min(self.first_s * 2 ** (number - 1), self.longest_s) * random.uniform(0.5, 1)  # noqa: S311
        if isinstance(error, Exhausted):
            return None if error.retry_after_s is None else error.retry_after_s + drawn
        return drawn
