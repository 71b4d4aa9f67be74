"""What only a language model can do: an article from an instruction, an answer to a question, a new paragraph.

It does not depend on images.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from xcomp_composer.article.model import Article
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Brief, Change, Turn
from xcomp_protos.errors import InvalidRequest, ModelError

_LINE_BREAKS = re.compile(r"\s*\n\s*")


def write(session: ModelSession, brief: Brief) -> Iterator[str]:
    """Yields the article as it is written, in Markdown.

    Args:
        session: with the model that writes.
        brief: what the article is written from.

    Raises:
        ModelError: the model failed or wrote nothing.
    """
    pieces = session.stream(lambda prompts: prompts.write(brief), "write")
    is_markdown = session.model.capabilities.writes_markdown
    yield from _require_words(pieces if is_markdown else _lines_to_paragraphs(pieces), session.model.name)


def answer(session: ModelSession, turns: Sequence[Turn]) -> Iterator[str]:
    """Yields the answer to the last turn; raises like `write`."""
    pieces = session.stream(lambda prompts: prompts.chat(turns), "chat")
    yield from _require_words(pieces, session.model.name)


def reword(session: ModelSession, article: Article, segment: int, change: Change, *, hint: str = "") -> str:
    """Returns a segment in other words, or a new one beside it, as the hint says; raises like `write`."""
    sections = [each.text.strip() for each in article.segments]
    if segment >= len(sections):
        raise InvalidRequest(f"segment: the article has {len(sections)}, numbered from 0; there is no {segment}")
    pieces = session.stream(lambda prompts: prompts.edit(change, sections, segment, hint=hint), "edit")
    return "".join(_require_words(pieces, session.model.name))


def _require_words(pieces: Iterable[str], name: str) -> Iterator[str]:
    has_words = False
    for piece in pieces:
        has_words = has_words or bool(piece.strip())
        yield piece
    if not has_words:
        raise ModelError(f"{name} wrote nothing: say more, or try another seed")


def _lines_to_paragraphs(pieces: Iterable[str]) -> Iterator[str]:
    """Puts a blank line after each line; holds white space back until something follows."""
    held = ""
    for piece in pieces:
        held += piece
        done = held.rstrip()
        held, done = held[len(done) :], _LINE_BREAKS.sub("\n\n", done)
        if done:
            yield done
    if "\n" in held:
        yield "\n"
