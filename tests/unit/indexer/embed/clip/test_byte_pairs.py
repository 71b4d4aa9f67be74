import hashlib

import numpy as np
import pytest
from open_clip.tokenizer import SimpleTokenizer, default_bpe  # type: ignore[import-untyped]  # it ships no types

from xcomp_indexer.embed.clip.byte_pairs import VOCABULARY, BytePairTokenizer

TEXTS = [
    "",
    "   ",
    "a photo of a cat",
    "It's a dog's life, isn't it? WE'LL see -- they've 1234 things (and 5,6).",
    "  ÜBER  den Wolken\n\tnaïve café ﬁne",
    "&lt;b&gt; Two cats &amp;amp; a dog &copy; 2024",
    "红色的房子 日出 東京",
    "🦊🦊 emoji 👩‍👩‍👧 and flags 🇫🇷",
    "âœ” broken encoding",
    "snake_case __init__ a_b 3d x2 ½ Ⅷ",
    "١٢٣ निर्देश ภาษาไทย עברית",
    "<start_of_text> a cat <end_of_text>, !<end_of_text>",
    "<|startoftext|> #tag @user http://example.org/a?b=c&d=e",
    "word" * 15,
]


@pytest.fixture(scope="module")
def library() -> SimpleTokenizer:
    return SimpleTokenizer()


def test_tokens_are_those_of_the_library(library: SimpleTokenizer) -> None:
    random = np.random.default_rng(0)
    letters = list("abcXYZ  '.,!?-_0123äßé中文&;<>#")
    texts = [*TEXTS, *("".join(random.choice(letters, 30)) for _ in range(300))]
    windows = BytePairTokenizer(77).windows(texts)
    marks = (library.sot_token_id, library.eot_token_id)
    for row, text in zip(windows.input_ids, texts, strict=True):
        expected = [token for token in library.encode(text) if token not in marks]
        assert row[1 : 1 + len(expected)].tolist() == expected, text
        assert (row[0], row[1 + len(expected)], row[2 + len(expected) :].any()) == (*marks, False)


def test_a_long_text_has_several_windows() -> None:
    windows = BytePairTokenizer(77).windows(["house " * 100, "cat"])
    assert (windows.input_ids.shape, windows.owners, windows.weights) == ((3, 77), [0, 0, 1], [75, 25, 1])


def test_the_vocabulary_is_the_file_that_the_library_has() -> None:
    with open(default_bpe(), "rb") as theirs:
        assert hashlib.file_digest(theirs, "sha256").hexdigest() == BytePairTokenizer(77).digest
    assert VOCABULARY.stat().st_size == 1_356_917
