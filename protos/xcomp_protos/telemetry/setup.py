"""What an operator may switch on: metrics on a port of their own, traces, the format of the log.

All of it is off, and its libraries are not imported, unless it is asked for.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from xcomp_protos.errors import Unsupported
from xcomp_protos.telemetry import api

Readings = Mapping[str, tuple[str, Callable[[], float]]]  # levels read at each scrape: help, and how to read


@contextmanager
def observed(options: argparse.Namespace, readings: Readings, *, service: str, traces: bool) -> Iterator[None]:
    """Keeps metrics and traces while the body runs, where they were asked for.

    Raises:
        Unavailable: the address of the metrics is taken.
        Unsupported: a library is not installed.
    """
    with ExitStack() as stack:
        if options.metrics_listen:
            try:
                from xcomp_protos.telemetry import metrics
            except ImportError:
                raise Unsupported("--metrics-listen needs prometheus-client: pip install 'xcomp[observe]'") from None
            recorder = metrics.Metrics(readings)
            stack.enter_context(api.recording(recorder))
            stack.enter_context(metrics.served(recorder, options.metrics_listen))
        if traces:
            stack.enter_context(traced(service))
        yield


@contextmanager
def traced(service: str, *, timeout_s: float | None = None) -> Iterator[None]:
    """Keeps traces of this process while the body runs, then sends what is left, in the time given.

    Raises:
        Unsupported: the libraries are not installed.
    """
    try:
        from xcomp_protos.telemetry.tracing import Tracing
    except ImportError:
        raise Unsupported("traces (OTEL_… is set) need OpenTelemetry: pip install 'xcomp[observe]'") from None
    tracing = Tracing(service, timeout_s=timeout_s)
    try:
        with api.tracing(tracing):
            yield
    finally:
        tracing.close()
