"""Parses the filter expressions of `--where`: `rights=cc-by and (date>=2024-01 or path:trips/**) and not tag=draft`.

    expression  = term { "or" term }
    term        = factor { "and" factor }
    factor      = "not" factor | "(" expression ")" | FIELD OPERATOR VALUE
    OPERATOR    = "=" | "!=" | ">=" | "<=" | ">" | "<" | ":"
    VALUE       = all up to a blank or a parenthesis, or a text in "…" or '…', with \\ before a quote or a \\

`not` binds closest, then `and`; the three words may be written in any case. An image that lacks a field is unequal to
every value and lies in no range. `filter_fields.py` defines the fields.
"""

import re
from collections.abc import Sequence

from xcomp_indexer.search.filter_fields import field
from xcomp_indexer.store import And, Filter, Not, Or
from xcomp_protos.errors import InvalidRequest

_LONGEST = 4096
_DEEPEST = 32
_END, _OPENING, _CLOSING = re.compile(r"\Z"), re.compile(r"\("), re.compile(r"\)")
_BLANK = re.compile(r"\s*")
_WORD = re.compile(r"(and|or|not)(?=[\s()]|$)", re.IGNORECASE)
_FIELD = re.compile(r'[\w-]+(?:\.(?:"[^"]+"|[\w-]+))*')
_OPERATOR = re.compile(r"!=|>=|<=|=|>|<|:")
_QUOTED = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'""", re.DOTALL)
_BARE = re.compile(r"[^\s()]+")


def parse(expressions: Sequence[str]) -> Filter | None:
    """Parse filter expressions, all of which must hold; return None if there are none.

    Raises:
        InvalidRequest: an expression cannot be parsed; the message names the position and the remedy.
    """
    parts = tuple(_TokenReader(expression).read() for expression in expressions)
    return And(parts) if len(parts) > 1 else next(iter(parts), None)


class _TokenReader:
    """Parses one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def read(self) -> Filter:
        if len(self._text) > _LONGEST:
            raise InvalidRequest(f"where: an expression is longer than {_LONGEST} characters: use several")
        part = self._parse_or()
        if not self._take(_END):
            raise self._error("expected 'and', 'or' or the end; put values with blanks or parentheses in quotes")
        return part

    def _parse_or(self) -> Filter:
        parts = [self._parse_and()]
        while self._take_word("or"):
            parts.append(self._parse_and())
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def _parse_and(self) -> Filter:
        parts = [self._parse_factor()]
        while self._take_word("and"):
            parts.append(self._parse_factor())
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def _parse_factor(self) -> Filter:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"nested deeper than {_DEEPEST} levels")
        part = self._parse_inner()
        self._depth -= 1
        return part

    def _parse_inner(self) -> Filter:
        if self._take_word("not"):
            return Not(self._parse_factor())
        if not self._take(_OPENING):
            return self._parse_comparison()
        part = self._parse_or()
        if not self._take(_CLOSING):
            raise self._error("expected ')'")
        return part

    def _parse_comparison(self) -> Filter:
        name = self._expect(_FIELD, "expected a field, as in tag=harbour")[0]
        start = self._at - len(name)
        try:
            known = field(name)
        except ValueError as error:
            raise self._error(str(error), at=start) from None
        allowed = f"{name} takes {' '.join(known.operators)} and a value"
        operator = self._expect(_OPERATOR, allowed)[0]
        if operator not in known.operators:
            raise self._error(allowed, at=self._at - len(operator))
        value, at = self._parse_value(allowed)
        try:
            return known.compile(operator, value)
        except ValueError as error:
            raise self._error(str(error), at=at) from None

    def _parse_value(self, allowed: str) -> tuple[str, int]:
        quoted = self._take(_QUOTED)
        if quoted:
            inner = quoted[1] if quoted[1] is not None else quoted[2]
            return re.sub(r"""\\(["'\\])""", r"\1", inner), quoted.start()
        bare = self._expect(_BARE, allowed)
        if bare[0][0] in "\"'":
            raise self._error("a quote is not closed", at=bare.start())
        return bare[0], bare.start()

    def _take_word(self, word: str) -> bool:
        match = _WORD.match(self._text, self._skip_blank())
        if not match or match[1].lower() != word:
            return False
        self._at = match.end()
        return True

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._skip_blank())
        self._at = match.end() if match else self._at
        return match

    def _expect(self, pattern: re.Pattern[str], otherwise: str) -> re.Match[str]:
        match = self._take(pattern)
        if not match:
            raise self._error(otherwise)
        return match

    def _skip_blank(self) -> int:
        blank = _BLANK.match(self._text, self._at)
        return blank.end() if blank else self._at

    def _error(self, problem: str, *, at: int | None = None) -> InvalidRequest:
        place = self._skip_blank() if at is None else at
        return InvalidRequest(f"where {self._text[:80]!r}, character {place + 1}: {problem}")
