import numpy as np
import pytest

from xcomp_indexer.embed.lite import weights
from xcomp_indexer.embed.lite.class_vectors import compute_class_vectors
from xcomp_indexer.embed.lite.classes import load_vectors
from xcomp_indexer.embed.lite.text import SentenceEncoder


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(weights.find(weights.MINILM, None), weights.find(weights.MINILM_TOKENIZER, None))


def _cosine(encoder: SentenceEncoder, one: str, other: str) -> float:
    a, b = encoder.encode([one, other])
    return float(a @ b)


def test_vectors_match_the_published_model(encoder: SentenceEncoder) -> None:
    # transformers' BertModel with mean pooling over the same files gives 0.67537.
    assert _cosine(encoder, "a cat on a sofa", "a kitten sleeps on the couch") == pytest.approx(0.67537, abs=1e-4)


def test_vectors_have_unit_length_whatever_the_text(encoder: SentenceEncoder) -> None:
    texts = ["", " ", "a", "\x00\x1b[31m", "\ud800 alone", "狗", "😀" * 300, "word " * 2500]
    assert np.linalg.norm(encoder.encode(texts), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_batch_equals_its_texts_alone(encoder: SentenceEncoder) -> None:
    texts = ["a dog", "a much longer sentence about a harbour in the evening", "word " * 400]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=1e-5)


def test_the_end_of_a_long_text_counts(encoder: SentenceEncoder) -> None:
    filler = "The report deals with taxation and interest rates. " * 40
    assert _cosine(encoder, filler + "Penguins. " * 60, "penguins") > _cosine(encoder, filler, "penguins") + 0.1


def test_control_tokens_in_a_text_are_plain_characters(encoder: SentenceEncoder) -> None:
    assert encoder._windows(["[SEP]"])[0][0][1:-1] == encoder._windows(["[ SEP ]"])[0][0][1:-1]


def test_the_class_vectors_are_those_that_the_builder_makes(encoder: SentenceEncoder) -> None:
    made = compute_class_vectors(encoder, first=6)
    assert abs(made - load_vectors()[:6]).max() < 1e-3  # float16


def test_no_texts_give_no_vectors(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)
