"""Reads the items of an evaluation, JSON Lines of choices, and the picks of people.

Every line is checked before the first question is asked, and an error names its line. Images are files beside the
items or ids of the repository; they are not opened here.
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
NONE = "none"  # a pick that says that nothing fits
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class ItemImage:
    """An image by its id in the repository, or by its file."""

    image_id: str = ""
    file: Path | None = None


@dataclass(frozen=True)
class ShownImage:
    """An image that is already in the context, after paragraph `after`, or after one of the last paragraphs."""

    image: ItemImage
    after: int | None = None


@dataclass(frozen=True)
class Item:
    """One choice.

    Attributes:
        digest: of the question, so that a pick is never read into another question.
        order: the candidates' numbers in the order of their letters.
        is_labelled: whether a person has chosen.
        pick: what the person chose; None if nothing fits, or if no person has chosen.
    """

    id: str
    digest: str
    context: str
    query: str
    candidates: tuple[ItemImage, ...]
    order: tuple[int, ...]
    shown: tuple[ShownImage, ...] = ()
    is_labelled: bool = False
    pick: int | None = None


def read_items(file: Path) -> list[Item]:
    """Reads items; paths in them are relative to their file.

    Raises:
        InvalidRequest: the file does not exist, or a line is invalid.
    """
    items = [_parse_item(record, number, file) for number, record in _read_records(file)]
    if not items:
        raise InvalidRequest(f"'{file}' has no item: one JSON object a line, as docs/evaluation.md shows")
    duplicates = {item.id for item in items if sum(other.id == item.id for other in items) > 1}
    if duplicates:
        raise InvalidRequest(f"'{file}' has several items of the id {min(duplicates)!r}: give each its own")
    return items


def with_picks(items: Sequence[Item], file: Path) -> list[Item]:
    """Returns the items with the picks of a file; the last pick of an item counts.

    Raises:
        InvalidRequest: the item of a pick does not exist, or has changed since it was labelled.
    """
    known = {item.id: item for item in items}
    for number, record in _read_records(file):
        item = known.get(str(record.get("id")))
        if item is None:
            _fail(file, number, f"there is no item {record.get('id')!r}")
        if record.get("item", item.digest) != item.digest:
            _fail(file, number, f"item {item.id!r} has changed since it was labelled: label it again")
        is_labelled, pick = _parse_pick(record, len(item.candidates), file, number)
        known[item.id] = replace(item, is_labelled=is_labelled, pick=pick)
    return list(known.values())


def _read_records(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
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
            _fail(file, number, "is not JSON")
        if not isinstance(record, dict):
            _fail(file, number, "is not a JSON object")
        yield number, record


def _parse_item(record: Mapping[str, object], number: int, file: Path) -> Item:
    names = record.get("candidates")
    if not isinstance(names, list) or not 2 <= len(names) <= len(LETTERS):
        _fail(file, number, f"candidates: expected a list of 2 to {len(LETTERS)} images")
    context, query = _parse_text(record, "context", file, number), _parse_text(record, "query", file, number)
    shown = record.get("images") or []
    if not isinstance(shown, list):
        _fail(file, number, "images: expected a list")
    is_labelled, pick = _parse_pick(record, len(names), file, number)
    asked = json.dumps([context, query, names, shown], ensure_ascii=False, sort_keys=True)
    return Item(
        id=str(record.get("id", number)),
        digest=sha256(asked.encode(errors="surrogatepass")).hexdigest()[:12],
        context=context,
        query=query,
        candidates=tuple(_parse_image(name, "candidates", file, number) for name in names),
        order=_parse_order(record.get("order"), len(names), file, number),
        shown=tuple(_parse_shown(each, file, number) for each in shown),
        is_labelled=is_labelled,
        pick=pick,
    )


def _parse_pick(record: Mapping[str, object], count: int, file: Path, number: int) -> tuple[bool, int | None]:
    pick = record.get("pick")
    if pick is None:
        return False, None
    if pick == NONE:
        return True, None
    if not isinstance(pick, int) or isinstance(pick, bool) or not 0 <= pick < count:
        _fail(file, number, f'pick: expected 0 to {count - 1}, "{NONE}" where nothing fits, or null, got {pick!r:.40}')
    return True, pick


def _parse_order(value: object, count: int, file: Path, number: int) -> tuple[int, ...]:
    if value is None:
        return tuple(range(count))
    order = [LETTERS.find(letter) for letter in value] if isinstance(value, str) else value
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(map(str, range(count))):
        _fail(file, number, f"order: expected each candidate once, as {LETTERS[:count][::-1]!r}, got {value!r:.60}")
    return tuple(int(each) for each in order)


def _parse_shown(value: object, file: Path, number: int) -> ShownImage:
    if not isinstance(value, dict):
        return ShownImage(_parse_image(value, "images", file, number))
    after = value.get("after")
    if after is not None and (not isinstance(after, int) or isinstance(after, bool) or after < 0):
        _fail(file, number, f"images: after: expected the number of a paragraph, got {after!r:.40}")
    return ShownImage(_parse_image(value.get("image"), "images", file, number), after)


def _parse_image(name: object, field: str, file: Path, number: int) -> ItemImage:
    if not isinstance(name, str) or not name:
        _fail(file, number, f"{field}: expected a path or an id, got {name!r:.60}")
    if _ID.fullmatch(name):
        return ItemImage(image_id=name)
    path = file.parent / name
    if not path.is_file():
        _fail(file, number, f"{field}: there is no file '{path}'")
    return ItemImage(file=path)


def _parse_text(record: Mapping[str, object], field: str, file: Path, number: int) -> str:
    words = record.get(field)
    if not isinstance(words, str) or not words.strip():
        _fail(file, number, f"{field}: expected words")
    return words


def _fail(file: Path, number: int, message: str) -> NoReturn:
    raise InvalidRequest(f"'{file}', line {number}: {message}")
