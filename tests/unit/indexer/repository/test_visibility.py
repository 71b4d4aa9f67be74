"""Which images may be offered: what the store filters by and what is judged of a payload are one rule."""

import itertools
import uuid

import numpy as np
import pytest

from xcomp_indexer.repository.visibility import is_offered, now, offered_filter
from xcomp_indexer.store import Point
from xcomp_indexer.store.factory import open_stores

NOW = "2024-06-01T12:00:00Z"
MOMENTS = (None, "0001-01-01T00:00:00Z", "2024-06-01T11:59:59Z", "2024-06-01T12:00:00Z", "2024-06-01T12:00:01Z")
TERMS = [
    {key: value for key, value in zip(("restricted", "expires", "embargo"), values, strict=True) if value is not None}
    for values in itertools.product((None, 0, 1), MOMENTS, MOMENTS)
]


@pytest.mark.parametrize("address", ["memory:", "edge:{}"])
def test_the_filter_and_the_judgement_agree(address: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    stores = open_stores(address.format(tmp_path_factory.mktemp("store")))
    store = stores.create("r", {"s": 2})
    vector = np.asarray([1, 0], np.float32)
    store.upsert([Point(str(uuid.UUID(int=at)), {"s": vector}, terms) for at, terms in enumerate(TERMS)])
    passed = {point.id for point in store.scan(where=offered_filter(NOW))}
    store.close()
    stores.close()
    assert passed == {str(uuid.UUID(int=at)) for at, terms in enumerate(TERMS) if is_offered(terms, NOW)}
    assert 0 < len(passed) < len(TERMS)


def test_a_term_ends_at_its_second() -> None:
    assert not is_offered({"expires": "2024-06-01T12:00:00Z"}, NOW)
    assert is_offered({"embargo": "2024-06-01T12:00:00Z"}, NOW)
    assert is_offered({}, now())
