from pathlib import Path

import numpy as np
from PIL import Image

from tests.bench import lite_pools
from tests.bench.lite_pools import Request
from tests.bench.lite_quality import ranks


def _request(*right: int) -> Request:
    return Request({"en": "a cat", "zh": "猫"}, frozenset(right))


def test_the_best_of_several_right_pictures_counts() -> None:
    scores = np.asarray([[0.9, 0.1, 0.5, 0.7]])
    assert ranks(scores, [_request(1, 3)]).tolist() == [2]


def test_a_text_that_scores_every_picture_alike_finds_nothing() -> None:
    assert ranks(np.zeros((1, 4)), [_request(1, 3)]).tolist() == [3]


def _stamp(folder: Path, name: str, description: str) -> None:
    path = folder / "usr/share/tuxpaint/stamps" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    path.with_suffix(".txt").write_text(description, encoding="utf-8")


def test_stamps_are_asked_for_by_their_descriptions_in_both_languages(tmp_path: Path) -> None:
    _stamp(tmp_path, "animals/cat.png", "A cat.\nde.utf8=Eine Katze.\nzh_CN.utf8=一只猫。\n")
    _stamp(tmp_path, "animals/kitten.png", "A cat.\nzh_CN.utf8=一只猫。\n")
    _stamp(tmp_path, "animals/dog.png", "A dog.\nzh_TW.utf8=狗。\n")
    _stamp(tmp_path, "symbols/a.png", "The letter A.\nzh_CN.utf8=字母 A。\n")
    _stamp(tmp_path, "animals/cartoon/cow.png", "A cow.\nzh_CN.utf8=母牛。\n")
    photographed, drawn = (pool(tmp_path, 8) for pool in (lite_pools.cutouts, lite_pools.cartoons))
    assert list(photographed.photos) == ["animals/cat.png", "animals/kitten.png"]
    assert photographed.requests == [Request({"en": "A cat.", "zh": "一只猫。"}, frozenset({0, 1}))]
    assert list(drawn.photos) == ["animals/cartoon/cow.png"]
