"""What is searched for at a spot, without a language model: the paragraph itself, its sentences and its clauses.

A paragraph says more than one thing, and a picture shows one; the clause that names it finds it best, while the whole
paragraph keeps the choice in context.
"""

import re

LONGEST_LIST = 24  # texts per paragraph; more would only repeat a very long one
_LONGEST_CHARACTERS = 2000  # no embedder reads further

_SENTENCES = {"en": re.compile(r"(?<=[.!?;:])[\"'”’)]*\s+"), "zh": re.compile(r"(?<=[。！？；])[”’」』）]*")}
_CLAUSES = {
    "en": re.compile(
        r"[.!?;:,()\u2014\u2013]+\s+|\s+(?:and|but|or|with|in|on|at|under|over|above|below|behind|between|beside|near|of|from"
        r"|to|by|for|into|across|along|through|around|where|which|that|while|as)\s+",
        re.IGNORECASE,
    ),
    "zh": re.compile(r"[，。；：！？、（）…—]+"),
}
_SHORTEST = {"en": 8, "zh": 4}  # characters; shorter pieces name nothing
_EDGES = " \t.,;:!?\"'“”‘’()（）「」『』，。；：！？、…—–"


def texts_of(paragraph: str, language: str) -> list[str]:
    """Returns the paragraph, its sentences and its clauses, each once, the paragraph first."""
    whole = paragraph[:_LONGEST_CHARACTERS]
    language = language if language in _CLAUSES else "en"
    pieces = [*_SENTENCES[language].split(whole), *_CLAUSES[language].split(whole)]
    named = (piece.strip(_EDGES) for piece in pieces)
    kept = dict.fromkeys(piece for piece in named if len(piece) >= _SHORTEST[language])
    kept.pop(whole.strip(_EDGES), None)
    return [whole, *kept][:LONGEST_LIST]
