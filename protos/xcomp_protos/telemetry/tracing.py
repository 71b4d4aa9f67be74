"""Traces by OpenTelemetry, sent by OTLP to where the `OTEL_…` variables say; imported only where one asks for it.

Our own interceptors instead of those of opentelemetry-instrumentation-grpc, which put the message of a failed call into
its span: a message may quote what a user sent. A span here has method, status and time, and nothing else.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from xcomp_protos.build import VERSION

_W3C = TraceContextTextMapPropagator()
# Failures of the server; the others are failures of the caller.
_FAILURES = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))


class _Call:
    """The span of a call."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._lock = threading.Lock()
        self._ended = False

    def end(self, status: str) -> None:
        """Ends it with the name of a gRPC status; the second time does nothing."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[status].value[0])  # type: ignore[misc]  # untyped in the stubs
        if status in _FAILURES:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """A tracer of `telemetry`.

    Args:
        service: name of this process in the traces, unless `OTEL_SERVICE_NAME` says another.
        timeout_s: how long a collector may take; None: as the environment has it.
    """

    def __init__(self, service: str, *, timeout_s: float | None = None) -> None:
        resource = Resource.create({"service.version": VERSION}).merge(_named(service))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout_s)))
        self._tracer = self._provider.get_tracer("xcomp", VERSION)

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def served(self, method: str, carrier: Mapping[str, str]) -> _Call:
        """Spans a call that came in; the calls and stages of its thread are within it from now on."""
        span = self._tracer.start_span(
            method.lstrip("/"), _W3C.extract(carrier), SpanKind.SERVER, attributes=_attributes(method)
        )
        context.attach(trace.set_span_in_context(span))  # each call has a context of its own: nothing to set back
        return _Call(span)

    def called(self, method: str, carrier: dict[str, str]) -> _Call:
        """Spans a call that goes out, and writes the trace into its metadata."""
        span = self._tracer.start_span(method.lstrip("/"), kind=SpanKind.CLIENT, attributes=_attributes(method))
        _W3C.inject(carrier, trace.set_span_in_context(span))
        return _Call(span)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Spans work inside the process."""
        before = context.get_current()
        span = self._tracer.start_span(name)
        context.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            span.end()
            context.attach(before)  # not by its token: a generator may be closed in another context


def _attributes(method: str) -> Mapping[str, str]:
    service, _, name = method.lstrip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _named(service: str) -> Resource:
    """The name, unless the environment gave one, which `Resource.create` has read then."""
    given = Resource.create().attributes.get("service.name", "")
    return Resource({"service.name": service}) if str(given).startswith("unknown_service") else Resource({})
