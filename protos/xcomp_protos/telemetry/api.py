"""What the code reports about its work: counts, sizes, levels, stages, and the request that they belong to.

Like the log, it is global to the process, so that code at any depth can report. It does nothing until a recorder or a
tracer is in use. A name is a key of `metrics.py`; a label is a word that the code spells out, never a text of a user.
"""

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

REQUEST_ID = "x-request-id"  # metadata key
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

request_id: ContextVar[str] = ContextVar("request_id", default="")


class Recorder(Protocol):
    """Keeps numbers."""

    def count(self, name: str, amount: float, labels: tuple[str, ...]) -> None:
        """Adds to a counter."""

    def observe(self, name: str, value: float, labels: tuple[str, ...]) -> None:
        """Adds a value to a histogram."""

    def shift(self, name: str, amount: float, labels: tuple[str, ...]) -> None:
        """Raises or lowers a level."""


class Span(Protocol):
    """A span of a trace."""

    def end(self, status: str) -> None:
        """Ends the span with the name of a gRPC status; a second call does nothing."""


class Tracer(Protocol):
    """Keeps traces."""

    def start_server_span(self, method: str, carrier: dict[str, str]) -> Span:
        """Starts the span of an incoming call and of all later work of its thread; continues the caller's trace."""

    def start_client_span(self, method: str, carrier: dict[str, str]) -> Span:
        """Starts the span of an outgoing call; writes the trace into its metadata."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Returns a span of work inside the process."""


_recorders: list[Recorder] = []
_tracers: list[Tracer] = []


@contextmanager
def use_recorder(recorder: Recorder) -> Iterator[None]:
    """Reports to the recorder while the body runs."""
    _recorders.append(recorder)
    try:
        yield
    finally:
        _recorders.remove(recorder)


@contextmanager
def use_tracer(tracer: Tracer) -> Iterator[None]:
    """Reports to the tracer while the body runs."""
    _tracers.append(tracer)
    try:
        yield
    finally:
        _tracers.remove(tracer)


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Returns whether the variables of OpenTelemetry ask for traces: they name a collector."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in names)


def current_tracer() -> Tracer | None:
    """Returns the tracer in use, if there is one."""
    return _tracers[-1] if _tracers else None


def count(name: str, amount: float = 1, *labels: str) -> None:
    """Adds to a counter."""
    for recorder in _recorders:
        recorder.count(name, amount, labels)


def observe(name: str, value: float, *labels: str) -> None:
    """Adds a value to a histogram."""
    for recorder in _recorders:
        recorder.observe(name, value, labels)


def shift(name: str, amount: float, *labels: str) -> None:
    """Raises or lowers a level."""
    for recorder in _recorders:
        recorder.shift(name, amount, labels)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measures the time of the body as a stage of the work; also a span where traces are kept."""
    begun = time.monotonic()
    tracer = current_tracer()
    try:
        if tracer is None:
            yield
        else:
            with tracer.stage(name):
                yield
    finally:
        observe("stage_seconds", time.monotonic() - begun, name)


@contextmanager
def count_waiting(queue: str) -> Iterator[None]:
    """Counts the caller as one that waits in a queue, while the body runs."""
    shift("waiting", 1, queue)
    try:
        yield
    finally:
        shift("waiting", -1, queue)


def to_request_id(given: str | bytes) -> str:
    """Returns the id that a caller gave, or a new one where it is missing or could confuse a log."""
    text = given.decode("latin-1") if isinstance(given, bytes) else given
    return text if _SANE.fullmatch(text) else secrets.token_hex(8)
