"""Search over gRPC: texts, images, ids and their sums; filters, exclusions, diversity, terms; and what is refused."""

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import images
from tests.indexing import Indexer, serving
from tests.nearness import assert_alike
from xcomp_indexer.search.retrieve import SPARE
from xcomp_protos import common_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Conflict, Denied, Exhausted, InvalidRequest, NotFound

COLORS = {
    "red.jpg": images.RED,
    "trips/green.jpg": images.GREEN,
    "trips/2024/blue.jpg": images.BLUE,
    "yellow.jpg": images.YELLOW,
}


@pytest.fixture
def library(indexer: Indexer, photos: Path) -> Indexer:
    """An indexer that holds one image per colour."""
    images.library(photos, COLORS)
    indexer.ingest(photos)
    return indexer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexer]:
    """The same for tests that only ask."""
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder / "home") as indexer:
        indexer.ingest(images.library(folder / "photos", COLORS))
        yield indexer


def text(words: str, weight: float = 1.0) -> pb.QueryPart:
    return pb.QueryPart(text=words, weight=weight)


@pytest.mark.parametrize(("query", "name"), [("a red door", "red.jpg"), ("蓝天", "blue.jpg"), ("yellow", "yellow.jpg")])
def test_a_text_finds_its_image(shared: Indexer, query: str, name: str) -> None:
    assert shared.search(query)[0] == name


def test_a_hit_says_what_it_is_and_how_sure(shared: Indexer) -> None:
    answer = shared.hits("红色", k=2)
    assert (answer.language, list(answer.spaces)) == (common_pb2.LANGUAGE_ZH, ["color"])
    first, second = answer.hits
    assert (first.rank, second.rank) == (1, 2)
    assert first.image.repository == "default"
    assert first.score == pytest.approx(1, abs=0.05)
    assert first.score > second.score
    assert first.spaces["color"].rank == 1
    assert first.spaces["color"].score == first.score
    assert first.standout == first.spaces["color"].standout > second.standout
    assert 0 <= second.confidence <= first.confidence <= 1


def test_searches_at_once_find_what_each_finds_alone(shared: Indexer) -> None:
    texts = ("red", "a blue sky", "绿色", "yellow", "red")
    conditions: list[dict[str, Any]] = [
        {},
        {"k": 1},
        {"where": ["path:trips/**"]},
        {"exclude_ids": [shared.images()["red.jpg"]]},
        {"allow_restricted": True},
        {"diversity": 0.5},
        {"collapse": 0.9},
        {"min_confidence": 0.9},
    ]
    asked = [(f"{text} {at}", each) for at, text in enumerate(texts) for each in conditions]
    alone = [shared.hits(text, **each) for text, each in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: shared.hits(one[0], **one[1]), asked))
    for found, expected in zip(together, alone, strict=True):
        assert_alike(found, expected)


def test_an_image_finds_similar_ones(shared: Indexer) -> None:
    answer = shared.hits(pb.QueryPart(image=images.jpeg(images.GREEN, (30, 30))))
    assert Path(answer.hits[0].image.path).name == "green.jpg"
    assert answer.language == common_pb2.LANGUAGE_ALL


def test_a_known_image_finds_itself_by_id(shared: Indexer) -> None:
    image_id = shared.images()["blue.jpg"]
    assert shared.search(pb.QueryPart(image_id=image_id), k=1) == ["blue.jpg"]
    assert "blue.jpg" not in shared.search(pb.QueryPart(image_id=image_id), exclude_ids=[image_id])


def test_parts_add_up_and_negative_ones_push_away(library: Indexer, photos: Path) -> None:
    both = images.striped(images.RED, images.BLUE)
    (photos / "both.jpg").write_bytes(images.encoded(both))
    library.ingest(photos)
    assert library.search("red", pb.QueryPart(image=images.jpeg(images.BLUE)), k=1) == ["both.jpg"]
    assert library.search(text("red"), text("blue", 0.1), k=1) == ["red.jpg"]
    ranking = library.search(text("red"), text("blue", -1))
    assert ranking[0] == "red.jpg"
    assert ranking[-1] == "blue.jpg"


def test_a_batch_is_answered_in_the_order_of_its_queries(shared: Indexer) -> None:
    queries = [pb.Query(parts=[text(words)]) for words in ("blue", "red", "绿")]
    results = shared.client.search(pb.SearchRequest(repository="default", queries=queries, k=1)).results
    assert [Path(each.hits[0].image.path).name for each in results] == ["blue.jpg", "red.jpg", "green.jpg"]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["path:trips/**"], {"green.jpg", "blue.jpg"}),
        (["path:trips/*.jpg"], {"green.jpg"}),
        (["width>=96", "height<66"], {"red.jpg", "green.jpg"}),
        (["not path:trips/** and height=67"], {"yellow.jpg"}),
        (["orientation=landscape"], {"red.jpg", "green.jpg", "blue.jpg", "yellow.jpg"}),
        (["orientation=portrait"], set()),
        (["tag=nothing"], set()),
    ],
)
def test_filters_hold_all_at_once(shared: Indexer, where: list[str], names: set[str]) -> None:
    assert set(shared.search("red", where=where)) == names


def test_results_can_be_limited_to_ids(shared: Indexer) -> None:
    ids = shared.images()
    assert set(shared.search("red", only_ids=[ids["blue.jpg"], ids["green.jpg"]])) == {"blue.jpg", "green.jpg"}
    assert shared.search("red", only_ids=["no-id"]) == []
    assert len(shared.search("red", exclude_ids=["no-id", ids["red.jpg"]])) == 3


def test_pairs_of_similar_images_are_listed_once_most_similar_first(library: Indexer, photos: Path) -> None:
    (photos / "rose.jpg").write_bytes(images.jpeg((250, 10, 10)))
    library.ingest(photos)
    names = {image_id: name for name, image_id in library.images().items()}
    queries = [pb.Query(parts=[text(words)]) for words in ("red", "blue")]
    request = pb.SearchRequest(repository="default", queries=queries, k=5, min_similarity=0.0001)
    pairs = library.client.search(request).similarities
    assert {names[pairs[0].image_id], names[pairs[0].other_id]} == {"red.jpg", "rose.jpg"}
    assert len({frozenset((pair.image_id, pair.other_id)) for pair in pairs}) == len(pairs)
    assert [pair.cosine for pair in pairs] == sorted((pair.cosine for pair in pairs), reverse=True)
    by_id = library.hits(pb.QueryPart(image_id=pairs[0].image_id), exclude_ids=[pairs[0].image_id]).hits[0]
    assert by_id.image.id == pairs[0].other_id
    assert by_id.score == pytest.approx(pairs[0].cosine, abs=1e-5)
    request.min_similarity = 0
    assert not library.client.search(request).similarities


def test_hits_are_compared_with_further_images_that_may_be_offered(library: Indexer, photos: Path) -> None:
    for name in ("rose.jpg", "secret.jpg"):
        (photos / name).write_bytes(images.jpeg((250, 10, 10)))
    (photos / "secret.jpg.json").write_text(json.dumps({"internal": True}))
    library.ingest(photos)
    ids = library.images()
    further = {"compare_ids": [ids["rose.jpg"], ids["secret.jpg"], "no-id"]}
    request = pb.SearchRequest(
        repository="default", queries=[pb.Query(parts=[text("red")])], k=1, only_ids=[ids["red.jpg"]],
        min_similarity=0.5, **further,  # type: ignore[arg-type]
    )  # fmt: skip
    (pair,) = library.client.search(request).similarities
    assert {pair.image_id, pair.other_id} == {ids["red.jpg"], ids["rose.jpg"]}


def test_the_vectors_of_queries_are_those_that_embed_returns(shared: Indexer) -> None:
    vectors = shared.hits("a red door", query_vectors=True).vectors
    embedded = shared.client.embed(pb.EmbedRequest(repository="default", inputs=[pb.EmbedInput(text="a red door")]))
    assert list(vectors) == ["color"]
    assert list(vectors["color"].values) == pytest.approx(list(embedded.vectors[0].values), abs=1e-6)
    assert not shared.hits("a red door").vectors


def test_restricted_expired_and_embargoed_images_are_never_found_unasked(library: Indexer, photos: Path) -> None:
    terms = {
        "red.jpg": {"internal": True},
        "yellow.jpg": {"expires": "2020-01-01"},
        "trips/green.jpg": {"embargo": "2999-01-01T00:00:00+08:00"},
        "trips/2024/blue.jpg": {"expires": "2999-01-01", "embargo": "2020-01-01", "internal": False},
    }
    for name, values in terms.items():
        (photos / f"{name}.json").write_text(json.dumps(values))
    library.ingest(photos)
    ids = library.images()
    assert library.search("red") == ["blue.jpg"]
    assert library.search("red", only_ids=list(ids.values())) == ["blue.jpg"]
    with pytest.raises(Denied, match="is internal, expired or under embargo"):  # what it looks like is not told either
        library.search(pb.QueryPart(image_id=ids["red.jpg"]))
    assert library.search("red", diversity=0.5) == ["blue.jpg"]
    listed = library.client.list_images(pb.ListRequest(repository="default")).images
    assert [Path(image.path).name for image in listed] == ["blue.jpg"]
    assert library.search("red", allow_restricted=True)[0] == "red.jpg"


def test_many_restricted_images_before_the_others_cost_no_hit(library: Indexer, photos: Path) -> None:
    images.library(photos, {f"secret{at}.jpg": images.RED for at in range(2 * SPARE)})
    for file in photos.glob("secret*.jpg"):
        file.with_name(f"{file.name}.json").write_text('{"internal": true}')
    library.ingest(photos)
    assert library.search("red", k=2)[0] == "red.jpg"
    assert set(library.search("red", k=100)) == {"red.jpg", "green.jpg", "blue.jpg", "yellow.jpg"}
    both = [pb.Query(parts=[text("red")]), pb.Query(parts=[text("blue")])]
    results = library.client.search(pb.SearchRequest(repository="default", queries=both, k=1)).results
    assert [Path(each.hits[0].image.path).name for each in results] == ["red.jpg", "blue.jpg"]


def test_the_next_best_stand_in_for_what_may_not_be_offered(library: Indexer, photos: Path) -> None:
    images.library(photos, {f"red{at}.jpg": (220 - at, 20, 20) for at in range(8)})
    library.ingest(photos)
    expected = library.hits("red", k=9, allow_restricted=True).hits
    hidden = {hit.image.id for hit in (expected[0], expected[2])}
    for hit in (expected[0], expected[2]):
        Path(f"{hit.image.path}.json").write_text('{"internal": true}')
    library.ingest(photos)
    hits = library.hits("red", k=3).hits
    allowed = [hit for hit in expected if hit.image.id not in hidden]
    assert [hit.image.id for hit in hits] == [hit.image.id for hit in allowed[:3]]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in allowed[:3]], abs=1e-6)
    assert all(Path(hit.image.path).is_file() for hit in hits)


def test_diversity_puts_near_copies_behind(library: Indexer, photos: Path) -> None:
    images.library(photos, {f"red{at}.jpg": (220 - at, 20, 20) for at in range(5)})
    library.ingest(photos)
    assert all(name.startswith("red") for name in library.search("red", k=3))
    assert [name.startswith("red") for name in library.search("red", k=3, diversity=0.7)] == [True, False, False]
    assert len(set(library.search("red", k=50, diversity=1.0))) == 9


def test_near_copies_are_folded_into_the_best_one(library: Indexer, photos: Path) -> None:
    images.library(photos, {f"red{at}.jpg": (220 - at, 20, 20) for at in range(5)})
    images.library(photos, {"copy.jpg": images.BLUE})
    library.ingest(photos)
    assert len(library.search("red", k=20)) == 10
    answer = library.hits("red", k=3, collapse=0.99)
    assert next(Path(hit.image.path).name[:3] for hit in answer.hits) == "red"
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    assert answer.hits[0].folded == 5
    everything = library.hits("red", k=20, collapse=0.99).hits
    assert sorted(hit.folded for hit in everything) == [0, 0, 1, 5]
    assert len(everything) + sum(hit.folded for hit in everything) == 10
    assert next(hit.folded for hit in library.hits("red", k=2, collapse=0.99, diversity=0.5).hits) == 5


def test_folding_looks_further_where_copies_fill_the_first_candidates(
    library: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcomp_indexer.search.query.POOL", 4)
    images.library(photos, {f"red{at}.jpg": (220, 20, 20) for at in range(20)})
    library.ingest(photos)
    answer = library.hits("red", k=2, collapse=1.0)
    assert len(answer.hits) == 2
    assert answer.hits[0].folded >= 20


def test_what_is_less_sure_than_asked_for_is_left_out(shared: Indexer) -> None:
    hits = shared.hits("red", k=4).hits
    least = max(hit.confidence for hit in hits)
    kept = shared.hits("red", k=4, min_confidence=least)
    assert {hit.confidence for hit in kept.hits} == {least}
    assert 0 < kept.best_confidence == least
    idle = shared.hits("the committee agreed", k=4, min_confidence=1.0)
    assert list(idle.hits) == []
    assert idle.best_confidence < 1
    assert list(shared.hits("red", k=4, min_confidence=1.0, collapse=0.9, diversity=0.5, where=["tag=x"]).hits) == []


@pytest.mark.parametrize("k", [1, 3, 1000])
def test_k_bounds_the_hits(shared: Indexer, k: int) -> None:
    assert len(shared.search("red", k=k)) == min(k, 4)


def test_an_empty_repository_finds_nothing(indexer: Indexer) -> None:
    indexer.client.create_repository(pb.CreateRepositoryRequest(name="default"))
    assert indexer.search("red") == []
    assert indexer.search("red", diversity=0.5) == []


@pytest.mark.parametrize(
    "query", ["x" * 10_000, "港口 " * 5000, "\x00\x1b[2J", "<|im_start|>system", "'; DROP TABLE", "🙂"]
)
def test_any_text_is_a_query(shared: Indexer, query: str) -> None:
    assert len(shared.search(query)) == 4


PNG_BOMB = images.bomb()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": 0}, "k: must be 1 to 1000, not 0"),
        ({"k": 1001}, "k: must be 1 to 1000"),
        ({"queries": []}, "queries: send 1 to 256"),
        ({"queries": [pb.Query()]}, "queries: a query has no part"),
        ({"queries": [pb.Query(parts=[text("a")])] * 257}, "queries: send 1 to 256"),
        ({"queries": [pb.Query(parts=[pb.QueryPart()])]}, "queries: a part is empty"),
        ({"queries": [pb.Query(parts=[pb.QueryPart(image=b"")])]}, "queries: a part is empty"),
        ({"queries": [pb.Query(parts=[text("")])]}, "query: is empty"),
        ({"queries": [pb.Query(parts=[text(" \n\t")])]}, "query: is empty"),
        ({"queries": [pb.Query(parts=[text("x" * 100_001)])]}, "query: has 100001 characters"),
        ({"queries": [pb.Query(parts=[text("a", 101)])]}, "weight: must be -100 to 100"),
        ({"queries": [pb.Query(parts=[text("a", math.nan)])]}, "weight: must be"),
        ({"queries": [pb.Query(parts=[text("red"), text("red", -1)])]}, "queries: the parts .* cancel"),
        ({"queries": [pb.Query(parts=[text("red", 0)])]}, "queries: the parts .* cancel"),
        ({"queries": [pb.Query(parts=[pb.QueryPart(image=b"text")])]}, "queries: an image cannot be used"),
        (
            {"queries": [pb.Query(parts=[pb.QueryPart(image=PNG_BOMB)])]},
            "queries: an image cannot be used: 30000x30000",
        ),
        ({"diversity": -0.1}, "diversity: must be 0 to 1"),
        ({"diversity": math.nan}, "diversity: must be 0 to 1"),
        ({"collapse": 1.1}, "collapse: must be 0 to 1"),
        ({"min_confidence": math.nan}, "min_confidence: must be 0 to 1"),
        ({"space_weights": {"color": -1.0}}, "space_weights: that of 'color' must be"),
        ({"space_weights": {"color": 0.0}}, "space_weights: no space is left"),
        ({"min_similarity": 1.1}, "min_similarity: must be 0 to 1"),
        ({"language": 9}, "language: 9 is not a value"),
        ({"where": ["nonsense"]}, "where 'nonsense'"),
        ({"where": ["(" * 5000]}, "where: an expression is longer"),
        ({"repository": "../x"}, "repository '../x' is not a valid name"),
        ({"repository": ""}, "repository '' is not a valid name"),
        ({"profile": "sepia"}, "profile 'sepia' is unknown"),
    ],
)
def test_bad_input_is_refused_with_the_name_of_the_field(
    shared: Indexer, changes: dict[str, object], says: str
) -> None:
    values: dict[str, object] = {"repository": "default", "queries": [pb.Query(parts=[text("red")])], "k": 3, **changes}
    with pytest.raises(InvalidRequest, match=says):
        shared.client.search(pb.SearchRequest(**values))  # type: ignore[arg-type]


def test_an_unknown_repository_image_or_space_is_not_found(shared: Indexer) -> None:
    with pytest.raises(NotFound, match="no repository 'nope'"):
        shared.client.search(pb.SearchRequest(repository="nope", queries=[pb.Query(parts=[text("a")])], k=1))
    for image_id in ("nonsense", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(NotFound, match=f"image_id: .*{image_id}"):
            shared.search(pb.QueryPart(image_id=image_id))
    with pytest.raises(NotFound, match="space_weights: there is no space 'smell' in 'default': it has color"):
        shared.hits("red", space_weights={"smell": 2.0})


def test_another_profile_than_the_recorded_one_is_a_conflict(shared: Indexer) -> None:
    with pytest.raises(Conflict, match="made with profile 'color'"):
        shared.hits("red", profile="lite")


def test_an_answer_that_does_not_fit_into_a_message_says_what_to_do(library: Indexer, photos: Path) -> None:
    values = json.dumps({f"key{at}": "x" * 3900 for at in range(60)})
    for name in COLORS:
        (photos / f"{name}.json").write_text(values)
    library.ingest(photos)
    assert len(library.search("red", k=4)) == 4
    queries = [pb.Query(parts=[text("red")])] * 6
    with pytest.raises(Exhausted, match=r"^k: .*ask for fewer"):
        library.client.search(pb.SearchRequest(repository="default", queries=queries, k=4))
    pages, token = 0, ""
    while not pages or token:  # each of these images is a quarter of a megabyte
        page = library.client.list_images(pb.ListRequest(repository="default", page_size=1000, page_token=token))
        token, pages = page.next_page_token, pages + 1
    assert pages == 1


def test_queries_are_embedded_into_a_space_of_the_callers_choice(shared: Indexer) -> None:
    inputs = [pb.EmbedInput(text="red"), pb.EmbedInput(text="蓝")]
    answer = shared.client.embed(pb.EmbedRequest(repository="default", inputs=inputs))
    assert (answer.space, answer.model, len(answer.digest)) == ("color", "color:hsv", 64)
    assert [math.hypot(*vector.values) for vector in answer.vectors] == pytest.approx([1, 1], abs=1e-6)
    inputs = [pb.EmbedInput(image=images.jpeg(images.BLUE))]
    shown = shared.client.embed(pb.EmbedRequest(repository="default", space="color", inputs=inputs)).vectors[0]
    assert shown.values[5] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([], "inputs: send 1 to 1024"),
        ([pb.EmbedInput(text="a")] * 1025, "inputs: send 1 to 1024"),
        ([pb.EmbedInput(text=" ")], "inputs: is empty"),
        ([pb.EmbedInput()], "inputs: send texts or images"),
        ([pb.EmbedInput(text="a"), pb.EmbedInput(image=b"b")], "inputs: send texts or images"),
        ([pb.EmbedInput(image=b"text")], "inputs: an image cannot be used"),
    ],
)
def test_bad_inputs_are_refused(shared: Indexer, inputs: list[pb.EmbedInput], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        shared.client.embed(pb.EmbedRequest(repository="default", inputs=inputs))


def test_an_unknown_space_is_not_found(shared: Indexer) -> None:
    request = pb.EmbedRequest(repository="default", space="smell", inputs=[pb.EmbedInput(text="a")])
    with pytest.raises(NotFound, match=r"no space 'smell' .* it has color"):
        shared.client.embed(request)


def test_the_same_search_gives_the_same_answer_after_a_restart(home: Path, photos: Path) -> None:
    images.library(photos, COLORS)
    answers = []
    for _ in range(2):
        with serving(home) as indexer:
            indexer.ingest(photos)
            answers.append(indexer.hits("green", k=4))
    assert answers[0] == answers[1]
