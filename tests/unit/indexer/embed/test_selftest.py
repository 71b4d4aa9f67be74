"""What a model must do before it may embed anything: each way of failing is refused by name, in every family."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from tests.fakes import CountingEmbedder
from xcomp_indexer import embed
from xcomp_indexer.embed import registry, selftest
from xcomp_indexer.embed.base import Encoded, Prepared, Vectors
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ImageError, ModelError


class Bent(CountingEmbedder):
    """An embedder whose vectors are bent out of shape."""

    def __init__(
        self, *, images: Callable[[Vectors], Vectors] | None = None, texts: Callable[[Vectors], Vectors] | None = None
    ) -> None:
        super().__init__()
        self._bend_images, self._bend_texts = images or (lambda rows: rows), texts or (lambda rows: rows)

    def encode_batch(self, pictures: Sequence[Prepared]) -> Encoded:
        return Encoded(self._bend_images(super().encode_batch(pictures).vectors))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._bend_texts(super().encode_texts(texts))


def broken(rows: Vectors) -> Vectors:
    raise RuntimeError("mat1 and mat2 shapes\ncannot be multiplied")


BENDS = {
    "a width that is not the configuration's": (lambda rows: rows[:, :-1], "says 12 wide"),
    "double precision": (lambda rows: rows.astype(np.float64), "float64"),
    "a row too few": (lambda rows: rows[:1], "of shape"),
    "not a number": (lambda rows: rows * np.float32("nan"), "not finite"),
    "infinity": (lambda rows: rows + np.float32("inf"), "not finite"),
    "not normalised": (lambda rows: rows * np.float32(7), "not of length 1 but 7"),
    "no direction": (lambda rows: rows * np.float32(0), "not of length 1 but 0"),
    "all alike": (lambda rows: np.repeat(rows[:1], len(rows), axis=0), "the same vector"),
    "alike but for rounding": (
        lambda rows: np.repeat(rows[:1], len(rows), axis=0) * np.array([[1], [1 + 1e-6]], np.float32)[: len(rows)],
        "the same vector",
    ),
    "a library that gives up": (broken, "damaged or of another model: mat1 and mat2 shapes cannot"),
}


def test_a_sound_model_passes() -> None:
    selftest.check(CountingEmbedder())


@pytest.mark.parametrize("kind", BENDS)
def test_bent_vectors_of_images_are_refused(kind: str) -> None:
    bend, said = BENDS[kind]
    with pytest.raises(ModelError, match=said):
        selftest.check(Bent(images=bend))


@pytest.mark.parametrize("kind", BENDS)
def test_bent_vectors_of_texts_are_refused(kind: str) -> None:
    bend, said = BENDS[kind]
    with pytest.raises(ModelError, match=said):
        selftest.check(Bent(texts=bend))


def test_a_vector_must_not_depend_on_the_batch() -> None:
    with pytest.raises(ModelError, match="depends on the rest of its batch"):
        selftest.check(Bent(images=lambda rows: rows if len(rows) == 2 else np.eye(1, 12, 3, dtype=np.float32)))


def test_a_preprocessing_that_takes_no_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Image.Image) -> Prepared:
        raise ImageError("no such size", reason="unsupported")

    embedder = CountingEmbedder()
    monkeypatch.setattr(embedder, "prepare", refuse)
    with pytest.raises(ModelError, match="of another model: no such size"):
        selftest.check(embedder)


def load(_: Release, __: Execution) -> Bent:
    """Returns a model that is broken, as the module of a family does."""
    return Bent(texts=lambda rows: rows * np.float32(2))


def test_every_model_is_tested_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, "bent", registry.Family("bent", __name__))
    with pytest.raises(ModelError, match="not of length 1"):
        embed.load("bent:any")
