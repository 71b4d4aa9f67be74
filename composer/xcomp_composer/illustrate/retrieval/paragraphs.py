"""Which paragraphs ask for an image, and by which texts each of them is searched for.

A sentence that describes something to be seen is nearer to other such sentences than to statements about ideas. Two
small sets of sentences span that direction in any space of a repository, so that the scale is the same in all of them:
+1 is as visible as our scenes, -1 as abstract as our statements.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from xcomp_composer.illustrate.wording import read_toml
from xcomp_composer.indexer_client.hit import Vectors
from xcomp_composer.indexer_client.repository import RepositoryClient

LANGUAGES = ("en", "zh")  # of the example sentences

MAX_TEXTS = 24  # of a paragraph; more would only repeat a very long one
_MAX_CHARACTERS = 2000  # no embedder reads further
_SENTENCES = {"en": re.compile(r"(?<=[.!?;:])[\"'”’)]*\s+"), "zh": re.compile(r"(?<=[。！？；])[”’」』）]*")}
_CLAUSES = {
    "en": re.compile(
        r"[.!?;:,()\u2014\u2013]+\s+|\s+(?:and|but|or|with|in|on|at|under|over|above|below|behind|between|beside|near|of|from"
        r"|to|by|for|into|across|along|through|around|where|which|that|while|as)\s+",
        re.IGNORECASE,
    ),
    "zh": re.compile(r"[，。；：！？、（）…—]+"),
}
_SHORTEST = {"en": 8, "zh": 4}  # characters; shorter pieces name nothing to be seen
_EDGES = " \t.,;:!?\"'“”‘’()（）「」『』，。；：！？、…—–"


@dataclass(frozen=True)
class ExampleSentences:
    """Sentences of one language that span the direction of what is visible."""

    scenes: tuple[str, ...]
    statements: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them, the scenes first."""
        return (*self.scenes, *self.statements)


@cache
def load_examples(language: str) -> ExampleSentences:
    """Returns the example sentences of a language; the English ones for any other language."""
    known = cast("Mapping[str, Mapping[str, list[str]]]", read_toml("example_sentences.toml"))
    examples = known[language if language in LANGUAGES else "en"]
    return ExampleSentences(tuple(examples["scenes"]), tuple(examples["statements"]))


def select_visible(
    paragraphs: Mapping[int, str], language: str, repository: RepositoryClient, *, count: int
) -> dict[int, str]:
    """Returns the paragraphs that describe most to be seen, in the order of the text."""
    examples = load_examples(language)
    vectors = repository.embed([*examples.texts, *paragraphs.values()])
    visible = measure_visibility(vectors, examples)[len(examples.texts) :]
    most = {segment for _, segment in sorted(zip(-visible, paragraphs, strict=True))[:count]}
    return {segment: prose for segment, prose in paragraphs.items() if segment in most}


def measure_visibility(vectors: Vectors, examples: ExampleSentences) -> NDArray[np.float64]:
    """Returns how much each text describes something to be seen, `[B]`: our scenes have 1 on average, statements -1.

    Args:
        vectors: `[B, D]`, of the example sentences first.
        examples: in the language of the texts.
    """
    middle, end = len(examples.scenes), len(examples.texts)
    scene, statement = vectors[:middle].mean(axis=0), vectors[middle:end].mean(axis=0)
    half = (scene - statement) / 2
    return np.asarray((vectors - (scene + statement) / 2) @ half / max(float(half @ half), 1e-9))


def query_texts(paragraph: str, language: str) -> list[str]:
    """Returns the paragraph, its sentences and its clauses, each once, the paragraph first."""
    whole = paragraph[:_MAX_CHARACTERS]
    language = language if language in _CLAUSES else "en"
    pieces = [*_SENTENCES[language].split(whole), *_CLAUSES[language].split(whole)]
    texts = dict.fromkeys(piece.strip(_EDGES) for piece in pieces)
    texts.pop(whole.strip(_EDGES), None)
    return [whole, *(text for text in texts if len(text) >= _SHORTEST[language])][:MAX_TEXTS]
