"""The 1000 classes of ImageNet-1k: their display names, and their sentence vectors.

The order is the usual one (sorted WordNet ids). README.md in this folder says where the tables come from;
`python -m xcomp_indexer.embed.lite.class_vectors` computes the vectors.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xcomp_indexer.embed.base import Vectors

_ENGLISH = Path(__file__).with_name("classes_en.tsv")
_CHINESE = Path(__file__).with_name("classes_zh.tsv")
VECTORS = Path(__file__).with_name("classes.npy")


@dataclass(frozen=True)
class ImageClass:
    """A class: display names, all its WordNet names, and WordNet's definition."""

    en: str
    zh: str
    names: str
    gloss: str


def load_classes() -> tuple[ImageClass, ...]:
    """Reads both tables, in index order."""
    chinese = {row[0]: row[2] for row in _read_rows(_CHINESE)}
    return tuple(
        ImageClass(en=names.split(", ")[0], zh=chinese[index], names=names, gloss=gloss)
        for index, names, gloss in _read_rows(_ENGLISH)
    )


def load_vectors() -> Vectors:
    """Returns the sentence vectors of the classes, `[1000, 384]`, in index order."""
    vectors: Vectors = np.load(VECTORS, allow_pickle=False).astype(np.float32)
    return vectors


def digest_vectors() -> str:
    """Returns the sha256 of the class vectors' file."""
    return hashlib.sha256(VECTORS.read_bytes()).hexdigest()


def _read_rows(table: Path) -> Iterator[list[str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row[0].isdecimal():  # skips the heading
                yield row
