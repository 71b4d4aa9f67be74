"""Stages that only a language model can do: an article from an instruction, an answer to a question, a new paragraph.

Pictures come later and from elsewhere.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from xcomp_composer.article.model import Article
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Brief, Change, Turn
from xcomp_protos.errors import InvalidRequest, ModelError

_LINES = re.compile(r"\s*\n\s*")


def write(consultation: ModelSession, brief: Brief, *, in_lines: bool = False) -> Iterator[str]:
    """Yields the article as it is written, in Markdown.

    Args:
        consultation: with the model that writes.
        brief: what the article is to be written from.
        in_lines: the model ends a paragraph with a line.

    Raises:
        ModelError: the model failed or wrote nothing.
    """
    pieces = consultation.stream(lambda prompts: prompts.write(brief), "write")
    yield from _spoken(_apart(pieces) if in_lines else pieces, consultation.model.name)


def answer(consultation: ModelSession, turns: Sequence[Turn]) -> Iterator[str]:
    """Yields the answer to the last turn; raises like `write`."""
    pieces = consultation.stream(lambda prompts: prompts.chat(turns), "chat")
    yield from _spoken(pieces, consultation.model.name)


def reworded(consultation: ModelSession, article: Article, segment: int, change: Change, *, hint: str = "") -> str:
    """Returns a segment in other words, or a new one beside it, with what the hint says; raises like `write`."""
    sections = [each.text.strip() for each in article.segments]
    if segment >= len(sections):
        raise InvalidRequest(f"segment: the article has {len(sections)}, numbered from 0; {segment} is none")
    pieces = consultation.stream(lambda prompts: prompts.edit(change, sections, segment, hint=hint), "edit")
    return "".join(_spoken(pieces, consultation.model.name))


def _spoken(pieces: Iterable[str], name: str) -> Iterator[str]:
    has_words = False
    for piece in pieces:
        has_words = has_words or bool(piece.strip())
        yield piece
    if not has_words:
        raise ModelError(f"{name} wrote nothing: say more, or try another seed")


def _apart(pieces: Iterable[str]) -> Iterator[str]:
    """Puts a blank line wherever a line ends; holds white space back until something follows."""
    held = ""
    for piece in pieces:
        held += piece
        done = held.rstrip()
        held, done = held[len(done) :], _LINES.sub("\n\n", done)
        if done:
            yield done
    if "\n" in held:
        yield "\n"
