"""What only the server store has to bear: refusals, outages and slowness, and what it sends over the wire."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trustme

from tests.service.test_store_contract import an_id, point, toward
from tests.shim import Backend, Fault, Shim
from xcomp_indexer.search.calibration import calibrate
from xcomp_indexer.store import And, Match, Missing, Not, Store, VectorQuery
from xcomp_indexer.store.qdrant.stores import QdrantStores, connect
from xcomp_protos.errors import Conflict, Exhausted, InvalidRequest, NotFound, Unavailable


@pytest.fixture(params=["http", "grpc"])
def shim(request: pytest.FixtureRequest) -> Iterator[Shim]:
    with Shim(request.param) as shim:
        yield shim


@pytest.fixture
def stores(shim: Shim) -> Iterator[QdrantStores]:
    opened = connect(shim.address, api_key=None, indexes={"tags": "keyword"}, timeout_s=1, patience_s=0.5)
    yield opened
    opened.close()


@pytest.fixture
def store(stores: QdrantStores) -> Store:
    store = stores.create("a", {"en": 4})
    store.spaces()  # from now on it knows them, and every call is one request
    return store


@pytest.mark.parametrize(
    "fault", [Fault(status=503), Fault(status=502), Fault(drop=True), Fault(status=429, retry_after_s=0)]
)
def test_a_passing_fault_is_not_noticed(shim: Shim, store: Store, fault: Fault) -> None:
    shim.backend.faults.append(fault)
    store.upsert([point(1)])
    assert not shim.backend.faults
    assert store.count() == 1


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(status=503), Unavailable, "does not answer"),
        (Fault(drop=True), Unavailable, "does not answer"),
        (Fault(status=429), Exhausted, "over its limits"),
        (Fault(status=401), Unavailable, "refused the API key"),
    ],
)
def test_a_lasting_fault_ends_in_one_line_that_names_the_server(
    shim: Shim, store: Store, fault: Fault, error: type[Exception], message: str
) -> None:
    shim.backend.faults.extend([fault] * 50)
    with pytest.raises(error, match=message) as failed:
        store.count()
    assert shim.address in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_scale_costs_a_call_for_32_background_queries_however_many_images_are_alike(shim: Shim) -> None:
    stores = connect(shim.address, api_key=None, indexes={}, timeout_s=30)  # on a busy machine a large write takes long
    store = stores.create("a", {"en": 4})
    store.upsert([point(number, toward(1, 0, 0, 0)) for number in range(200)])
    shim.backend.seen.clear()
    calibrate(store, "en", np.repeat(toward(1, 0, 0, 0)[None], 100, axis=0))
    assert sum("query" in each.name.lower() for each in shim.backend.seen) == 4
    stores.close()


def test_a_pause_longer_than_our_patience_is_not_waited_for(shim: Shim, store: Store) -> None:
    shim.backend.faults.extend([Fault(status=429, retry_after_s=60)] * 2)
    with pytest.raises(Exhausted, match="over its limits"):
        store.count()
    assert len(shim.backend.faults) == 1  # asked once


def test_the_pause_that_a_server_asks_for_is_kept(shim: Shim, caplog: pytest.LogCaptureFixture) -> None:
    stores = connect(shim.address, api_key=None, indexes={}, timeout_s=1, patience_s=3)
    shim.backend.faults.append(Fault(status=429, retry_after_s=1))
    with caplog.at_level("INFO", logger="xcomp_indexer.store.qdrant.client"):
        assert stores.names() == []
    assert "status=RESOURCE_EXHAUSTED wait_s=1.00" in caplog.text
    stores.close()


def test_pauses_grow_and_differ(shim: Shim, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    shim.backend.faults.extend([Fault(status=503)] * 2)
    with caplog.at_level("INFO", logger="xcomp_indexer.store.qdrant.client"):
        assert store.count() == 0
    first, second = (float(record.getMessage().rpartition("wait_s=")[2]) for record in caplog.records)
    assert 0.05 <= first <= 0.1 <= second <= 0.2


def test_a_snapshot_is_not_taken_twice(shim: Shim, store: Store) -> None:
    shim.backend.faults.append(Fault(status=503))
    with pytest.raises(Unavailable):
        store.snapshot()
    assert store.snapshots() == []


def test_a_refused_key_is_not_tried_again(shim: Shim, store: Store) -> None:
    shim.backend.faults.extend([Fault(status=401)] * 2)
    with pytest.raises(Unavailable):
        store.count()
    assert len(shim.backend.faults) == 1


def test_a_slow_server_is_given_up(shim: Shim, store: Store) -> None:
    shim.backend.faults.append(Fault(slow_s=1.3))
    with pytest.raises(Unavailable, match="did not answer in time"):
        store.count()


def test_a_write_that_is_not_applied_is_no_success(shim: Shim, store: Store) -> None:
    shim.backend.faults.append(Fault(unapplied=True))
    with pytest.raises(Unavailable, match="has not applied it"):
        store.upsert([point(1)])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_comes_back_just_works(scheme: str) -> None:
    with Shim(scheme) as shim:
        stores = connect(shim.address, api_key=None, indexes={}, timeout_s=1, patience_s=0.3)
        store = stores.create("a", {"en": 4})
        store.upsert([point(1)])
    with pytest.raises(Unavailable, match="does not answer: check its address"):
        store.count()
    with Shim(scheme, port=shim.port, backend=shim.backend):
        assert until_it_answers(store) == 1
    stores.close()


def until_it_answers(store: Store) -> int:
    for _ in range(300):
        try:
            return store.count()
        except Unavailable:
            time.sleep(0.1)
    return store.count()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_the_key_is_sent_and_a_wrong_one_is_refused(scheme: str) -> None:
    with Shim(scheme, backend=Backend(api_key="right")) as shim:
        stores = connect(shim.address, api_key="right", indexes={})
        stores.create("a", {"en": 4})
        assert {each.api_key for each in shim.backend.seen} == {"right"}
        stores.close()
        stores = connect(shim.address, api_key="wrong", indexes={})
        with pytest.raises(Unavailable, match="refused the API key") as failed:
            stores.names()
        assert "wrong" not in str(failed.value)
        stores.close()


VISITOR = """
import sys
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import Unavailable
try:
    print(open_stores(sys.argv[1], api_key="right").names())
except Unavailable as error:
    print(error)
"""


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_server_of_a_certificate_of_ones_own_is_trusted_where_it_is_named(scheme: str, tmp_path: Path) -> None:
    authority, pem = trustme.CA(), tmp_path / "server.pem"
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    trust = dict.fromkeys(("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"), str(tmp_path / "ca.pem"))
    with Shim(scheme, backend=Backend(api_key="right"), pem=pem) as shim:
        command = [sys.executable, "-c", VISITOR, shim.address]  # the roots of gRPC are read once for a process
        said = subprocess.run(command, env={**os.environ, **trust}, capture_output=True, text=True, check=True)
        assert said.stdout == "[]\n"
        assert {each.api_key for each in shim.backend.seen} == {"right"}


def test_a_collection_of_somebody_else_is_not_ours(shim: Shim, stores: QdrantStores) -> None:
    shim.backend.client.create_collection("other", vectors_config={})
    shim.backend.client.create_collection("xcomp_newer", vectors_config={}, metadata={"xcomp_format": 4})
    shim.backend.client.create_collection("xcomp_foreign", vectors_config={})
    assert stores.names() == ["foreign", "newer"]
    with pytest.raises(Conflict, match="has format 4, this version reads 3: upgrade"):
        stores.open("newer")
    with pytest.raises(Conflict, match="xcomp_foreign was not made by xcomp"):
        stores.open("foreign")


def test_a_repository_dropped_by_another_is_not_found(stores: QdrantStores, store: Store) -> None:
    stores.drop("a")
    with pytest.raises(NotFound):
        store.count()
    with pytest.raises(NotFound):
        store.upsert([point(1)])


def test_a_space_added_by_another_is_seen(stores: QdrantStores, store: Store) -> None:
    stores.open("a").add_space("zh", 3)
    assert store.near([VectorQuery("zh", toward(1, 0, 0), 5)]) == [[]]


@pytest.mark.parametrize(
    "address", ["http://", "http://user:secret@host:1", "http://host:x", "http://host:1/path?key=1"]
)
def test_an_address_with_more_than_a_place_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(InvalidRequest, match="store address") as refused:
        connect(address, api_key=None, indexes={})
    assert "secret" not in str(refused.value)


def test_what_goes_over_rest() -> None:
    with Shim("http") as shim:
        stores = connect(shim.address, api_key=None, indexes={"tags": "keyword"})
        store = stores.create("a", {"en": 2})
        shim.backend.seen.clear()
        store.upsert([point(number, toward(1, 0)) for number in range(501)])
        store.near([VectorQuery("en", toward(1, 0), 2, offset=1, where=Match("tags", ("x",)), score_threshold=0.5)])
        store.set_payload([an_id(1)], {"a": 1, "b": None})
        store.set_vectors("en", {an_id(1): toward(0, 1)})
        store.delete([an_id(1)])
        stores.close()
    seen = [(each.name.replace("/collections/xcomp_a", ""), each.query) for each in shim.backend.seen]
    wait = {"wait": "true"}
    assert seen == [
        ("GET ", {}),
        ("PUT /points", wait),
        ("PUT /points", wait),
        ("POST /points/query/batch", {}),
        ("POST /points/payload", wait),
        ("POST /points/payload/delete", wait),
        ("POST /points", {}),
        ("PUT /points/vectors", wait),
        ("POST /points/delete", wait),
    ]
    bodies = [each.body for each in shim.backend.seen]
    assert [len(body["points"]) for body in bodies[1:3]] == [500, 1]
    assert bodies[3] == {
        "searches": [
            {
                "query": {"nearest": [1.0, 0.0]},
                "using": "en",
                "filter": {"must": [{"key": "tags", "match": {"any": ["x"]}}]},
                "params": {"hnsw_ef": 512, "quantization": {"rescore": True, "oversampling": 2.0}},
                "score_threshold": 0.499999,
                "limit": 11,
                "with_payload": True,
            }
        ]
    }
    assert bodies[4] == {"payload": {"a": 1}, "filter": {"must": [{"has_id": [an_id(1)]}]}}
    assert bodies[5] == {"keys": ["b"], "filter": {"must": [{"has_id": [an_id(1)]}]}}
    assert bodies[8] == {"points": [an_id(1)]}


def test_a_collection_is_made_for_a_large_repository_and_indexed_while_it_is_empty() -> None:
    with Shim("http") as shim:
        stores = connect(shim.address, api_key=None, indexes={"date": "datetime", "tags": "keyword"})
        stores.create("a", {"en": 2})
        stores.close()
    (made,) = (each for each in shim.backend.seen if each.name == "PUT /collections/xcomp_a")
    assert made.body == {
        "vectors": {"en": {"size": 2, "distance": "Cosine", "on_disk": True}},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
        "on_disk_payload": True,
        "metadata": {"xcomp_format": 3},
    }
    indexed = [(each.query, each.body) for each in shim.backend.seen if each.name.endswith("/index")]
    assert indexed == [
        ({"wait": "true"}, {"field_name": "date", "field_schema": "datetime"}),
        ({"wait": "true"}, {"field_name": "tags", "field_schema": "keyword"}),
    ]


def test_an_exact_search_asks_for_no_index(shim: Shim, store: Store) -> None:
    store.near([VectorQuery("en", toward(1, 0, 0, 0), 1, exact=True)])
    body = shim.backend.seen[-1].body
    if shim.address.startswith("http"):
        assert body["searches"][0]["params"] == {"exact": True}
    else:
        params = body["query_points"][0].params
        assert params.exact
        assert not params.HasField("hnsw_ef")


def test_a_filter_that_strict_mode_forbids_ends_in_one_line(shim: Shim, store: Store) -> None:
    shim.backend.strict = True
    assert store.count(Match("tags", ("x",))) == 0
    for ask in (
        partial(store.count, Match("metadata.iso", (100,))),
        partial(store.near, [VectorQuery("en", toward(1, 0, 0, 0), 1, where=Not(Match("metadata.iso", (100,))))]),
        lambda: list(store.scan(where=And((Missing("metadata.iso"),)))),
    ):
        with pytest.raises(InvalidRequest, match=r"refused the request .*Index required but not found for") as refused:
            ask()
        assert "\n" not in str(refused.value)
        assert "{" not in str(refused.value)


def test_every_write_over_grpc_waits() -> None:
    with Shim("grpc") as shim:
        stores = connect(shim.address, api_key=None, indexes={"tags": "keyword"})
        store = stores.create("a", {"en": 2})
        store.upsert([point(1, toward(1, 0))])
        store.set_payload([an_id(1)], {"a": 1, "b": None})
        store.set_vectors("en", {an_id(1): toward(0, 1)})
        store.add_space("zh", 3)
        store.delete([an_id(1)])
        stores.close()
    writes = [each for each in shim.backend.seen if "wait" in each.body]
    assert [each.name for each in writes] == [
        "CreateFieldIndexCollection", "UpsertPoints", "SetPayloadPoints", "DeletePayloadPoints", "UpdatePointVectors",
        "CreateVectorNameRequest", "DeletePoints",
    ]  # fmt: skip
    assert all(each.body["wait"] for each in writes)


def test_writing_into_what_an_older_version_made_raises_its_format(shim: Shim, stores: QdrantStores) -> None:
    client = shim.backend.client
    client.create_collection("xcomp_older", vectors_config={}, metadata={"xcomp_format": 1})
    stores.open("older").set_meta({"profile": "lite"})
    assert client.get_collection("xcomp_older").config.metadata == {
        "xcomp_format": 3,
        "xcomp_meta": {"profile": "lite"},
    }
