"""One trace from the command line to the store, received by a collector on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests import images, servers
from tests.scripted import raising, running, scripted_service
from tests.soak.grpc_fuzz import held
from xcomp_protos import indexer_pb2
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import NotFound
from xcomp_protos.telemetry import api

SECRET = "zeppelin"


class Collector(rpc.TraceServiceServicer):
    """Keeps the requests that it receives."""

    def __init__(self) -> None:
        self.requests: list[pb.ExportTraceServiceRequest] = []

    def Export(self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext) -> object:  # noqa: N802
        self.requests.append(request)
        return pb.ExportTraceServiceResponse()

    def spans(self) -> Iterator[tuple[str, Span]]:
        """Every span with the name of its service."""
        for request in self.requests:
            for part in request.resource_spans:
                names = {each.key: each.value.string_value for each in part.resource.attributes}
                yield from ((names["service.name"], span) for scope in part.scope_spans for span in scope.spans)


@pytest.fixture
def collector() -> Iterator[tuple[Collector, dict[str, str]]]:
    """A collector, and the environment that names it."""
    kept, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    rpc.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]  # it ships no types
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kept, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    server.stop(None).wait()


def test_one_trace_joins_command_composer_indexer_and_store(
    collector: tuple[Collector, dict[str, str]], tmp_path: Path
) -> None:
    kept, settings = collector
    photos = images.library(tmp_path / "photos", {"red.jpg": images.RED})
    (tmp_path / "post.md").write_text(f"# A day\n\nA red {SECRET} stood in the garage.\n")
    with (
        servers.indexer(tmp_path, settings=settings) as indexer,
        servers.composer(tmp_path, indexer.address, settings=settings) as composer,
    ):
        held(indexer.address, photos)
        command = [str(Path(sys.executable).with_name("xcomp")), "illustrate", "post.md", "--repo", "default"]
        command += ["--indexer", indexer.address, "--composer", composer.address]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("XCOMP_")}
        subprocess.run(command, cwd=tmp_path, env={**environment, **settings}, check=True, capture_output=True)
        indexer.stop()
        composer.stop()
    spans = list(kept.spans())
    root = next(span for service, span in spans if service == "xcomp" and not span.parent_span_id)
    assert root.name == "xcomp illustrate"
    joined = {(service, span.name) for service, span in spans if span.trace_id == root.trace_id}
    assert {
        ("xcomp", "xcomp.v1.Composer/Illustrate"),
        ("xcomp-composer", "xcomp.v1.Composer/Illustrate"),
        ("xcomp-composer", "retrieve"),
        ("xcomp-composer", "xcomp.v1.Indexer/Search"),
        ("xcomp-indexer", "xcomp.v1.Indexer/Search"),
        ("xcomp-indexer", "store"),
        ("xcomp-indexer", "embed.color"),
    } <= joined
    parents = {span.span_id: span for _, span in spans}
    store = next(s for name, s in spans if s.name == "store" and s.trace_id == root.trace_id)
    assert parents[store.parent_span_id].name == "xcomp.v1.Indexer/Search"
    assert SECRET not in str(kept.requests)


def test_the_message_of_a_failure_stays_out_of_its_span(
    collector: tuple[Collector, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xcomp_protos.telemetry import setup

    kept, settings = collector
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    service = scripted_service()
    service.describe = raising(NotFound(f"there is no {SECRET!r}"))
    with setup.trace_process("test"), running(service) as server, IndexerClient(server.address) as client:
        with pytest.raises(NotFound):
            client.describe()
        service.describe = lambda: None
        assert len(list(client.ingest(indexer_pb2.IngestRequest()))) == 3
    spans = [span for _, span in kept.spans()]
    codes = {(span.kind, a.value.int_value) for span in spans for a in span.attributes if a.key.endswith("status_code")}
    assert codes == {(Span.SPAN_KIND_SERVER, 5), (Span.SPAN_KIND_CLIENT, 5), (Span.SPAN_KIND_SERVER, 0),
                     (Span.SPAN_KIND_CLIENT, 0)}  # fmt: skip
    assert SECRET not in str(kept.requests)


@pytest.mark.parametrize("words", ["eval selection away.jsonl", "models list", "chat --debug", "--help"])
def test_the_span_of_a_command_has_its_name(words: str, collector: tuple[Collector, dict[str, str]]) -> None:
    kept, settings = collector
    command = [str(Path(sys.executable).with_name("xcomp")), *words.split()]
    subprocess.run(command, capture_output=True, env={**os.environ, **settings}, check=False)
    name = "help" if words == "--help" else words.split()[0]
    assert [(service, span.name) for service, span in kept.spans()] == [("xcomp", f"xcomp {name}")]


def test_without_a_collector_a_command_prints_one_warning() -> None:
    gone = "http://127.0.0.1:9"
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": gone, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    command = [str(Path(sys.executable).with_name("xcomp")), "models", "list"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings}, check=True)
    assert done.stdout
    assert done.stderr.splitlines() == [f"warning: the trace was not sent: no collector accepted it at {gone}"]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_kept_only_where_the_environment_says_where_to(environment: dict[str, str], wanted: bool) -> None:
    assert api.wants_traces(environment) is wanted
