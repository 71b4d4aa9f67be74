import numpy as np

from tests.bench.lite_pools import Request
from tests.bench.lite_quality import ranks


def _request(*right: int) -> Request:
    return Request({"en": "a cat", "zh": "猫"}, frozenset(right))


def test_the_best_of_several_right_pictures_counts() -> None:
    scores = np.asarray([[0.9, 0.1, 0.5, 0.7]])
    assert ranks(scores, [_request(1, 3)]).tolist() == [2]


def test_a_text_that_scores_every_picture_alike_finds_nothing() -> None:
    assert ranks(np.zeros((1, 4)), [_request(1, 3)]).tolist() == [3]
