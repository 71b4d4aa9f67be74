"""The embedded engine and the client's local mode answer random filters and searches alike."""

import random
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from xcomp_indexer.store import And, Filter, Ids, InSpace, Match, Missing, Not, Or, Point, Range, Store, VectorQuery
from xcomp_indexer.store.factory import open_stores

SPACES = {"en": 16, "zh": 8}
TAGS = ("harbour", "night", "港口", "", "a b")
DATES = tuple(f"{year}-{month:02}-15T{month:02}:00:00Z" for year in (1999, 2023, 2024) for month in (1, 6, 12))
TOLERANCE = 2e-6  # two roundings to six decimals


def an_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def random_points(seed: int, count: int) -> list[Point]:
    chance, noise = random.Random(seed), np.random.default_rng(seed)
    points: list[Point] = []
    for number in range(count):
        vectors = {name: noise.normal(size=size).astype(np.float32) for name, size in SPACES.items()}
        if chance.random() < 0.2:
            del vectors["zh"]
        if number % 7 == 0 and points and "en" in points[-1].vectors:  # a copy of the image before
            vectors["en"] = points[-1].vectors["en"]
        unit = {name: vector / np.linalg.norm(vector) for name, vector in vectors.items()}
        payload: dict[str, object] = {"width": chance.randrange(5), "restricted": int(chance.random() < 0.1)}
        optional = {
            "tags": chance.sample(TAGS, chance.randrange(4)),
            "date": chance.choice(DATES),
            "metadata": {"rating": chance.choice([1, 2, 2.5, "2"]), "x y": chance.choice(["q", None])},
        }
        payload |= {key: value for key, value in optional.items() if chance.random() < 0.8}
        points.append(Point(an_id(number), unit, payload))
    return points


def random_filter(chance: random.Random, depth: int = 3) -> Filter:
    if depth and chance.random() < 0.6:
        parts = tuple(random_filter(chance, depth - 1) for _ in range(chance.randrange(4)))
        groups: list[Filter] = [And(parts), Or(parts), Not(random_filter(chance, depth - 1))]
        return chance.choice(groups)
    leaves: list[Filter] = [
        Match("tags", tuple(chance.sample(TAGS, chance.randrange(1, 3)))),
        Match("width", (chance.randrange(6), chance.randrange(6))),
        Match("metadata.rating", tuple(chance.sample([1, 2.0, 2.5, "2"], 2))),
        Match('metadata."x y"', ("q",)),
        Range("width", gte=chance.randrange(5), lt=chance.choice([3, 4.5, None])),
        Range("date", gt=chance.choice(DATES), lte=chance.choice([*DATES, None])),
        Ids(frozenset(an_id(chance.randrange(400)) for _ in range(50))),
        InSpace(chance.choice(["en", "zh"])),
        Missing(chance.choice(["tags", "date", "metadata.rating", "nothing"])),
    ]
    return chance.choice(leaves)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    addresses = (f"edge:{tmp_path_factory.mktemp('edge')}", "memory:")
    edge, memory = (open_stores(address).create("a", SPACES) for address in addresses)
    for store in (edge, memory):
        store.upsert(random_points(1, 200))
        store.set_payload([an_id(number) for number in range(0, 400, 11)], {"tags": ["night"], "date": None})
        store.set_vectors(
            "zh", {point.id: point.vectors["zh"] for point in random_points(2, 40) if "zh" in point.vectors}
        )
        store.delete([an_id(number) for number in range(0, 400, 13)])
    yield edge, memory
    edge.close()
    memory.close()


def test_random_filters_select_the_same(pair: tuple[Store, Store]) -> None:
    edge, memory = pair
    chance = random.Random(3)
    sizes = set()
    for _ in range(150):
        where = random_filter(chance)
        ids = [found.id for found in edge.scan(where=where, fields=[])]
        assert ids == [found.id for found in memory.scan(where=where, fields=[])], where
        assert edge.count(where) == memory.count(where) == len(ids)
        sizes.add(len(ids))
    assert len(sizes) > 30  # the filters were no idle ones


def test_random_searches_find_the_same(pair: tuple[Store, Store]) -> None:
    edge, memory = pair
    chance, noise = random.Random(4), np.random.default_rng(4)
    for _ in range(200):
        space = chance.choice(["en", "zh"])
        near = VectorQuery(
            space,
            noise.normal(size=SPACES[space]).astype(np.float32),
            limit=chance.randrange(1, 40),
            offset=chance.choice([0, 0, 7]),
            score_threshold=chance.choice([None, 0.1]),
            where=chance.choice([None, random_filter(chance)]),
        )
        (ours,), (theirs,) = edge.near([near]), memory.near([near])
        assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=TOLERANCE)
        for mine, other in zip(ours, theirs, strict=True):  # another id only where the scores are as good as equal
            assert mine.id == other.id or abs(mine.score - other.score) <= TOLERANCE
            assert mine.payload == other.payload or mine.id != other.id


def test_both_keep_the_same_content(pair: tuple[Store, Store]) -> None:
    edge, memory = pair
    for mine, other in zip(edge.scan(vectors=True), memory.scan(vectors=True), strict=True):
        assert (mine.id, mine.payload, set(mine.vectors)) == (other.id, other.payload, set(other.vectors))
        for space, vector in mine.vectors.items():
            np.testing.assert_allclose(vector, other.vectors[space], atol=1e-6)
