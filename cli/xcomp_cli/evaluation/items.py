"""The items of an evaluation: a JSONL of choices, and of what people picked.

The one idea: every line is checked before a single question is asked, and an error names its line. Pictures are files
beside the items or ids of the repository; nothing here opens them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from string import ascii_uppercase
from typing import NoReturn

from xcomp_protos.errors import InvalidRequest

LETTERS = ascii_uppercase  # name the candidates of an item
NONE = "none"  # what a pick says where nothing fits
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class ItemImage:
    """A picture by its id in the repository, or by its file."""

    image_id: str = ""
    file: Path | None = None


@dataclass(frozen=True)
class Shown:
    """A picture that stands in the context already, after a paragraph, or after one of the last ones."""

    image: ItemImage
    after: int | None = None


@dataclass(frozen=True)
class Item:
    """One choice.

    Attributes:
        digest: of what is asked, so that a pick cannot be read into another question.
        order: the candidates' numbers in the order of their letters.
        is_labelled: whether a person has chosen.
        pick: what the person chose; None where nothing fits, or nobody has chosen.
    """

    id: str
    digest: str
    context: str
    query: str
    candidates: tuple[ItemImage, ...]
    order: tuple[int, ...]
    shown: tuple[Shown, ...] = ()
    is_labelled: bool = False
    pick: int | None = None


def read_items(file: Path) -> list[Item]:
    """Reads items; paths in them are relative to their file.

    Raises:
        InvalidRequest: no such file, or a line that makes no sense.
    """
    items = [_item(record, number, file) for number, record in _records(file)]
    if not items:
        raise InvalidRequest(f"'{file}' holds no item: one JSON object a line, as docs/evaluation.md shows")
    twice = {item.id for item in items if sum(other.id == item.id for other in items) > 1}
    if twice:
        raise InvalidRequest(f"'{file}' has several items of the id {min(twice)!r}: give each one its own")
    return items


def with_picks(items: Sequence[Item], file: Path) -> list[Item]:
    """Returns the items with the picks of a file; the last pick of an item counts.

    Raises:
        InvalidRequest: a pick of an item that is not there, or that asked something else when it was labelled.
    """
    known = {item.id: item for item in items}
    for number, record in _records(file):
        item = known.get(str(record.get("id")))
        if item is None:
            _fail(file, number, f"there is no item {record.get('id')!r}")
        if record.get("item", item.digest) != item.digest:
            _fail(file, number, f"item {item.id!r} has changed since it was labelled: label it again")
        is_labelled, pick = _pick(record, len(item.candidates), file, number)
        known[item.id] = replace(item, is_labelled=is_labelled, pick=pick)
    return list(known.values())


def _records(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InvalidRequest(f"no such file: '{file}'") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"'{file}' is not UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            _fail(file, number, "is no JSON")
        if not isinstance(record, dict):
            _fail(file, number, "is no JSON object")
        yield number, record


def _item(record: Mapping[str, object], number: int, file: Path) -> Item:
    names = record.get("candidates")
    if not isinstance(names, list) or not 2 <= len(names) <= len(LETTERS):
        _fail(file, number, f"candidates: expected a list of 2 to {len(LETTERS)} pictures")
    context, query = _words(record, "context", file, number), _words(record, "query", file, number)
    shown = record.get("images") or []
    if not isinstance(shown, list):
        _fail(file, number, "images: expected a list")
    is_labelled, pick = _pick(record, len(names), file, number)
    asked = json.dumps([context, query, names, shown], ensure_ascii=False, sort_keys=True)
    return Item(
        id=str(record.get("id", number)),
        digest=sha256(asked.encode(errors="surrogatepass")).hexdigest()[:12],
        context=context,
        query=query,
        candidates=tuple(_image(name, "candidates", file, number) for name in names),
        order=_order(record.get("order"), len(names), file, number),
        shown=tuple(_shown(each, file, number) for each in shown),
        is_labelled=is_labelled,
        pick=pick,
    )


def _pick(record: Mapping[str, object], count: int, file: Path, number: int) -> tuple[bool, int | None]:
    pick = record.get("pick")
    if pick is None:
        return False, None
    if pick == NONE:
        return True, None
    if not isinstance(pick, int) or isinstance(pick, bool) or not 0 <= pick < count:
        _fail(file, number, f'pick: expected 0 to {count - 1}, "{NONE}" where nothing fits, or null, got {pick!r:.40}')
    return True, pick


def _order(value: object, count: int, file: Path, number: int) -> tuple[int, ...]:
    if value is None:
        return tuple(range(count))
    order = [LETTERS.find(letter) for letter in value] if isinstance(value, str) else value
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(map(str, range(count))):
        _fail(file, number, f"order: expected each candidate once, as {LETTERS[:count][::-1]!r}, got {value!r:.60}")
    return tuple(int(each) for each in order)


def _shown(value: object, file: Path, number: int) -> Shown:
    if not isinstance(value, dict):
        return Shown(_image(value, "images", file, number))
    after = value.get("after")
    if after is not None and (not isinstance(after, int) or isinstance(after, bool) or after < 0):
        _fail(file, number, f"images: after: expected the number of a paragraph, got {after!r:.40}")
    return Shown(_image(value.get("image"), "images", file, number), after)


def _image(name: object, field: str, file: Path, number: int) -> ItemImage:
    if not isinstance(name, str) or not name:
        _fail(file, number, f"{field}: expected a path or an id, got {name!r:.60}")
    if _ID.fullmatch(name):
        return ItemImage(image_id=name)
    path = file.parent / name
    if not path.is_file():
        _fail(file, number, f"{field}: there is no file '{path}'")
    return ItemImage(file=path)


def _words(record: Mapping[str, object], field: str, file: Path, number: int) -> str:
    words = record.get(field)
    if not isinstance(words, str) or not words.strip():
        _fail(file, number, f"{field}: expected words")
    return words


def _fail(file: Path, number: int, message: str) -> NoReturn:
    raise InvalidRequest(f"'{file}', line {number}: {message}")
