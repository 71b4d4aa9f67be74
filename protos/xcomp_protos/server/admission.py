"""One call from its admission to its log line: request id, outcome, metrics, trace.

It sees methods and outcomes, but no requests: nothing that a user asks for can reach the log from here.
"""

import logging
import math
import random
import time
from typing import NoReturn

import grpc

from xcomp_protos.errors import Denied, Exhausted, InvalidRequest, Unauthenticated, Unsupported, XcompError, one_line
from xcomp_protos.server.auth import Grant
from xcomp_protos.server.idle import ActiveCalls
from xcomp_protos.telemetry import api
from xcomp_protos.telemetry.logs import LineLimit

log = logging.getLogger(__name__)

MAX_ACTIVE_CALLS = 64  # a call beyond them is refused, with a hint when to come back
RETRY_AFTER_S = 1.0
SPREAD = 0.2  # share by which a pause that is asked for may be longer than the hint

_refusal_lines = LineLimit(log, "calls without a valid token")

Trailing = tuple[tuple[str, str], ...]


class CallAdmission:
    """Admits a call, and accounts for it when it ends; entered once for each call."""

    def __init__(self, method: str, activity: ActiveCalls, context: grpc.ServicerContext, grant: Grant | None) -> None:
        self._name = method.rpartition("/")[2]
        self._method = method
        self._activity = activity
        self._context = context
        self._grant = grant
        self._started = time.monotonic()
        self._span: api.Span | None = None
        self._is_active = False

    def __enter__(self) -> Grant:
        self._identify()
        if self._grant is None:  # it takes none of the calls that may be active, and starts no trace
            self._refuse(Unauthenticated("missing or wrong token"))
        self._start_span()
        active = self._activity.enter()
        self._is_active = True
        api.shift("active_calls", 1)
        try:
            self._grant.check_method(self._name)
        except Denied as error:
            self._refuse(error)
        if active > MAX_ACTIVE_CALLS:
            hint = f"the queue is full: try again in {RETRY_AFTER_S * 1000:.0f} ms"
            self._refuse(Exhausted(hint, retry_after_s=RETRY_AFTER_S))
        return self._grant

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or kind is GeneratorExit:
            self._finish(self._outcome() if error is None else "CANCELLED")
        else:
            self._refuse(self._failure(error))

    def _identify(self) -> None:
        """Takes the request id of the caller, or makes one, and sends it back."""
        self._given = {k: value for k, value in self._context.invocation_metadata() or () if isinstance(value, str)}
        self._id = api.to_request_id(self._given.get(api.REQUEST_ID, ""))
        api.request_id.set(self._id)  # each call has its own context: no reset is needed
        self._context.set_trailing_metadata(self._trailing())

    def _start_span(self) -> None:
        """Joins the trace of the caller."""
        tracer = api.current_tracer()
        self._span = tracer.start_server_span(self._method, self._given) if tracer else None

    def _refuse(self, failure: XcompError) -> NoReturn:
        self._finish(failure.code.name)
        api.count("failures", 1, type(failure).__name__)
        hints = {"xcomp-error": type(failure).__name__}
        if isinstance(failure, InvalidRequest) and failure.field:
            hints["xcomp-field"] = failure.field
        if isinstance(failure, Exhausted):
            hints |= _retry_hints(failure.retry_after_s, self._context.time_remaining())
        self._context.set_trailing_metadata((*self._trailing(), *hints.items()))
        self._context.abort(failure.code, one_line(str(failure)))

    def _trailing(self) -> Trailing:
        return ((api.REQUEST_ID, self._id),)

    def _failure(self, error: BaseException) -> XcompError:
        if isinstance(error, XcompError):
            return error
        if isinstance(error, NotImplementedError):  # the generated base class, where a method was left out
            return Unsupported(f"{self._name} is not available in this version")
        # A defect of the server: the log gets the traceback, the caller does not.
        log.error("method=%s request=%s defect", self._name, self._id, exc_info=error)
        return XcompError("internal error: the server's log says more")

    def _outcome(self) -> str:
        """Returns the status that the caller saw of work that succeeded; the caller may have left before."""
        if self._context.is_active():
            return "OK"
        left = self._context.time_remaining()
        return "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"

    def _finish(self, status: str) -> None:
        seconds = time.monotonic() - self._started
        if self._is_active:
            self._activity.leave()
            api.shift("active_calls", -1)
        api.count("requests", 1, self._name, status)
        api.observe("request_seconds", seconds, self._name)
        if self._span:
            self._span.end(status)
        if self._grant or _refusal_lines.admit():
            log.info("method=%s status=%s latency_ms=%.1f request=%s", self._name, status, seconds * 1000, self._id)


def _retry_hints(retry_after_s: float | None, remaining_s: float | None) -> dict[str, str]:
    """Returns the metadata that says when to call again; `grpc-retry-pushback-ms` is the key that gRPC itself obeys.

    Its -1 keeps a client from repeating a call for which that is of no use or comes too late. Clients that were refused
    together get different pauses, so that they do not come back together.
    """
    if retry_after_s is None:
        return {"grpc-retry-pushback-ms": "-1"}
    pause_s = retry_after_s * random.uniform(1, 1 + SPREAD)  # noqa: S311  # no secret
    is_late = remaining_s is not None and pause_s >= remaining_s
    pushback = -1 if is_late else math.ceil(pause_s * 1000)
    return {"retry-after-ms": str(round(retry_after_s * 1000)), "grpc-retry-pushback-ms": str(pushback)}
