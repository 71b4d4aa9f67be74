"""Pairs of similar images, and the scores of hits in a space that did not find them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest

from xcomp_indexer.search import comparison
from xcomp_indexer.search.calibration import Calibration
from xcomp_indexer.search.comparison import SimilarPair, add_space_scores, find_similar_pairs
from xcomp_indexer.search.ranking import RankedHit, SpaceRank
from xcomp_indexer.store import ScoredPoint, Store
from xcomp_protos.errors import Exhausted

VECTORS = {
    "a": {"en": (1.0, 0.0), "zh": (1.0, 0.0)},
    "b": {"en": (1.0, 0.0), "zh": (0.6, 0.8)},
    "c": {"en": (0.0, 1.0)},
}


@dataclass
class FewPoints:
    """A store that can only be read by id."""

    points: dict[str, ScoredPoint] = field(
        default_factory=lambda: {
            id_: ScoredPoint(id_, 0.0, {}, {space: np.asarray(row, np.float32) for space, row in rows.items()})
            for id_, rows in VECTORS.items()
        }
    )

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[ScoredPoint]:
        assert vectors
        return [self.points[id_] for id_ in ids if id_ in self.points]


def pairs(ids: str, minimum: float, *spaces: str) -> list[SimilarPair]:
    store = cast("Store", FewPoints())
    return find_similar_pairs(store, set(ids), spaces=spaces, minimum=minimum, allow_restricted=True)


def test_two_images_are_as_similar_as_in_their_least_similar_space() -> None:
    assert pairs("abc", 0.5, "en", "zh") == [SimilarPair("a", "b", 0.6)]
    assert pairs("abc", 0.5, "en") == [SimilarPair("a", "b", 1.0)]


def test_a_space_in_which_one_has_no_vector_says_nothing_of_a_pair() -> None:
    assert pairs("ac", -1, "en", "zh") == [SimilarPair("a", "c", 0.0)]
    assert pairs("ac", -1, "zh") == []


def test_unknown_images_and_a_single_one_make_no_pair() -> None:
    assert pairs("ax", -1, "en") == []
    assert pairs("", -1, "en") == []


def test_too_many_images_or_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MAX_PAIRS", 2)
    with pytest.raises(Exhausted, match=r"^min_similarity: 3 pairs are at least so similar, more than 2"):
        pairs("abc", -1, "en")
    monkeypatch.setattr(comparison, "MAX_COMPARED", 2)
    with pytest.raises(Exhausted, match=r"^min_similarity: compares at most 2 images, not 3"):
        pairs("abc", -1, "en")


def test_hits_get_the_scores_of_a_space_that_did_not_find_them() -> None:
    points = FewPoints().points
    found = SpaceRank(7, 0.9, 2.0)
    hits = [RankedHit(points[id_], 0.9, {"en": found}, 2.0, 0.5) for id_ in "abc"]
    hits[0] = hits[0]._replace(spaces={"en": found, "zh": found})
    query = np.asarray((0.0, 1.0), np.float32)
    scored = add_space_scores(
        hits, points, space="zh", query=query, calibration=Calibration(np.eye(2, dtype=np.float32))
    )
    assert scored[0] == hits[0]
    assert scored[1].spaces["en"] == found
    assert tuple(scored[1].spaces["zh"]) == pytest.approx((1, 0.8, (0.8 - 0.5) / 0.5))
    assert scored[2] == hits[2]
