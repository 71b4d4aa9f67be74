"""Metrics and traces of a process, which an operator may switch on; off, their libraries are not imported."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from xcomp_protos.errors import Unsupported
from xcomp_protos.telemetry import api

Readings = Mapping[str, tuple[str, Callable[[], float]]]  # levels read at each scrape: help, and how to read


@contextmanager
def observe_process(service: str, readings: Readings, *, metrics_listen: str | None, traces: bool) -> Iterator[None]:
    """Keeps metrics while the body runs, if `metrics_listen` is an address, and traces, if `traces`.

    Raises:
        Unavailable: the address of the metrics is taken.
        Unsupported: a library is not installed.
    """
    with ExitStack() as stack:
        if metrics_listen:
            try:
                from xcomp_protos.telemetry import metrics
            except ImportError:
                raise Unsupported("--metrics-listen needs prometheus-client: pip install 'xcomp[observe]'") from None
            recorder = metrics.Metrics(readings)
            stack.enter_context(api.use_recorder(recorder))
            stack.enter_context(metrics.serve_metrics(recorder, metrics_listen))
        if traces:
            stack.enter_context(trace_process(service))
        yield


@contextmanager
def trace_process(service: str, *, timeout_s: float | None = None) -> Iterator[None]:
    """Keeps traces of this process while the body runs, then sends the rest within the time given.

    Raises:
        Unsupported: the libraries are not installed.
    """
    try:
        from xcomp_protos.telemetry.tracing import Tracing
    except ImportError:
        raise Unsupported("traces (OTEL_… is set) need OpenTelemetry: pip install 'xcomp[observe]'") from None
    tracing = Tracing(service, timeout_s=timeout_s)
    try:
        with api.use_tracer(tracing):
            yield
    finally:
        tracing.close()
