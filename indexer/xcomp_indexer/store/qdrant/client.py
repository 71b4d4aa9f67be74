"""Calls to a Qdrant server: retried where that can help, with errors as `XcompError`.

Every call of the store can be repeated, since the caller chooses the ids. The client library itself does not retry.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import grpc
import httpx
from grpc import StatusCode
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from xcomp_protos.errors import Conflict, Exhausted, InvalidRequest, NotFound, Unavailable, XcompError
from xcomp_protos.telemetry import api

T = TypeVar("T")
Failure = grpc.RpcError | UnexpectedResponse | ResponseHandlingException | ResourceExhaustedResponse

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_FAILURES = (grpc.RpcError, UnexpectedResponse, ResponseHandlingException, ResourceExhaustedResponse)
_HTTP = {
    400: StatusCode.INVALID_ARGUMENT, 401: StatusCode.UNAUTHENTICATED, 403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND, 409: StatusCode.ALREADY_EXISTS, 413: StatusCode.OUT_OF_RANGE,
    422: StatusCode.INVALID_ARGUMENT, 429: StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip
_TRANSIENT = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED}
# The error of a status. A refused key concerns the operator of this server, not the token of the caller.
_MEANING: dict[StatusCode, tuple[type[XcompError], str]] = {
    StatusCode.INVALID_ARGUMENT: (InvalidRequest, "refused the request"),
    StatusCode.OUT_OF_RANGE: (InvalidRequest, "found the request too large"),
    StatusCode.UNAUTHENTICATED: (Unavailable, "refused the API key: start this server with the right one"),
    StatusCode.PERMISSION_DENIED: (Unavailable, "refused the API key: start this server with one that may do this"),
    StatusCode.NOT_FOUND: (NotFound, "has no such repository"),
    StatusCode.ALREADY_EXISTS: (Conflict, "has this repository already"),
    StatusCode.RESOURCE_EXHAUSTED: (Exhausted, "is over its limits: try again later"),
    StatusCode.UNAVAILABLE: (Unavailable, "does not answer: check its address and that it runs"),
    StatusCode.DEADLINE_EXCEEDED: (Unavailable, "did not answer in time: try again later"),
}


class Call(Protocol):
    """Makes calls to one address, `memory:` or a server."""

    @property
    def place(self) -> str:
        """The address, for messages."""

    def __call__(self, action: Callable[[], T]) -> T:
        """Return what `action` returns, or raise an `XcompError`."""

    def run_once(self, action: Callable[[QdrantClient], T]) -> T:
        """The same for actions that take a server minutes and must not be repeated."""


class SerialClient:
    """Calls the client's local mode, which supports one thread at a time."""

    place = "memory:"

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __call__(self, action: Callable[[], T]) -> T:
        """Returns what `action` returns."""
        with self._lock:
            return action()

    def run_once(self, action: Callable[[QdrantClient], T]) -> T:  # noqa: ARG002  # as in `Call`
        """Raise `InvalidRequest`: only servers have such actions."""
        raise InvalidRequest("the store memory: keeps no snapshots: export the repository instead")


@dataclass(frozen=True)
class RetryingClient:
    """Calls a server and retries where that can help."""

    place: str
    patience_s: float  # time after which a failed call is not retried
    unhurried: Callable[[], QdrantClient]  # creates a client with a long time-out

    def __call__(self, action: Callable[[], T]) -> T:
        """Returns what `action` returns.

        Raises:
            XcompError: it failed; class and message say why.
        """
        started, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                return action()
            except _FAILURES as failure:
                code, asked_s = _code(failure), _retry_after_s(failure)
                wait_s = asked_s if asked_s is not None else pause_s * random.uniform(0.5, 1)  # noqa: S311
                if code not in _TRANSIENT or time.monotonic() - started + wait_s > self.patience_s:
                    raise self._error(code, failure) from failure
                api.count("store_retries")
                _log.info("event=store_retry place=%s status=%s wait_s=%.2f", self.place, code.name, wait_s)
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def run_once(self, action: Callable[[QdrantClient], T]) -> T:
        """Return what `action` returns; do not retry."""
        client = self.unhurried()
        try:
            return replace(self, patience_s=0)(lambda: action(client))
        finally:
            client.close()

    def _error(self, code: StatusCode, failure: Failure) -> XcompError:
        kind, meaning = _MEANING.get(code, (Unavailable, "failed"))
        return kind(f"the store {self.place} {meaning} ({code.name}: {_detail(failure)})")


def _code(failure: Failure) -> StatusCode:
    if isinstance(failure, grpc.RpcError):
        code: StatusCode = failure.code()
        return code
    if isinstance(failure, ResourceExhaustedResponse):
        return StatusCode.RESOURCE_EXHAUSTED
    if isinstance(failure, UnexpectedResponse):
        return _HTTP.get(failure.status_code or 0, _other_http(failure.status_code or 0))
    if isinstance(failure.source, httpx.ConnectTimeout | httpx.PoolTimeout):
        return StatusCode.UNAVAILABLE
    if isinstance(failure.source, httpx.TimeoutException):
        return StatusCode.DEADLINE_EXCEEDED
    return StatusCode.UNAVAILABLE if isinstance(failure.source, httpx.TransportError) else StatusCode.UNKNOWN


def _other_http(status: int) -> StatusCode:
    return StatusCode.UNAVAILABLE if status >= 500 else StatusCode.UNKNOWN


def _retry_after_s(failure: Failure) -> float | None:
    return float(failure.retry_after_s) if isinstance(failure, ResourceExhaustedResponse) else None


def _detail(failure: Failure) -> str:
    if isinstance(failure, grpc.RpcError):
        text = failure.details() or ""
    elif isinstance(failure, UnexpectedResponse):
        text = _message(failure.content) or failure.reason_phrase
    else:
        text = str(failure)
    return " ".join(text.split())[:300]


def _message(body: bytes) -> str:
    """Return the error message in the answer of a server."""
    try:
        return str(json.loads(body)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
