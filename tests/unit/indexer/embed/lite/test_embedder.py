from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from tests import images
from tests.nearness import ROUNDING
from xcomp_indexer.embed import lite, load, selftest
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.lite import LiteEmbedder, colors
from xcomp_indexer.embed.lite.classes import load_classes
from xcomp_indexer.embed.weights.sources import without_files
from xcomp_indexer.images import decode
from xcomp_protos.errors import ModelError

_FOLDER = Path(skimage.__file__).parent / "data"
_PHOTOS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


@pytest.fixture(scope="module")
def embedder() -> LiteEmbedder:
    return LiteEmbedder()


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [Image.open(_FOLDER / name).convert("RGB") for name in _PHOTOS]


@pytest.mark.parametrize(
    "texts",
    [
        ["a cat", "a cup of coffee", "a red motorcycle", "the launch of a space rocket"],
        ["一只猫", "一杯咖啡", "红色的摩托车", "火箭"],
        ["my 猫", "咖啡 in a cup", "摩托车 (red)", "rocket 火箭"],
    ],
    ids=["english", "chinese", "mixed"],
)
def test_texts_find_their_photos(embedder: LiteEmbedder, photos: list[Image.Image], texts: list[str]) -> None:
    scores = embedder.encode_texts(texts) @ embedder.encode_images(photos).vectors.T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_labels_name_what_is_seen_in_both_languages(embedder: LiteEmbedder, photos: list[Image.Image]) -> None:
    best = [labels[0] for labels in embedder.encode_images(photos).labels]
    assert best[0].en.endswith("cat")
    assert best[0].zh.endswith("猫")
    assert (best[1].en, best[1].zh) == ("espresso", "浓缩咖啡")
    assert best[1].probability > 0.5


def test_labels_come_best_first(embedder: LiteEmbedder, photos: list[Image.Image]) -> None:
    for labels in embedder.encode_images(photos).labels:
        shares = [label.probability for label in labels]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (3000, 2), (31, 33), (260, 260)])
def test_images_of_any_shape_have_unit_vectors(embedder: LiteEmbedder, size: tuple[int, int]) -> None:
    vectors = embedder.encode_images([Image.new("RGB", size, "teal")]).vectors
    assert vectors.shape == (1, embedder.dimension)
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


def test_an_image_scaled_while_decoding_has_the_vector_of_the_whole(embedder: LiteEmbedder) -> None:
    for name, size in (("chelsea.png", (3407, 3522)), ("coffee.png", (3714, 3231)), ("rocket.jpg", (2601, 3523))):
        stored = images.encoded(Image.open(_FOLDER / name).convert("RGB").resize(size, Image.Resampling.LANCZOS))
        pair = [decode.decode(stored, image_size=size).image for size in (None, embedder.image_size)]
        assert pair[1].width < pair[0].width / 1.5
        vectors = embedder.encode_images(pair).vectors
        assert vectors[0] @ vectors[1] >= 0.999, name


def test_a_batch_equals_its_images_alone(embedder: LiteEmbedder, photos: list[Image.Image]) -> None:
    together = embedder.encode_images(photos).vectors
    alone = np.concatenate([embedder.encode_images([photo]).vectors for photo in photos])
    np.testing.assert_allclose(together, alone, atol=ROUNDING)


def test_threads_get_the_same_vectors(embedder: LiteEmbedder, photos: list[Image.Image]) -> None:
    with ThreadPoolExecutor(3) as threads:
        pictures = list(threads.map(lambda _: embedder.encode_images(photos[:2]).vectors, range(3)))
        texts = list(threads.map(lambda _: embedder.encode_texts(["a cat", "猫"]), range(6)))
    for vectors in pictures:
        np.testing.assert_allclose(vectors, pictures[0], atol=ROUNDING)
    for vectors in texts:
        np.testing.assert_allclose(vectors, texts[0], atol=ROUNDING)


def test_nothing_in_gives_nothing_out(embedder: LiteEmbedder) -> None:
    assert embedder.encode_images([]).vectors.shape == (0, embedder.dimension)
    assert embedder.encode_texts([]).shape == (0, embedder.dimension)


def test_a_colour_asked_for_decides_between_like_images(embedder: LiteEmbedder) -> None:
    pictures = [Image.new("RGB", (64, 64), name) for name in ("red", "green", "blue")]
    vectors = embedder.encode_images(pictures).vectors
    for texts in (["red", "green", "blue"], ["红色", "绿色", "蓝色"]):
        assert (embedder.encode_texts(texts) @ vectors.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_colour_shares_name_the_colour_and_sum_to_one() -> None:
    for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "gray", "black"):
        shares = colors.measure_shares(Image.new("RGB", (9, 5), name))
        assert colors.NAMES[int(shares.argmax())] == name
        assert shares.sum() == pytest.approx(1)


def test_the_digest_is_that_of_the_files_and_not_of_a_run(embedder: LiteEmbedder) -> None:
    again = load("lite")
    assert again.digest == embedder.digest
    assert len(embedder.digest) == 64


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not in .*pip install"):
        LiteEmbedder(tmp_path)


def test_every_class_has_a_name_in_both_languages() -> None:
    classes = load_classes()
    assert len(classes) == 1000
    assert all(each.en and each.zh and each.gloss for each in classes)
    assert (classes[207].en, classes[967].en) == ("golden retriever", "espresso")


def test_lite_says_what_runs_it_and_stays_exact_unless_asked(embedder: LiteEmbedder) -> None:
    assert embedder.runs_on == load("lite").runs_on == "openvino cpu fp32"
    with pytest.raises(ModelError, match="lite runs on OpenVINO alone"):
        load("lite", Execution("torch"))


@pytest.mark.parametrize(("cosine", "expected"), [(0.9991, "bf16"), (0.998, "fp32")])
def test_bf16_is_taken_only_if_the_vectors_stay_alike(
    monkeypatch: pytest.MonkeyPatch, cosine: float, expected: str
) -> None:
    class Light:
        def __init__(self, *, precision: str = "fp32") -> None:
            self.precision = precision

    monkeypatch.setattr(lite, "LiteEmbedder", Light)
    monkeypatch.setattr(selftest, "compare", lambda exact, rough: cosine)
    chosen = lite.load(without_files("lite"), Execution(precision="bf16"))
    assert chosen.precision == expected  # type: ignore[attr-defined]  # of the class above
