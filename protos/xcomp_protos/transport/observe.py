"""What an operator may switch on: metrics on a port of their own, traces, the format of the log.

All of it is off, and its libraries are not imported, unless it is asked for.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from xcomp_protos.options import add, traces_wanted
from xcomp_protos.transport import logs, telemetry
from xcomp_protos.transport.errors import Unsupported

Readings = Mapping[str, tuple[str, Callable[[], float]]]  # levels read at each scrape: help, and how to read


def add_options(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Adds `--log-level`, `--log-format` and `--metrics-listen`."""
    add(parser, "--log-level", "XCOMP_LOG_LEVEL", default="INFO", choices=logs.LEVELS, help="how much the log says")
    add(
        parser, "--log-format", "XCOMP_LOG_FORMAT", default="text", choices=logs.FORMATS,
        help="text, or json: one object a line",
    )  # fmt: skip
    add(
        parser, "--metrics-listen", "XCOMP_METRICS_LISTEN",
        help=f"host:port where Prometheus may scrape, such as 127.0.0.1:{port}; default: nowhere",
    )  # fmt: skip


@contextmanager
def observed(options: argparse.Namespace, readings: Readings, *, service: str) -> Iterator[None]:
    """Keeps metrics and traces while the body runs, where they were asked for.

    Raises:
        Unavailable: the address of the metrics is taken.
        Unsupported: a library is not installed.
    """
    with ExitStack() as stack:
        if options.metrics_listen:
            try:
                from xcomp_protos.transport import metrics
            except ImportError:
                raise Unsupported("--metrics-listen needs prometheus-client: pip install 'xcomp[observe]'") from None
            recorder = metrics.Metrics(readings)
            stack.enter_context(telemetry.recording(recorder))
            stack.enter_context(metrics.served(recorder, options.metrics_listen))
        if traces_wanted():
            stack.enter_context(traced(service))
        yield


@contextmanager
def traced(service: str, *, timeout_s: float | None = None) -> Iterator[None]:
    """Keeps traces of this process while the body runs, then sends what is left, in the time given.

    Raises:
        Unsupported: the libraries are not installed.
    """
    try:
        from xcomp_protos.transport.tracing import Tracing
    except ImportError:
        raise Unsupported("traces (OTEL_… is set) need OpenTelemetry: pip install 'xcomp[observe]'") from None
    tracing = Tracing(service, timeout_s=timeout_s)
    try:
        with telemetry.tracing(tracing):
            yield
    finally:
        tracing.close()
