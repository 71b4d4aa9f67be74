"""The metrics that Prometheus scrapes, from real servers at work."""

import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest

from tests import images, toy_indexer
from tests.indexing import Indexer
from tests.service.test_composer_service import TOY, illustrated, serving
from tests.toy_indexer import ToyIndexer
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import composer_pb2_grpc as crpc
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import InvalidRequest, NotFound, Unavailable
from xcomp_protos.telemetry import api, metrics

SECRET = "a zeppelin over the harbour"


class Scraped:
    """The samples of one scrape, by name with labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        self.samples = {name: float(value) for name, _, value in lines}

    def __getitem__(self, name: str) -> float:
        return self.samples.get(name, 0.0)


@contextmanager
def keep_metrics(**readings: float) -> Iterator[str]:
    """Keeps metrics of this process while the body runs; yields their address."""
    with ExitStack() as stack:
        kept = metrics.Metrics({name: ("a level", partial(float, value)) for name, value in readings.items()})
        stack.enter_context(api.use_recorder(kept))
        yield stack.enter_context(metrics.serve_metrics(kept, "127.0.0.1:0"))


def scrape(address: str) -> Scraped:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        return Scraped(response.read().decode())


def test_an_indexer_counts_calls_stages_images_and_failures(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED, "blue.jpg": images.BLUE})
    (photos / "again.jpg").write_bytes((photos / "red.jpg").read_bytes())
    (photos / "broken.jpg").write_bytes(b"not an image")
    with keep_metrics() as address:
        indexer.ingest(photos)
        indexer.search("red")
        indexer.search("blue")
        with pytest.raises(NotFound):
            indexer.client.fetch(pb.FetchRequest(repository="default", image_id="none"))
        seen = scrape(address)
    assert seen['xcomp_requests_total{method="Search",status="OK"}'] == 2
    assert seen['xcomp_requests_total{method="Fetch",status="NOT_FOUND"}'] == 1
    assert seen['xcomp_failures_total{class="NotFound"}'] == 1
    assert seen["xcomp_images_total"] == 2
    assert seen['xcomp_image_failures_total{reason="not_an_image"}'] == 1
    assert seen['xcomp_request_seconds_count{method="Search"}'] == 2
    for stage, least in (("decode", 4), ("embed.color", 3), ("store", 3), ("fuse", 2)):
        assert seen[f'xcomp_stage_seconds_count{{stage="{stage}"}}'] >= least, stage
    assert seen['xcomp_batch_size_sum{kind="images"}'] == 2
    assert seen['xcomp_cache_lookups_total{cache="calibration",outcome="miss"}'] == 1
    assert seen['xcomp_cache_lookups_total{cache="calibration",outcome="hit"}'] == 1
    assert seen["xcomp_active_calls"] == 0


def test_a_composer_counts_stages_images_and_abstentions() -> None:
    with toy_indexer.serving(ToyIndexer()) as toy, serving(toy) as composer, keep_metrics() as address:
        article = illustrated(composer)
        illustrated(composer, "Honesty is more important than success.", images=1)
        request = cpb.ComposeRequest(instruction="Write.", options=cpb.Options(repository="toy", model="echo"))
        list(composer.compose(request))
        seen = scrape(address)
    assert seen["xcomp_illustrations_total"] >= len(list(article.illustrations)) > 0
    assert seen["xcomp_abstentions_total"] >= 1
    assert seen["xcomp_tokens_total"] > 0
    for stage in ("retrieve", "choose", "write"):
        assert seen[f'xcomp_stage_seconds_count{{stage="{stage}"}}'] >= 1, stage
    assert seen['xcomp_requests_total{method="Illustrate",status="OK"}'] == 2


def test_no_text_of_a_user_reaches_a_metric(indexer: Indexer) -> None:
    with toy_indexer.serving(ToyIndexer()) as toy, serving(toy) as composer, keep_metrics() as address:
        for repository in (SECRET, "zeppelin"):
            with pytest.raises((InvalidRequest, NotFound)):
                indexer.client.search(
                    pb.SearchRequest(repository=repository, queries=[pb.Query(parts=[pb.QueryPart(text=SECRET)])], k=3)
                )
        profile = "zeppelin=color:hsv"
        indexer.client.create_repository(pb.CreateRepositoryRequest(name="spelled", profile=profile))
        indexer.client.embed(pb.EmbedRequest(repository="spelled", inputs=[pb.EmbedInput(text="red")]))
        list(composer.illustrate(cpb.IllustrateRequest(text=SECRET, options=TOY)))
        seen = scrape(address)
    assert "zeppelin" not in seen.text
    assert seen['xcomp_stage_seconds_count{stage="embed.other"}'] >= 1


def test_the_composer_passes_its_request_id_to_the_indexer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    request = cpb.IllustrateRequest(text="A red motorcycle in the garage.", options=TOY)
    with ExitStack() as stack:
        composer = stack.enter_context(serving(stack.enter_context(toy_indexer.serving(ToyIndexer()))))
        channel = stack.enter_context(grpc.insecure_channel(composer.address))
        list(crpc.ComposerStub(channel).Illustrate(request, metadata=(("x-request-id", "one-word"),)))
    named = {line.split()[0] for line in caplog.messages if line.endswith("request=one-word")}
    assert named == {"method=Illustrate", "method=Describe", "method=Search", "method=Embed"}


def test_memory_and_models_are_read_at_the_scrape() -> None:
    with keep_metrics(models_loaded=2.0) as address:
        seen = scrape(address)
    assert seen["xcomp_models_loaded"] == 2
    assert seen["process_resident_memory_bytes"] > 10_000_000
    assert seen["process_open_fds"] > 0
    assert "# TYPE xcomp_gpu_memory_bytes gauge" in seen.text


def test_every_metric_has_a_help_and_is_on_the_operations_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    with keep_metrics(models_loaded=0) as address:
        names = set(re.findall(r"# HELP (xcomp_\w+) \w", scrape(address).text))
    assert len(names) >= 14
    assert {name for name in names if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "192.0.2.1:0"])
def test_an_address_that_cannot_be_bound_is_named(listen: str) -> None:
    with pytest.raises(Unavailable, match="--metrics-listen"), metrics.serve_metrics(metrics.Metrics({}), listen):
        pass


def test_a_server_without_the_flag_has_no_metrics_port(indexer: Indexer) -> None:
    assert api._recorders == []
    with IndexerClient(indexer.address) as client:
        assert client.healthy()
