"""The call that a request came with: how long its caller still waits, and whether it was cancelled."""

from collections.abc import Callable
from typing import Protocol


class CallContext(Protocol):
    """The deadline and the cancellation of one call."""

    def remaining_s(self) -> float:
        """Returns the seconds that are left; raises DeadlineExceeded or Cancelled when there are none."""

    def is_cancelled(self) -> bool:
        """Whether the caller does not wait for the answer any more."""

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Runs the callback when the call ends, cancelled or not."""
