"""One suite for every store: embedded, in memory, over both wire protocols, and a real server where one is named."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.shim import Shim
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.search.filter_parser import parse
from xcomp_indexer.store import (
    INDEXES,
    And,
    Filter,
    Ids,
    InSpace,
    Match,
    Missing,
    Not,
    Or,
    Point,
    Range,
    Store,
    Stores,
    VectorQuery,
)
from xcomp_indexer.store.edge.stores import EdgeStores
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound

SERVERS = os.environ.get("XCOMP_TEST_QDRANT_URL", "").split()  # addresses, one for each protocol to be tried


@pytest.fixture(params=["edge", "edge-indexed", "memory", "shim-rest", "shim-grpc", *SERVERS])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    with ExitStack() as stack:
        indexes = {key: INDEXES[key] for key in ("tags", "width", "date", "folder", "gps.lat")}
        if request.param in ("shim-rest", "shim-grpc"):
            address = stack.enter_context(Shim("http" if request.param == "shim-rest" else "grpc")).address
            opened = open_stores(address, indexes=indexes)
        elif request.param == "edge-indexed":  # from the first point on, unlike others so small
            opened = EdgeStores(tmp_path, indexes=indexes, index_from=0)
        else:
            address = {"edge": f"edge:{tmp_path}", "memory": "memory:"}.get(request.param, request.param)
            opened = open_stores(address, api_key=os.environ.get("XCOMP_TEST_QDRANT_KEY"), indexes=indexes)
        stack.callback(opened.close)
        yield opened


@pytest.fixture
def name(stores: Stores) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    yield name
    if stores.exists(name):
        stores.drop(name)


@pytest.fixture
def store(stores: Stores, name: str) -> Iterator[Store]:
    store = stores.create(name, {"en": 4, "zh": 3})
    yield store
    store.close()


def an_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def toward(*values: float) -> NDArray[np.float32]:
    vector = np.asarray(values, np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def point(number: int, vector: NDArray[np.float32] | None = None, **payload: object) -> Point:
    vectors = {"en": toward(1, number, 0, 0) if vector is None else vector}
    return Point(an_id(number), vectors, payload)


def numbers(store: Store, where: Filter | None = None) -> list[int]:
    return [uuid.UUID(found.id).int for found in store.scan(where=where)]


@pytest.mark.skipif(not SERVERS, reason="XCOMP_TEST_QDRANT_URL names no Qdrant server: the suite ran without one")
def test_a_real_server_takes_part() -> None:
    for address in SERVERS:
        stores = open_stores(address, api_key=os.environ.get("XCOMP_TEST_QDRANT_KEY"))
        assert isinstance(stores.names(), list)
        stores.close()


def is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except InvalidRequest as error:
        return "\n" not in str(error)
    return False


def test_a_created_repository_is_listed_and_a_dropped_one_is_gone(stores: Stores, name: str) -> None:
    assert not stores.exists(name)
    stores.create(name, {"en": 4}).close()
    assert stores.exists(name)
    assert name in stores.names()
    stores.drop(name)
    assert not stores.exists(name)
    assert name not in stores.names()


def test_creating_what_exists_and_opening_or_dropping_what_does_not_is_refused(stores: Stores, name: str) -> None:
    stores.create(name, {"en": 4}).close()
    with pytest.raises(Conflict, match="exists already"):
        stores.create(name, {"en": 4})
    with pytest.raises(NotFound, match="no repository 'nowhere'"):
        stores.open("nowhere")
    with pytest.raises(NotFound, match="no repository 'nowhere'"):
        stores.drop("nowhere")


@pytest.mark.parametrize("bad", ["", ".", "..", ".hidden", "a/b", "a b", "a\0", "x" * 65, "../up"])
def test_a_name_that_is_no_name_is_refused(stores: Stores, bad: str) -> None:
    for act in (stores.exists, stores.open, stores.drop, lambda name: stores.create(name, {"en": 4})):
        with pytest.raises(InvalidRequest, match="repository name"):
            act(bad)


@pytest.mark.parametrize("spaces", [{}, {"en": 0}, {"en": 65537}, {"e n": 4}])
def test_a_repository_needs_proper_spaces(stores: Stores, name: str, spaces: Mapping[str, int]) -> None:
    with pytest.raises(InvalidRequest, match="space"):
        stores.create(name, spaces)
    assert not stores.exists(name)


def test_a_reopened_repository_holds_what_was_written(stores: Stores, name: str) -> None:
    store = stores.create(name, {"en": 4})
    store.upsert([point(1, title="海港")])
    store.add_space("zh", 3)
    store.set_meta({"profile": "lite"})
    store.close()
    store = stores.open(name)
    assert store.get([an_id(1)])[0].payload == {"title": "海港"}
    assert store.spaces() == {"en": 4, "zh": 3}
    assert store.meta() == {"profile": "lite"}
    store.close()


def test_a_repository_may_have_a_chinese_name(stores: Stores) -> None:
    name = f"照片-{uuid.uuid4().hex}"
    store = stores.create(name, {"en": 4})
    store.upsert([point(1)])
    assert name in stores.names()
    store.close()
    stores.drop(name)


def test_upsert_replaces_the_whole_point(store: Store) -> None:
    store.upsert([Point(an_id(1), {"en": toward(1, 0, 0, 0), "zh": toward(1, 0, 0)}, {"a": 1, "b": 2})])
    store.upsert([point(1, toward(0, 1, 0, 0), a=3)])
    (found,) = store.get([an_id(1)], vectors=True)
    assert found.payload == {"a": 3}
    assert set(found.vectors) == {"en"}
    np.testing.assert_allclose(found.vectors["en"], [0, 1, 0, 0], atol=1e-6)


BAD = {
    "wrong width": Point(an_id(9), {"en": toward(1, 0, 0)}, {}),
    "matrix": Point(an_id(9), {"en": np.ones((1, 4), np.float32)}, {}),
    "unknown space": Point(an_id(9), {"fr": toward(1, 0, 0)}, {}),
    "no unit length": Point(an_id(9), {"en": np.ones(4, np.float32)}, {}),
    "not a number": Point(an_id(9), {"en": np.full(4, np.nan, np.float32)}, {}),
    "zero": Point(an_id(9), {"en": np.zeros(4, np.float32)}, {}),
    "id twice": point(1),
    "no id": Point("photo-9", {"en": toward(1, 0, 0, 0)}, {}),
    "id in capitals": Point("ABCDEF00-0000-0000-0000-000000000000", {"en": toward(1, 0, 0, 0)}, {}),
    "boolean": point(9, flag=True),
    "nested boolean": point(9, metadata={"list": [{"flag": False}]}),
    "endless": point(9, metadata={"x": float("inf")}),
    "wide integer": point(9, size=2**63),
    "object": point(9, path=Path("/a")),
    "half a character": point(9, path="/a/\udcff.jpg"),
    "key of a number": point(9, metadata={1: "x"}),
}


def test_one_bad_point_refuses_the_batch_and_writes_nothing(store: Store) -> None:
    assert [kind for kind, bad in BAD.items() if not is_refused(partial(store.upsert, [point(1), bad, point(2)]))] == []
    assert store.count() == 0


def test_nulls_are_left_out(store: Store) -> None:
    store.upsert([point(1, a=None, metadata={"b": None, "c": 1, "d": [None]})])
    assert store.get([an_id(1)])[0].payload == {"metadata": {"c": 1, "d": [None]}}


def test_payload_values_come_back_as_they_went_in(store: Store) -> None:
    payload: dict[str, object] = {
        "size": 2**62 + 1, "mtime_ns": -(2**63), "score": 0.1, "date": "2024-01-31T00:00:00Z", "empty": [], "text": "",
        "metadata": {"a.b": "点", "quote\"": "\x1b[31m", "deep": {"list": [1, "two", 3.5, {"x": 0}]}},
    }  # fmt: skip
    store.upsert([Point(an_id(1), {"en": toward(1, 0, 0, 0)}, payload)])
    assert store.get([an_id(1)])[0].payload == payload
    assert next(store.scan()).payload == payload
    assert store.near([VectorQuery("en", toward(1, 0, 0, 0), 1)])[0][0].payload == payload


def test_set_payload_overwrites_and_removes_single_keys(store: Store) -> None:
    store.upsert([point(1, a=1, b={"x": 1, "y": 2}, c=3), point(2, a=1)])
    store.set_payload([an_id(1), an_id(7), "unknown"], {"b": {"z": 0}, "c": None, "d": ["new"]})
    assert [found.payload for found in store.scan()] == [{"a": 1, "b": {"z": 0}, "d": ["new"]}, {"a": 1}]
    assert store.near([VectorQuery("en", toward(1, 1, 0, 0), 1)])[0][0].id == an_id(1)
    with pytest.raises(InvalidRequest):
        store.set_payload([an_id(1)], {"flag": True})


def test_set_vectors_leaves_the_other_space_and_unknown_points_alone(store: Store) -> None:
    store.upsert([point(1, a=1), point(2)])
    store.set_vectors("zh", {an_id(1): toward(1, 0, 0), an_id(7): toward(0, 1, 0)})
    assert numbers(store) == [1, 2]
    assert numbers(store, InSpace("zh")) == [1]
    (found,) = store.get([an_id(1)], vectors=True)
    assert found.payload == {"a": 1}
    np.testing.assert_allclose(found.vectors["en"], toward(1, 1, 0, 0), atol=1e-6)
    with pytest.raises(InvalidRequest):
        store.set_vectors("zh", {an_id(2): np.ones(3, np.float32)})


def test_delete_ignores_the_unknown(store: Store) -> None:
    store.upsert([point(1), point(2)])
    store.delete([an_id(1), an_id(7), "unknown"])
    assert numbers(store) == [2]
    store.delete([])


def test_near_returns_the_best_first(store: Store) -> None:
    store.upsert([point(number) for number in range(5)])
    (hits,) = store.near([VectorQuery("en", toward(1, 0, 0, 0), 3)])
    assert [hit.id for hit in hits] == [an_id(0), an_id(1), an_id(2)]
    assert [hit.score for hit in hits] == pytest.approx([1, 2**-0.5, 5**-0.5], abs=1e-6)


def test_copies_of_an_image_are_paged_by_id_without_gap_or_repetition(store: Store) -> None:
    store.upsert([point(number, toward(1, 2, 3, 4)) for number in range(70, 0, -1)] + [point(99, toward(1, 2, 3, 5))])
    pages = [VectorQuery("en", toward(1, 2, 3, 4), 10, offset=start) for start in range(0, 80, 10)]
    hits = [hit for page in store.near(pages) for hit in page]
    assert [hit.id for hit in hits] == [an_id(number) for number in [*range(1, 71), 99]]


def test_near_leaves_equal_scores_to_chance_where_that_will_do(store: Store) -> None:
    store.upsert([point(number, toward(1, 2, 3, 4)) for number in range(70)] + [point(99, toward(1, 2, 3, 5))])
    (hits,) = store.near([VectorQuery("en", toward(1, 2, 3, 4), 3, stable_order=False)])
    assert [hit.score for hit in hits] == pytest.approx([1, 1, 1], abs=1e-6)
    assert len({hit.id for hit in hits} - {an_id(99)}) == 3


def test_near_obeys_limit_offset_minimum_and_filter(store: Store) -> None:
    store.upsert([point(number, kind=number % 2) for number in range(6)])
    query = toward(1, 0, 0, 0)
    assert store.near([VectorQuery("en", query, 0), VectorQuery("en", query, 3, offset=9)]) == [[], []]
    (above,) = store.near([VectorQuery("en", query, 9, score_threshold=0.7)])
    assert [hit.id for hit in above] == [an_id(0), an_id(1)]
    (odd,) = store.near([VectorQuery("en", query, 2, where=Match("kind", (1,)))])
    assert [hit.id for hit in odd] == [an_id(1), an_id(3)]


def test_near_tells_payloads_of_so_many_as_are_asked_for(store: Store) -> None:
    store.upsert([point(number, kind=number) for number in range(6)])
    whole, part, none = store.near(
        [VectorQuery("en", toward(1, 0, 0, 0), 4, payload_limit=count) for count in (None, 2, 0)]
    )
    assert [hit.payload for hit in whole] == [{"kind": number} for number in range(4)]
    assert [hit.payload for hit in part[:2]] == [hit.payload for hit in whole[:2]]
    bare = [[(hit.id, hit.score) for hit in hits] for hits in (whole, part, none)]
    assert bare[0] == bare[1] == bare[2]
    assert all(
        hit.payload in ({}, told.payload) for hits in (part, none) for hit, told in zip(hits, whole, strict=True)
    )


def test_near_finds_only_points_that_have_the_space(store: Store) -> None:
    assert store.near([VectorQuery("en", toward(1, 0, 0, 0), 5)]) == [[]]
    store.upsert([point(1), Point(an_id(2), {"zh": toward(1, 0, 0)}, {}), Point(an_id(3), {}, {})])
    assert [[hit.id for hit in hits] for hits in store.near([VectorQuery("zh", toward(1, 0, 0), 5)])] == [[an_id(2)]]
    assert store.near([]) == []


SENSELESS_SEARCHES = [
    VectorQuery("fr", toward(1, 0, 0), 5),
    VectorQuery("en", toward(1, 0, 0), 5),
    VectorQuery("en", np.full(4, np.nan, np.float32), 5),
    VectorQuery("en", np.zeros(4, np.float32), 5),
    VectorQuery("en", toward(1, 0, 0, 0), -1),
    VectorQuery("en", toward(1, 0, 0, 0), 1, offset=-1),
    VectorQuery("en", toward(1, 0, 0, 0), 1, where=Match("a b", (1,))),
]


def test_a_senseless_search_is_refused(store: Store) -> None:
    assert [near for near in SENSELESS_SEARCHES if not is_refused(partial(store.near, [near]))] == []


def test_many_queries_are_answered_in_their_order(store: Store) -> None:
    turned = [toward(np.cos(number / 40), np.sin(number / 40), 0, 0) for number in range(40)]
    store.upsert([point(number, vector) for number, vector in enumerate(turned)])
    answers = store.near([VectorQuery("en", vector, 1) for vector in turned])
    assert [hits[0].id for hits in answers] == [an_id(number) for number in range(40)]


def test_get_keeps_the_order_asked_for(store: Store) -> None:
    store.upsert([point(number) for number in range(3)])
    assert [found.id for found in store.get([an_id(2), an_id(7), "unknown", an_id(0), an_id(2)])] == [
        an_id(2), an_id(0), an_id(2),
    ]  # fmt: skip
    assert store.get([]) == []


def test_scan_and_get_pass_page_borders(store: Store) -> None:
    store.upsert([point(number, n=number, other=1) for number in range(1100, 0, -1)])
    found = list(store.scan(fields=["n"]))
    assert [each.payload for each in found] == [{"n": number} for number in range(1, 1101)]
    assert [each.id for each in found] == [an_id(number) for number in range(1, 1101)]
    assert next(store.scan(fields=[])).payload == {}
    assert len(store.get([an_id(number) for number in range(1101)])) == 1100
    assert store.count() == 1100


def test_scan_starts_after_an_id_that_may_be_gone(store: Store) -> None:
    store.upsert([point(number) for number in range(6)])
    assert [found.id for found in store.scan(after=an_id(2))] == [an_id(3), an_id(4), an_id(5)]
    store.delete([an_id(2)])
    assert [found.id for found in store.scan(after=an_id(2))] == [an_id(3), an_id(4), an_id(5)]
    assert list(store.scan(after=an_id(5))) == []


POINTS: Sequence[Mapping[str, object]] = [
    {
        "tags": ["harbour", "night"],
        "width": 1200,
        "gps": {"lat": 52.516389, "lon": -13.375},
        "date": "2024-01-15T12:00:00Z",
        "metadata": {"rating": 5, "a.b": "x"},
    },
    {"tags": ["harbour"], "width": 640, "date": "2023-12-31T23:59:59Z", "metadata": {"rating": 4.5, "camera": "点"}},
    {"tags": [], "width": 1920, "metadata": {"rating": "5", "deep": {"er": 1}}},
    {"width": 1200, "date": "2024-02-01T00:00:00.5Z", "folder": [""], "restricted": 1},
]
FILTERS: list[tuple[Filter, list[int]]] = [
    (Match("tags", ("harbour",)), [0, 1]),
    (Match("tags", ("night", "nothing")), [0]),
    (Match("tags", ("Harbour",)), []),
    (Match("tags", ()), []),
    (Match("width", (1200,)), [0, 3]),
    (Match("width", (1200.0, 640, "640")), [0, 1, 3]),
    (Match("width", ("1200",)), []),
    (Match("restricted", (1,)), [3]),
    (Match("folder", ("",)), [3]),
    (Match("metadata.rating", ("5", 5.0)), [0, 2]),
    (Match('metadata."a.b"', ("x",)), [0]),
    (Match('metadata."deep"."er"', (1,)), [2]),
    (Match("metadata.camera", ("点",)), [1]),
    (Match("nothing", (1,)), []),
    (Range("width", gte=1200), [0, 2, 3]),
    (Range("width", gt=640, lt=1920), [0, 3]),
    (Range("metadata.rating", gt=4.5), [0]),
    (Range("date", gte="2024-01-01T00:00:00Z"), [0, 3]),
    (Range("date", gte="2024-01-01T00:00:00Z", lt="2024-02-01T00:00:00Z"), [0]),
    (Range("date", gt="2024-02-01T00:00:00Z"), [3]),
    (Range("tags", gte=0), []),
    (And((Range("gps.lat", gte=52.5, lt=52.6), Range("gps.lon", lt=0))), [0]),
    (Range("gps.lat", lt=52.5), []),
    (Ids(frozenset({an_id(1), an_id(9), "unknown"})), [1]),
    (Ids(frozenset()), []),
    (InSpace("en"), [0, 1, 2, 3]),
    (InSpace("zh"), []),
    (Missing("tags"), [2, 3]),
    (Missing("date"), [2]),
    (Not(Match("tags", ("harbour",))), [2, 3]),
    (Not(Range("date", gte="2024-01-01T00:00:00Z")), [1, 2]),
    (And(()), [0, 1, 2, 3]),
    (Or(()), []),
    (Not(And(())), []),
    (Not(Or(())), [0, 1, 2, 3]),
    (And((Match("width", (1200,)), Not(Missing("tags")))), [0]),
    (Or((Match("tags", ("night",)), And((Missing("date"), Range("width", gt=1000))))), [0, 2]),
    (Not(Not(Or((Match("width", (640,)), Or(()))))), [1]),
]


def test_filters_select_exactly(store: Store) -> None:
    store.upsert([Point(an_id(number), {"en": toward(1, 0, 0, 0)}, payload) for number, payload in enumerate(POINTS)])
    wrong = [(where, expected, numbers(store, where)) for where, expected in FILTERS]
    assert [case for case in wrong if case[1] != case[2]] == []
    assert [store.count(where) for where, _ in FILTERS] == [len(expected) for _, expected in FILTERS]
    hits = store.near([VectorQuery("en", toward(1, 0, 0, 0), 9, where=where) for where, _ in FILTERS])
    assert [sorted(uuid.UUID(hit.id).int for hit in each) for each in hits] == [expected for _, expected in FILTERS]


SENSELESS_FILTERS: list[Filter] = [
    Match("", ("x",)),
    Match("a b", ("x",)),
    Match('a"', ("x",)),
    Match("a", (True,)),
    Match("a", ("\udcff",)),
    Match("a", (float("nan"),)),
    Range("date", gte="2024-13-01T00:00:00Z"),
    Range("date", gte="yesterday"),
    Range("date", gte="2024-01-01T00:00:00Z", lt=5),
    Range("date"),
    Range("width", gte=float("inf")),
    Missing("a..b"),
    And((Or((Not(Match("a b", ("x",))),)),)),
]


def test_a_senseless_filter_is_refused(store: Store) -> None:
    assert [bad for bad in SENSELESS_FILTERS if not is_refused(partial(store.count, bad))] == []


def test_a_space_is_added_to_a_live_store(store: Store) -> None:
    store.upsert([point(1)])
    store.add_space("fr", 2)
    store.add_space("fr", 2)
    assert store.spaces() == {"en": 4, "zh": 3, "fr": 2}
    assert store.near([VectorQuery("fr", toward(1, 0), 5)]) == [[]]
    store.set_vectors("fr", {an_id(1): toward(1, 1)})
    assert store.near([VectorQuery("fr", toward(1, 0), 5)])[0][0].score == pytest.approx(2**-0.5, abs=1e-6)
    with pytest.raises(Conflict, match="dimension 2, not 5"):
        store.add_space("fr", 5)


def test_a_space_is_dropped_from_a_live_store(stores: Stores, store: Store, name: str) -> None:
    store.upsert([Point(an_id(1), {"en": toward(1, 0, 0, 0), "zh": toward(1, 0, 0)}, {"title": "海港"}), point(2)])
    store.drop_space("zh")
    store.drop_space("zh")
    assert store.spaces() == {"en": 4}
    assert numbers(store) == [1, 2]
    assert [sorted(found.vectors) for found in store.get([an_id(1), an_id(2)], vectors=True)] == [["en"], ["en"]]
    assert store.get([an_id(1)])[0].payload == {"title": "海港"}
    assert is_refused(partial(store.near, [VectorQuery("zh", toward(1, 0, 0), 5)]))
    assert is_refused(partial(store.set_vectors, "zh", {an_id(1): toward(1, 0, 0)}))
    store.close()
    reopened = stores.open(name)
    assert reopened.spaces() == {"en": 4}
    reopened.close()


def test_a_dropped_name_is_free_for_another_space(store: Store) -> None:
    store.upsert([Point(an_id(1), {"en": toward(1, 0, 0, 0), "zh": toward(1, 0, 0)}, {})])
    store.drop_space("zh")
    store.add_space("zh", 5)
    assert store.count(InSpace("zh")) == 0
    store.set_vectors("zh", {an_id(1): toward(0, 0, 0, 0, 1)})
    assert store.near([VectorQuery("zh", toward(0, 0, 0, 0, 1), 5)])[0][0].score == 1


def test_an_optimized_store_holds_and_finds_the_same(store: Store) -> None:
    store.upsert([point(number, kind=number % 2) for number in range(40)])
    store.delete([an_id(number) for number in range(0, 40, 8)])
    asked = [
        VectorQuery("en", toward(1, 0, 0, 0), 9),
        VectorQuery("en", toward(1, 0, 0, 0), 40, exact=True),
        VectorQuery("en", toward(1, 1, 0, 0), 5, where=Match("kind", (1,)), exact=True),
    ]
    before = (store.near(asked), list(store.scan()))
    for _ in store.optimize():
        pass
    assert not store.wants_optimizing()
    assert (store.near(asked), list(store.scan())) == before


def test_a_snapshot_is_named_and_listed(stores: Stores, name: str, store: Store) -> None:
    store.upsert([point(1)])
    if stores.place == "memory:":
        with pytest.raises(InvalidRequest, match="keeps no snapshots"):
            store.snapshot()
        return
    assert store.snapshots() == []
    taken = [store.snapshot(), store.snapshot()]
    assert store.snapshots() == taken
    assert len({each.name for each in taken}) == 2
    assert all(each.created.endswith("Z") and each.size_bytes > 0 for each in taken)


def test_meta_is_changed_key_by_key(store: Store) -> None:
    assert store.meta() == {}
    store.set_meta({"profile": "lite", "spaces": {"en": {"digest": "ab"}}, "gone": [1]})
    store.set_meta({"gone": None, "spaces": {"zh": {"digest": "cd"}}, "last": 1.5})
    assert store.meta() == {"profile": "lite", "spaces": {"zh": {"digest": "cd"}}, "last": 1.5}
    with pytest.raises(InvalidRequest):
        store.set_meta({"flag": True})


def test_threads_write_and_search_at_once(store: Store) -> None:
    def work(lane: int) -> int:
        store.upsert([point(lane * 100 + number, lane=lane) for number in range(100)])
        store.delete([an_id(lane * 100)])
        return len(store.near([VectorQuery("en", toward(1, 0, 0, 0), 200, where=Match("lane", (lane,)))])[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [99] * 4
    assert store.count() == 396
    store.flush()


NOTED: Sequence[Mapping[str, object]] = [
    {"rating": 5}, {"exif.iso": 100, "draft": True}, {"title": "and (or) not", "rating": "5"}, {},
]  # fmt: skip
IMAGES = [
    ImagePayload(
        Path(f"/photos/{name}"), Path("/photos"), 5, 0, "ab", width, 100,
        date=taken, tags=tags, rights=rights, metadata=metadata,
    )
    for name, width, taken, tags, rights, metadata in [
        ("trips/2024/Harbour.JPG", 1920, datetime(2024, 1, 31, 23, 59, 59, 9), ["Harbour"], "CC-BY", NOTED[0]),
        ("trips/night.png", 1200, datetime(2024, 2, 1), ["night", "a b"], "cc0", NOTED[1]),
        ("top.jpg", 640, None, [], None, NOTED[2]),
        ("tripsy/港口.jpg", 640, datetime(1999, 1, 1), ["港口"], "cc-by", NOTED[3]),
    ]
]  # fmt: skip
WRITTEN = {
    "path:trips/**": [0, 1],
    "path:trips": [0, 1],
    "path:trips/*": [1],
    "path:*": [2],
    "path:/photos/trips/**": [0, 1],
    "path:/photos/**/*.jpg": [0, 2, 3],
    "path:**/night.png": [1],
    "path:trips/night.png": [1],
    "path:tripsy/港口.jpg or path:top.jpg": [2, 3],
    "date=2024-01": [0],
    "date>2024-01": [1],
    "date<=2024-01": [0, 3],
    "date!=2024-01": [1, 2, 3],
    "tag=HARBOUR or tag='A B'": [0, 1],
    "tag=港口": [3],
    "rights=cc-by and width>=1000": [0],
    "not rights=cc-by": [1, 2],
    "meta.rating=5": [0, 2],
    'meta."exif.iso"<=100': [1],
    "meta.draft=true": [1],
    "meta.title='and (or) not'": [2],
    "size=5 and height=100 and not (width<1000 or tag=night)": [0],
    "hash=AB and path:**": [0, 1, 2, 3],
}


def test_written_filters_select_images(store: Store) -> None:
    store.upsert([Point(an_id(number), {}, image.write()) for number, image in enumerate(IMAGES)])
    assert {text: numbers(store, parse([text])) for text in WRITTEN} == WRITTEN
