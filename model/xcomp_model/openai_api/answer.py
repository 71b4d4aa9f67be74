"""Reads a streamed answer: what it says, without thoughts, empty parts and what follows a stop."""

from collections.abc import Generator, Iterable, Iterator, Sequence

from xcomp_model.openai_api.connection import NOT_ITS_PROTOCOL, UnusableAnswer
from xcomp_model.openai_api.dialect import ROOM, Dialect
from xcomp_model.openai_api.thinking import LateThought, ThoughtFilter, join_content


class AnswerReader:
    """One answer to a request of a level; what it shows of the model is remembered in the dialect."""

    def __init__(self, dialect: Dialect, level: int) -> None:
        self.level = level
        self._dialect = dialect
        self._thoughts = ThoughtFilter(holds=dialect.thinks_first is not False)
        self._has_chunks = False
        self._has_said = False
        self._has_reasoning = False  # which the endpoint sent apart from the answer
        self._is_cut = False  # by the limit of tokens
        self._is_unclear = False  # whether it is a thought that was cut

    def read(self, chunks: Iterable[object]) -> Iterator[str]:
        """Yields what the chunks of a stream say.

        Raises:
            LateThought: as the filter of thoughts.
            UnusableAnswer: there are no chunks.
        """
        try:
            for chunk in chunks:
                self._has_chunks = True
                yield from self._pass(self._thoughts.feed(self._read_chunk(chunk)))
        except LateThought:
            self._dialect.thinks_first = True
            raise
        if not self._has_chunks:
            raise UnusableAnswer(NOT_ITS_PROTOCOL)
        yield from self._finish()

    def next_level(self) -> int | None:
        """Returns the level with which the answer is asked for again; None if it is final."""
        if self._has_said or self.level >= ROOM:
            return None
        if self._is_unclear and not self._dialect.thinks_first:
            return ROOM
        if not (self._is_unclear or self._has_reasoning or self._thoughts.has_thoughts):
            return None
        self._dialect.raise_level(self.level)
        return self.level + 1

    def _read_chunk(self, chunk: object) -> str:
        first = (getattr(chunk, "choices", None) or (None,))[0]
        delta = getattr(first, "delta", None)
        self._is_cut |= getattr(first, "finish_reason", None) == "length"
        if getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None):
            self._has_reasoning = True
            self._thoughts.stop_holding()
        return join_content(getattr(delta, "content", None))

    def _finish(self) -> Iterator[str]:
        rest = self._thoughts.finish()
        has_tags = self._has_reasoning or self._thoughts.has_thoughts
        known = self._dialect.thinks_first
        self._is_unclear = self._is_cut and not has_tags and known is not False and self.level < ROOM
        if self._thoughts.is_lone:
            self._dialect.thinks_first = True
        elif known is None and not self._is_unclear and (rest.strip() or has_tags):
            self._dialect.thinks_first = False
        if not self._is_unclear:
            yield from self._pass(rest)

    def _pass(self, text: str) -> Iterator[str]:
        if text:
            self._has_said = self._has_said or bool(text.strip())
            yield text


def cut_at_stops(pieces: Iterable[str], stops: Sequence[str]) -> Generator[str]:
    """Yields an answer up to the first of the stops; blanks at its start are left out.

    An endpoint is told no stops: they would end the thoughts of a model, too, and some endpoints refuse them.
    """
    if not stops:
        yield from pieces
        return
    text, has_passed = "", False
    kept = max(map(len, stops)) - 1
    for piece in pieces:
        text += piece
        text = text if has_passed else text.lstrip()
        ends = [at for stop in stops if (at := text.find(stop)) >= 0]
        if ends:
            yield text[: min(ends)]
            return
        passed = text[: len(text) - kept] if kept else text
        text = text[len(passed) :]
        has_passed = has_passed or bool(passed)
        if passed:
            yield passed
    if text:
        yield text
