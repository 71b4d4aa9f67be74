"""Traces by OpenTelemetry, sent by OTLP to where the `OTEL_…` variables say; imported only when they are wanted.

The interceptors of opentelemetry-instrumentation-grpc are not used: they put the message of a failed call into its
span, and a message may quote what a user sent. A span here has a method, a status and times, and nothing else.
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
        """Ends the span with the name of a gRPC status; a second call does nothing."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[status].value[0])
        if status in _FAILURES:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """A tracer of `telemetry`.

    Args:
        service: name of this process in the traces, unless `OTEL_SERVICE_NAME` is set.
        timeout_s: how long a collector may take; None: as the environment says.
    """

    def __init__(self, service: str, *, timeout_s: float | None = None) -> None:
        resource = Resource.create({"service.version": VERSION}).merge(_service_resource(service))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout_s)))
        self._tracer = self._provider.get_tracer("xcomp", VERSION)

    def close(self) -> None:
        """Sends the rest."""
        self._provider.shutdown()

    def start_server_span(self, method: str, carrier: Mapping[str, str]) -> _Call:
        """Starts the span of an incoming call; later calls and stages of its thread are within it."""
        span = self._tracer.start_span(
            method.lstrip("/"), _W3C.extract(carrier), SpanKind.SERVER, attributes=_attributes(method)
        )
        context.attach(trace.set_span_in_context(span))  # each call has its own context: no reset is needed
        return _Call(span)

    def start_client_span(self, method: str, carrier: dict[str, str]) -> _Call:
        """Starts the span of an outgoing call, and writes the trace into its metadata."""
        span = self._tracer.start_span(method.lstrip("/"), kind=SpanKind.CLIENT, attributes=_attributes(method))
        _W3C.inject(carrier, trace.set_span_in_context(span))
        return _Call(span)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Starts a span of work inside the process; ends it with the body."""
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


def _service_resource(service: str) -> Resource:
    """Returns the name of the process, unless the environment has one, which `Resource.create` reads."""
    given = Resource.create().attributes.get("service.name", "")
    return Resource({"service.name": service}) if str(given).startswith("unknown_service") else Resource({})
