"""The metrics of a server in the text format of Prometheus, on their own port; imported only when wanted.

The tables below list all of them; docs/operations.md says what each one means. The code spells out every label, so that
their number is bounded.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.core import GaugeMetricFamily

from xcomp_protos.errors import Unavailable

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SCRAPE_S = 10  # a client that is silent for longer is dropped

COUNTERS = {
    "requests": ("calls that ended, by method and gRPC status", ("method", "status")),
    "failures": ("calls that ended in an error, by the class of the error", ("class",)),
    "images": ("images that went through all embedding models of a repository", ()),
    "image_failures": ("files that were skipped, by reason", ("reason",)),
    "tokens": ("pieces of text that composing models produced; for a local model a piece is a token", ()),
    "cache_lookups": ("look-ups in caches of earlier work", ("cache", "outcome")),
    "illustrations": ("spots that got an image", ()),
    "abstentions": ("spots left empty because no image fitted or could be used", ()),
    "store_retries": ("calls of the store that were repeated", ()),
}
HISTOGRAMS = {
    "request_seconds": ("from admission to the end of a call", ("method",), SECONDS),
    "stage_seconds": ("work inside calls, by stage", ("stage",), SECONDS),
    "batch_size": ("inputs in one forward pass", ("kind",), SIZES),
}
LEVELS = {
    "active_calls": ("active calls, with those that wait", ()),
    "waiting": ("calls that wait in a queue of the server", ("queue",)),
}


class Metrics:
    """A recorder with a registry of its own.

    Args:
        readings: levels that are read at each scrape, by name: their help, and how to read them.
    """

    def __init__(self, readings: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which xcomp does not use
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"xcomp_{name}", help_, labels, registry=self.registry)
            for name, (help_, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(f"xcomp_{name}", help_, labels, buckets=buckets, registry=self.registry)
            for name, (help_, labels, buckets) in HISTOGRAMS.items()
        }
        self._levels = {
            name: Gauge(f"xcomp_{name}", help_, labels, registry=self.registry)
            for name, (help_, labels) in LEVELS.items()
        }
        for name, (help_, read) in readings.items():
            Gauge(f"xcomp_{name}", help_, registry=self.registry).set_function(read)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Gpus())

    def count(self, name: str, amount: float, labels: tuple[str, ...]) -> None:
        """Adds to a counter."""
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def observe(self, name: str, value: float, labels: tuple[str, ...]) -> None:
        """Adds a value to a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def shift(self, name: str, amount: float, labels: tuple[str, ...]) -> None:
        """Raises or lowers a level."""
        level = self._levels[name]
        (level.labels(*labels) if labels else level).inc(amount)


class _Gpus:
    """The memory of each GPU that this process uses; a scrape loads no library and starts no driver."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields used and total bytes per device, as the client of Prometheus asks of a collector."""
        used = GaugeMetricFamily("xcomp_gpu_memory_bytes", "memory that this process reserved", labels=["device"])
        total = GaugeMetricFamily("xcomp_gpu_memory_total_bytes", "memory of the device", labels=["device"])
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is not None and cuda.is_initialized():
            for device in range(cuda.device_count()):
                used.add_metric([str(device)], float(cuda.memory_reserved(device)))
                total.add_metric([str(device)], float(cuda.get_device_properties(device).total_memory))
        yield used
        yield total


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = SCRAPE_S

    def log_message(self, *_: object) -> None:
        """Logs nothing: a scrape is not worth a line."""


@contextmanager
def serve_metrics(metrics: Metrics, listen: str) -> Iterator[str]:
    """Serves the metrics at `host:port` while the body runs; yields the bound address.

    Raises:
        Unavailable: the address is taken, or does not belong to this machine.
    """
    host, _, port = listen.rpartition(":")
    try:
        server = make_server(host.strip("[]"), int(port), make_wsgi_app(metrics.registry), _Server, _Handler)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is not host:port"
        raise Unavailable(f"cannot listen on {listen}: {reason}: choose another with --metrics-listen") from None
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
