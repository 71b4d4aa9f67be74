"""Token ids of texts, cut into windows that a model reads at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Tokenised texts; a text that is too long for the model has several windows."""

    input_ids: Ids  # [W, T]
    owners: Sequence[int]  # the text of each window
    weights: Sequence[int]  # tokens of each window


def cut_windows(tokens: Sequence[Sequence[int]], *, length: int, marks: tuple[int, int], padded_to: int = 0) -> Windows:
    """Cuts token ids into windows between a start and an end mark, padded with 0.

    Args:
        tokens: ids of each text, without marks.
        length: tokens that the model reads at once, the marks included.
        marks: ids of start and end.
        padded_to: width of the result; 0 is the width of the longest window.
    """
    step = length - len(marks)
    pieces = [
        (owner, ids[start : start + step])
        for owner, ids in enumerate(tokens)
        for start in range(0, max(len(ids), 1), step)
    ]
    width = padded_to or max(len(piece) for _, piece in pieces) + len(marks)
    input_ids = np.zeros((len(pieces), width), np.int64)
    for row, (_, piece) in zip(input_ids, pieces, strict=True):
        row[: len(piece) + len(marks)] = [marks[0], *piece, marks[1]]
    return Windows(input_ids, [owner for owner, _ in pieces], [max(len(piece), 1) for _, piece in pieces])
