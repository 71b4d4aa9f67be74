"""What a process tells of its work while it works: counts, sizes, levels, stages, and which request they belong to.

Like the log, it is one for the process, so that a stage deep in the work is named without anything being handed
through, and it says nothing until somebody listens. A name is a key of `metrics.py`; a label is a word that the code
spells out, never a text of a user's.
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
    """A part of a trace."""

    def end(self, status: str) -> None:
        """Ends it with the name of a gRPC status. The second time does nothing."""


class Tracer(Protocol):
    """Keeps traces."""

    def served(self, method: str, carrier: dict[str, str]) -> Span:
        """Spans a call that came in, and what its thread does from now on; continues the trace in the metadata."""

    def called(self, method: str, carrier: dict[str, str]) -> Span:
        """Spans a call that goes out; writes the trace into its metadata."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Spans work inside the process."""


_recorders: list[Recorder] = []
_tracers: list[Tracer] = []


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Tells the recorder while the body runs."""
    _recorders.append(recorder)
    try:
        yield
    finally:
        _recorders.remove(recorder)


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Traces while the body runs."""
    _tracers.append(tracer)
    try:
        yield
    finally:
        _tracers.remove(tracer)


def traces_wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables ask for traces, by naming where they go to."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in names)


def tracer() -> Tracer | None:
    """Returns who keeps traces, if anybody does."""
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
    """Times the body as a stage of the work, and spans it where traces are kept."""
    begun = time.monotonic()
    keeper = tracer()
    try:
        if keeper is None:
            yield
        else:
            with keeper.stage(name):
                yield
    finally:
        observe("stage_seconds", time.monotonic() - begun, name)


@contextmanager
def waiting(queue: str) -> Iterator[None]:
    """Counts the caller as waiting in a queue."""
    shift("waiting", 1, queue)
    try:
        yield
    finally:
        shift("waiting", -1, queue)


def sane_request_id(given: str | bytes) -> str:
    """Returns the id that a caller gave, or a fresh one where that is missing or could confuse a log."""
    text = given.decode("latin-1") if isinstance(given, bytes) else given
    return text if _SANE.fullmatch(text) else secrets.token_hex(8)
