"""Words to token ids and back, with the sentencepiece model of the release.

Our templates and the words of a user are encoded as one string, so that tokens are split as in training. A user's word
that looks like a mark is encoded letter by letter: it reads the same, but is not a mark.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import sentencepiece

from xcomp_model.base import Control, ImagePart, ModelFailure, Prompt, Template, Text

Unit = int | ImagePart  # a token, or an image with all its rows

_ERRORS = 2  # of sentencepiece's log levels
_FIRST_MULTIBYTE = 0x80  # in UTF-8, larger bytes are parts of a character
_MAX_SPELLED = 4  # characters; every segmentation of shorter options is tried


@dataclass(frozen=True)
class Marks:
    """The special tokens of a model family.

    Attributes:
        controls: piece of each control mark, by its name; an empty piece has no id and only separates words.
        reserved: regular expression of literals that the model reads as marks in our templates.
    """

    controls: Mapping[str, str]
    reserved: str


class Tokenizer:
    """A sentencepiece model with the marks of its family."""

    def __init__(self, path: Path, marks: Marks) -> None:
        if not path.is_file():
            raise ModelFailure(f"{path} is missing: is {path.parent} a model folder?")
        sentencepiece.set_min_log_level(_ERRORS)  # it reports the null character in the released models
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ModelFailure(f"{path} is not a sentencepiece model: {error}") from error
        self._reserved = re.compile(marks.reserved)
        self.controls = {name: self._find_control(piece, path) for name, piece in marks.controls.items() if piece}
        self._separators = frozenset(name for name, piece in marks.controls.items() if not piece)
        self._control_set = frozenset(self.controls.values())

    def __len__(self) -> int:
        return int(self._pieces.get_piece_size())

    def encode_prompt(self, prompt: Prompt) -> list[Unit]:
        """Encodes a prompt; words between images and control marks are encoded as one string."""
        units: list[Unit] = []
        run: list[Text | Template] = []
        for part in prompt:
            if isinstance(part, Text | Template):
                run.append(part)
                continue
            units += self._encode_run(run)
            run = []
            units += [part] if isinstance(part, ImagePart) else self._control_ids(part)
        return units + self._encode_run(run)

    def encode(self, text: str) -> list[int]:
        """Encodes trusted text, including its marks."""
        readable = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is not a character
        return [int(i) for i in self._pieces.encode(readable)]

    def decode(self, ids: Iterable[int]) -> str:
        """Decodes ids; control marks are left out."""
        return str(self._pieces.decode([i for i in ids if i not in self._control_set and i < len(self)]))

    def text_pieces(self) -> Iterator[tuple[int, str]]:
        """Yields every token that is text by itself, with its text: no marks, unused tokens or parts of characters."""
        for i in range(len(self)):
            kinds = (self._pieces.is_control, self._pieces.is_unknown, self._pieces.is_unused)
            if i in self._control_set or any(kind(i) for kind in kinds):
                continue
            piece = str(self._pieces.id_to_piece(i))
            if not self._pieces.is_byte(i):
                yield i, piece.replace("▁", " ")
            elif (byte := int(piece.strip("<>"), 16)) < _FIRST_MULTIBYTE:
                yield i, chr(byte)

    def spellings(self, text: str) -> list[tuple[int, ...]]:
        """Returns every way to write a short text in tokens; for a longer text only the tokenizer's own."""
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
            if _overlaps_user_text(run, match.start(), match.end()):
                ids += self.encode(text[end : match.start()])
                ids += [i for letter in match.group() for i in self.encode(letter)]
                end = match.end()
        return ids + self.encode(text[end:])

    def _control_ids(self, control: Control) -> list[int]:
        if control.name in self._separators:
            return []
        if control.name not in self.controls:
            raise ModelFailure(f"this model has no mark named {control.name!r}: it has {', '.join(self.controls)}")
        return [self.controls[control.name]]

    def _find_control(self, piece: str, path: Path) -> int:
        found = int(self._pieces.piece_to_id(piece))
        if found == self._pieces.unk_id():
            raise ModelFailure(f"{path} has no piece {piece}: it belongs to another model")
        return found


class Decoder:
    """Decodes an answer token by token; incomplete characters wait for their next token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """Appends a token; returns the text that it completes, possibly empty."""
        self._waiting.append(token)
        text = self._tokenizer.decode(self._waiting)
        if text.endswith("\ufffd") and len(self._waiting) < 4:  # the bytes of one character
            return ""
        self._waiting.clear()
        return text

    def flush(self) -> str:
        """Returns the text of the tokens that wait."""
        text = self._tokenizer.decode(self._waiting)
        self._waiting.clear()
        return text


def _overlaps_user_text(run: list[Text | Template], start: int, end: int) -> bool:
    at = 0
    for part in run:
        if isinstance(part, Text) and at < end and start < at + len(part.text):
            return True
        at += len(part.text)
    return False
