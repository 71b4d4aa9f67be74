"""Words to ids and back, by the sentencepiece model of the release.

The one idea: what we wrote and what a user wrote are encoded together, so that pieces join as in training, but a user's
word that looks like a mark is spelled out letter by letter: it reads the same and marks nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import sentencepiece

from xcomp_model.base import Control, ModelError, Picture, Prompt, Template, Text

Unit = int | Picture  # a token, or a picture with all its rows

_ERRORS = 2  # of sentencepiece's log levels
_BYTES_OF_CHARACTERS = 0x80  # in UTF-8, from here on a byte is a part of one
_MAX_SPELLED = 4  # characters of an option whose every segmentation is tried


@dataclass(frozen=True)
class Marks:
    """What a family's tokens mean.

    Attributes:
        controls: name of a control part to its piece; an empty one has no id and only keeps words apart.
        reserved: regular expression of literals that mean something to the model where we write them.
    """

    controls: Mapping[str, str]
    reserved: str


class Tokenizer:
    """A sentencepiece model with the marks of its family."""

    def __init__(self, path: Path, marks: Marks) -> None:
        if not path.is_file():
            raise ModelError(f"{path} is missing: is {path.parent} a model folder?")
        sentencepiece.set_min_log_level(_ERRORS)  # the released models hold a null character, which it reports
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ModelError(f"{path} is no sentencepiece model: {error}") from error
        self._reserved = re.compile(marks.reserved)
        self.controls = {name: self._control(piece, path) for name, piece in marks.controls.items() if piece}
        self._joints = frozenset(name for name, piece in marks.controls.items() if not piece)
        self._silent = frozenset(self.controls.values())

    def __len__(self) -> int:
        return int(self._pieces.get_piece_size())

    def units(self, prompt: Prompt) -> list[Unit]:
        """Encodes a prompt; words between pictures and control marks are encoded as one string."""
        found: list[Unit] = []
        run: list[Text | Template] = []
        for part in prompt:
            if isinstance(part, Text | Template):
                run.append(part)
                continue
            found += self._encode_run(run)
            run = []
            found += [part] if isinstance(part, Picture) else self._named(part)
        return found + self._encode_run(run)

    def encode(self, text: str) -> list[int]:
        """Encodes trusted text, marks and all."""
        readable = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is no character
        return [int(i) for i in self._pieces.encode(readable)]

    def decode(self, ids: Iterable[int]) -> str:
        """Decodes ids; control marks are silent."""
        return str(self._pieces.decode([i for i in ids if i not in self._silent and i < len(self)]))

    def pieces(self) -> Iterator[tuple[int, str]]:
        """Every token that is text by itself, with that text: marks, unused ones and parts of characters left out."""
        for i in range(len(self)):
            kinds = (self._pieces.is_control, self._pieces.is_unknown, self._pieces.is_unused)
            if i in self._silent or any(kind(i) for kind in kinds):
                continue
            piece = str(self._pieces.id_to_piece(i))
            if not self._pieces.is_byte(i):
                yield i, piece.replace("▁", " ")
            elif (byte := int(piece.strip("<>"), 16)) < _BYTES_OF_CHARACTERS:
                yield i, chr(byte)

    def spellings(self, text: str) -> list[tuple[int, ...]]:
        """Every way to write a short text in tokens; for a longer one the way of the tokenizer."""
        if len(text) > _MAX_SPELLED:
            return [tuple(self.encode(text))]
        found = []
        for cuts in range(1 << max(len(text) - 1, 0)):
            bounds = [0, *(i + 1 for i in range(len(text) - 1) if cuts >> i & 1), len(text)]
            ids = tuple(self._pieces.piece_to_id(text[a:b].replace(" ", "▁")) for a, b in pairwise(bounds))
            if self._pieces.unk_id() not in ids:
                found.append(ids)
        return found or [tuple(self.encode(text))]

    def _encode_run(self, run: list[Text | Template]) -> list[int]:
        text = "".join(part.text for part in run)
        ids: list[int] = []
        end = 0
        for match in self._reserved.finditer(text):
            if _touches_user(run, match.start(), match.end()):
                ids += self.encode(text[end : match.start()])
                ids += [i for letter in match.group() for i in self.encode(letter)]
                end = match.end()
        return ids + self.encode(text[end:])

    def _named(self, control: Control) -> list[int]:
        if control.name in self._joints:
            return []
        if control.name not in self.controls:
            raise ModelError(f"this model has no mark named {control.name!r}: it has {', '.join(self.controls)}")
        return [self.controls[control.name]]

    def _control(self, piece: str, path: Path) -> int:
        found = int(self._pieces.piece_to_id(piece))
        if found == self._pieces.unk_id():
            raise ModelError(f"{path} has no piece {piece}: it belongs to another model")
        return found


class Decoder:
    """Decodes a growing answer piece by piece; unfinished characters wait."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """Takes a token; returns the text that it completes, maybe none."""
        self._waiting.append(token)
        text = self._tokenizer.decode(self._waiting)
        if text.endswith("\ufffd") and len(self._waiting) < 4:  # the bytes of one character
            return ""
        self._waiting.clear()
        return text

    def flush(self) -> str:
        """Returns what waits, finished or not."""
        text = self._tokenizer.decode(self._waiting)
        self._waiting.clear()
        return text


def _touches_user(run: list[Text | Template], start: int, end: int) -> bool:
    at = 0
    for part in run:
        if isinstance(part, Text) and at < end and start < at + len(part.text):
            return True
        at += len(part.text)
    return False
