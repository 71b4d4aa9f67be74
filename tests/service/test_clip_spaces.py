"""A repository of two real spaces, English and Chinese, over gRPC; the models are tiny, random, and on disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from tests.clip_checkpoints import chinese_clip_folder, open_clip_folder, sample_images
from xcomp_indexer import embed
from xcomp_indexer.images.decode import decode
from xcomp_indexer.ingest.upload_dir import FOLDER, UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.search.ranking import (
    reciprocal_rank,
)
from xcomp_indexer.server.service import IndexerService
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import common_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Conflict, XcompError
from xcomp_protos.server.run import ServerEndpoint, ServiceSpec, start_server

ENGLISH, CHINESE, MIXED = "a red house", "红色的房子", "red house 红房"


@dataclass(frozen=True)
class Clip:
    """Two models on disk, images, and a repository of both."""

    home: Path
    en: Path
    zh: Path
    photos: Path

    @property
    def profile(self) -> str:
        return f"en=open_clip:{self.en},zh=chinese_clip:{self.zh}"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    root = tmp_path_factory.mktemp("clip")
    made = Clip(root / "home", open_clip_folder(root / "en"), chinese_clip_folder(root / "zh"), root / "photos")
    made.photos.mkdir()
    for at, picture in enumerate(sample_images()):
        for turn in range(3):
            picture.rotate(90 * turn, expand=True).save(made.photos / f"{at}-{turn}.png")
    with serving(made) as client:
        summary = ingest(client, made)
    assert (summary.added, summary.failed) == (12, 0)
    return made


@pytest.fixture
def client(clip: Clip) -> Iterator[IndexerClient]:
    with serving(clip) as each:
        yield each


@contextmanager
def serving(clip: Clip) -> Iterator[IndexerClient]:
    library = RepositoryCatalog(open_stores(f"edge:{clip.home}"), EmbedderCache(), default_profile=clip.profile)
    service = IndexerService(library, roots=[Path("/")], upload_dir=UploadDir(clip.home.parent / FOLDER))
    register = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(service, server))
    try:
        with start_server([register], ServerEndpoint("127.0.0.1:0")) as running:
            running.set_health(health_pb2.HealthCheckResponse.SERVING)
            with IndexerClient(running.address) as client:
                yield client
    finally:
        library.close()


def ingest(client: IndexerClient, clip: Clip, *, profile: str = "", repository: str = "both") -> pb.IngestSummary:
    request = pb.IngestRequest(repository=repository, paths=[str(clip.photos)], profile=profile)
    return list(client.ingest(request))[-1].summary


def search(client: IndexerClient, text: str) -> pb.QueryResult:
    query = pb.Query(parts=[pb.QueryPart(text=text)])
    return client.search(pb.SearchRequest(repository="both", queries=[query], k=12)).results[0]


def names(result: pb.QueryResult) -> list[str]:
    return [Path(hit.image.path).name for hit in result.hits]


@pytest.mark.parametrize(("text", "space"), [(ENGLISH, "en"), (CHINESE, "zh")])
def test_a_query_goes_to_the_space_of_its_language(clip: Clip, client: IndexerClient, text: str, space: str) -> None:
    result = search(client, text)
    assert list(result.spaces) == [space]
    embedder = embed.load(f"open_clip:{clip.en}" if space == "en" else f"chinese_clip:{clip.zh}")
    query = embedder.encode_texts([text])[0]
    photographs = {path.name: path for path in clip.photos.iterdir()}
    for hit in result.hits:
        content = photographs[Path(hit.image.path).name].read_bytes()
        picture = decode(content, image_size=embedder.image_size).image
        assert abs(float(embedder.encode_images([picture]).vectors[0] @ query) - hit.score) < 1e-5
    assert list(np.argsort([-hit.score for hit in result.hits])) == list(range(12))


def test_a_mixed_query_is_fused_from_both_spaces(client: IndexerClient) -> None:
    result = search(client, MIXED)
    assert sorted(result.spaces) == ["en", "zh"]
    ranks = {space: {hit.image.id: hit.spaces[space].rank for hit in result.hits} for space in result.spaces}
    orders = {space: sorted(of_space, key=of_space.__getitem__) for space, of_space in ranks.items()}
    assert orders["en"] != orders["zh"]
    assert [hit.image.id for hit in result.hits] == [id_ for id_, _ in reciprocal_rank(orders)]


def test_weights_shift_the_fusion_and_0_leaves_a_space_out(client: IndexerClient) -> None:
    def order(**weights: float) -> tuple[list[str], list[str]]:
        query = pb.Query(parts=[pb.QueryPart(text=MIXED)])
        request = pb.SearchRequest(repository="both", queries=[query], k=12, space_weights=weights)
        result = client.search(request).results[0]
        return sorted(result.spaces), names(result)

    spaces, fused = order()
    assert spaces == ["en", "zh"]
    only = {space: order(**{other: 0.0})[1] for space, other in (("en", "zh"), ("zh", "en"))}
    assert order(zh=0.0)[0] == ["en"]
    assert len({tuple(each) for each in (fused, *only.values())}) == 3
    for space, alone in only.items():
        assert order(**{space: 100.0})[1][0] == alone[0]


def test_the_repository_says_what_its_spaces_are(clip: Clip, client: IndexerClient) -> None:
    described = client.describe("both")
    said = str(described)
    for part in (str(clip.en), str(clip.zh), embed.load(f"chinese_clip:{clip.zh}").digest):
        assert part in said


def test_another_profile_is_a_conflict(clip: Clip, client: IndexerClient) -> None:
    with pytest.raises(Conflict, match="leave --profile out"):
        ingest(client, clip, profile="clip")


def test_a_model_that_is_not_there_makes_no_repository(clip: Clip, client: IndexerClient) -> None:
    with pytest.raises(XcompError, match="xcomp models pull"):
        ingest(client, clip, profile="en=open_clip:hf-hub:missing/none", repository="none")
    assert "none" not in [each.name for each in client.list_repositories()]


def test_changed_weights_are_refused_with_the_way_out(clip: Clip) -> None:
    weights = clip.en / "open_clip_model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes((open_clip_folder(clip.en.parent / "other", seed=1) / weights.name).read_bytes())
    try:
        with serving(clip) as client:
            with pytest.raises(Conflict, match="xcomp repo delete both"):
                search(client, ENGLISH)
            assert search(client, CHINESE).hits  # its model is the same
    finally:
        weights.write_bytes(kept)
    with serving(clip) as client:
        assert search(client, ENGLISH).hits


def answer(client: IndexerClient, text: str, **options: object) -> pb.SearchResponse:
    query = pb.Query(parts=[pb.QueryPart(text=text)])
    request = pb.SearchRequest(repository="both", queries=[query], k=5, **options)  # type: ignore[arg-type]
    return client.search(request)


def test_all_spaces_score_the_hits_of_one_and_change_nothing_else(client: IndexerClient) -> None:
    (alone,) = answer(client, ENGLISH).results
    (result,) = answer(client, ENGLISH, all_spaces=True).results
    (chinese,) = answer(client, ENGLISH, language=common_pb2.LANGUAGE_ZH, only_ids=ids_of(alone)).results
    assert (list(alone.spaces), list(result.spaces)) == (["en"], ["en"])
    in_chinese = {hit.image.id: hit.spaces["zh"] for hit in chinese.hits}
    for before, hit in zip(alone.hits, result.hits, strict=True):
        assert set(hit.spaces) == {"en", "zh"}
        expected = in_chinese[hit.image.id]
        assert hit.spaces["zh"].rank == expected.rank
        assert hit.spaces["zh"].score == pytest.approx(expected.score, abs=1e-5)
        assert hit.spaces["zh"].standout == pytest.approx(expected.standout, abs=1e-3)
        del hit.spaces["zh"]
        assert hit == before


def test_all_spaces_do_not_score_what_the_active_ones_alone_hold(client: IndexerClient) -> None:
    client.switch_spaces(pb.SwitchSpacesRequest(repository="both", spaces=["en"], force=True))
    try:
        (result,) = answer(client, ENGLISH, all_spaces=True).results
    finally:
        client.switch_spaces(pb.SwitchSpacesRequest(repository="both", spaces=["en", "zh"]))
    assert {name for hit in result.hits for name in hit.spaces} == {"en"}


def test_images_are_as_similar_as_in_the_space_that_tells_them_best_apart(client: IndexerClient) -> None:
    both = answer(client, MIXED, min_similarity=0.001)
    ids = ids_of(both.results[0])
    of_space = {}
    for language in (common_pb2.LANGUAGE_EN, common_pb2.LANGUAGE_ZH):
        alone = answer(client, MIXED, language=language, min_similarity=0.001, only_ids=ids)
        of_space[language] = {frozenset((pair.image_id, pair.other_id)): pair.cosine for pair in alone.similarities}
    assert both.similarities
    for pair in both.similarities:
        lowest = min(each[frozenset((pair.image_id, pair.other_id))] for each in of_space.values())
        assert pair.cosine == pytest.approx(lowest, abs=1e-5)


def ids_of(result: pb.QueryResult) -> list[str]:
    return [hit.image.id for hit in result.hits]
