"""How a client repeats failed calls: while the service is unavailable, or is full and says when to come back.

Calls with one answer are repeated by gRPC's own retry policy, as options of a channel: within the deadline, after the
pause that the server asks for in `grpc-retry-pushback-ms`, else after growing pauses drawn by chance. A host name that
cannot be resolved fails at once.

Streams are repeated by `Retry.open_stream`, until their first message. Under gRPC's policy a stream whose server was
killed waited for ever (grpcio 1.85.3; all of four streams within 23 kills, and no call with one answer).
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from xcomp_protos.errors import Exhausted, Unavailable

MAX_ATTEMPTS = 5  # gRPC allows no more
JITTER = 0.2  # of a pause, as gRPC has it
_BUFFER_BYTES = 8 * 1024 * 1024  # gRPC repeats a request only while it keeps it; its default keeps 256 KiB

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often a client repeats calls that are safe to repeat; `Retry(attempts=1)` repeats none.

    Attributes:
        attempts: in all; for calls with one answer at most `MAX_ATTEMPTS`.
        first_s: length of the first pause; each further pause is twice as long, up to 20 % more or less by chance.
        longest_s: no pause is longer, unless the server asks for a longer one.
    """

    attempts: int = 4
    first_s: float = 0.2
    longest_s: float = 5.0

    def channel_options(self, service: str, methods: Iterable[str]) -> tuple[tuple[str, str | int], ...]:
        """Returns the options of a channel that repeats these methods of a service, such as `xcomp.v1.Indexer`."""
        if self.attempts < 2:
            return ()
        policy = {
            "maxAttempts": min(self.attempts, MAX_ATTEMPTS),
            "initialBackoff": f"{max(self.first_s, 0.001):.3f}s",
            "maxBackoff": f"{max(self.longest_s, 0.001):.3f}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        }
        names = [{"service": service, "method": method} for method in methods]
        config = {"methodConfig": [{"name": names, "retryPolicy": policy}]}
        return (("grpc.service_config", json.dumps(config)), ("grpc.per_rpc_retry_buffer_size", _BUFFER_BYTES))

    def open_stream(self, start: Callable[[], Iterator[T]], *, timeout_s: float) -> Iterator[T]:
        """Yields the messages of the stream that `start` returns; starts it again while it fails before the first one.

        Raises:
            XcompError: of the last attempt, when no attempt or no time is left.
        """
        end = time.monotonic() + timeout_s
        for pause_s in self._pauses():
            stream = start()
            try:
                first = list(islice(stream, 1))
            except (Unavailable, Exhausted) as error:
                hint_s = error.retry_after_s if isinstance(error, Exhausted) else 0.0
                if hint_s is None or time.monotonic() + hint_s + pause_s >= end:
                    raise
                time.sleep(hint_s + pause_s)
            else:
                yield from first
                yield from stream
                return
        yield from start()

    def _pauses(self) -> Iterator[float]:
        for number in range(self.attempts - 1):
            yield min(self.first_s * 2**number, self.longest_s) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
