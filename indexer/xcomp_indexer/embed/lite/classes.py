"""The 1000 classes of ImageNet-1k: names for people, and sentences that place them among texts.

Index order is the customary one (sorted WordNet ids). README.md beside tells where the tables come from.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ENGLISH = Path(__file__).with_name("classes_en.tsv")
_CHINESE = Path(__file__).with_name("classes_zh.tsv")


@dataclass(frozen=True)
class ImageClass:
    """A class: display names, and the sentence `names: gloss` that stands for it among texts."""

    en: str
    zh: str
    sentence: str


def load_classes() -> tuple[ImageClass, ...]:
    """Reads both tables, in index order."""
    chinese = {row[0]: row[2] for row in _rows(_CHINESE)} if _CHINESE.exists() else {}
    return tuple(
        ImageClass(en=names.split(", ")[0], zh=chinese.get(index, ""), sentence=f"{names}: {gloss}")
        for index, names, gloss in _rows(_ENGLISH)
    )


def _rows(table: Path) -> Iterator[list[str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row[0].isdecimal():  # a heading is no class
                yield row
