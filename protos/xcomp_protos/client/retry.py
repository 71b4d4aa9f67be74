"""How a client repeats failed calls: gRPC's own retry policy, as options of a channel.

gRPC repeats a call while the service is unavailable or answers that it is full. It waits for as long as the server asks
for in `grpc-retry-pushback-ms`, else for growing pauses drawn by chance. It repeats no call after the first message of
the response, and none beyond its deadline. A host name that cannot be resolved fails at once.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ATTEMPTS = 5  # gRPC allows no more
_BUFFER_BYTES = 8 * 1024 * 1024  # gRPC repeats a request only while it keeps it; its default keeps 256 KiB


@dataclass(frozen=True)
class Retry:
    """How often a client repeats calls that are safe to repeat; `Retry(attempts=1)` repeats none.

    Attributes:
        attempts: in all; more than `MAX_ATTEMPTS` count as that many.
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
