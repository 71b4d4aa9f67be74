"""Removes the thoughts of reasoning models from their answers, also while an answer arrives in pieces.

A server that parses thoughts sends them apart from the answer. Others leave them in it between two tags, or before a
closing tag alone if the template of the model already contains the opening one.
"""

import re
from collections.abc import Mapping

_NAMES = ("think", "thinking", "thought", "reasoning")
_OPENING = (*(f"<{name}>" for name in _NAMES), "[think]", "◁think▷", "<|channel|>analysis<|message|>")
_CLOSING = (*(f"</{name}>" for name in _NAMES), "[/think]", "◁/think▷", "<|channel|>final<|message|>")
_TAGS = re.compile(
    f"(?P<open>{'|'.join(map(re.escape, _OPENING))})|{'|'.join(map(re.escape, _CLOSING))}", re.IGNORECASE
)
_LONGEST = max(map(len, (*_OPENING, *_CLOSING)))


class LateThought(Exception):
    """A closing tag says that the answer so far was a thought, but a part of it was passed on."""


class ThoughtFilter:
    """Passes on the pieces of an answer that are no thought.

    Attributes:
        has_thoughts: whether there were any.
        is_lone: whether a closing tag had no opening one.
    """

    def __init__(self, *, holds: bool) -> None:
        """Args:
        holds: keep the answer back until a tag or its end shows where it begins.
        """
        self._text = ""
        self._holds = holds
        self._is_inside = False
        self._has_passed = False
        self.has_thoughts = False
        self.is_lone = False

    def feed(self, piece: str) -> str:
        """Takes a piece of the answer; returns what can be passed on.

        Raises:
            LateThought: the answer passed on so far was a thought.
        """
        self._text += piece
        passed = ""
        while tag := _TAGS.search(self._text):
            if tag["open"]:
                passed += "" if self._is_inside else self._text[: tag.start()]
                self._is_inside = True
            else:
                self._check_close()
                passed = passed if self._is_inside else ""
                self._is_inside = False
            self.has_thoughts = True
            self._holds = False
            self._text = self._text[tag.end() :]
        return self._pass(passed + self._take(_unfinished_tag(self._text)))

    def stop_holding(self) -> None:
        """Passes the answer on as it comes: its thoughts come apart from it."""
        self._holds = False

    def finish(self) -> str:
        """Returns the rest at the end of the answer."""
        self._holds = False
        return self._pass(self._take(len(self._text)))

    def _check_close(self) -> None:
        if self._is_inside:
            return
        self.is_lone = True
        if self._has_passed:
            raise LateThought

    def _take(self, end: int) -> str:
        if self._holds:
            return ""
        taken, self._text = self._text[:end], self._text[end:]
        return "" if self._is_inside else taken

    def _pass(self, text: str) -> str:
        if not self._has_passed:
            text = text.lstrip() if self.has_thoughts else text
        self._has_passed = self._has_passed or bool(text.strip())
        return text


def _unfinished_tag(text: str) -> int:
    """Returns where a tag may start that is not complete yet; the end of the text if none does."""
    for at in range(max(len(text) - _LONGEST, 0), len(text)):
        start = text[at:].lower()
        if any(tag.startswith(start) for tag in (*_OPENING, *_CLOSING)):
            return at
    return len(text)


def strip_thoughts(answer: str) -> str:
    """Returns a whole answer without its thoughts."""
    thoughts = ThoughtFilter(holds=True)
    return thoughts.feed(answer) + thoughts.finish()


def join_content(content: object) -> str:
    """Returns the text of an answer's content: a text, nothing, or a list of typed parts; thoughts are left out."""
    if isinstance(content, list):
        return "".join(map(join_content, content))
    if isinstance(content, Mapping):
        return join_content(content.get("text")) if content.get("type", "text") in ("text", "output_text") else ""
    return content if isinstance(content, str) else ""
