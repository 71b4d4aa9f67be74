"""An article as a model reads it: one passage for each place where a picture may stand, in the order of the text.

The one idea: whatever a model answers, a number that it can name is a place that there is. Headings go with the
paragraph after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xcomp_composer.block import Block
from xcomp_composer.spot import places


@dataclass(frozen=True)
class Passage:
    """The words since the last place, and the segment after which a picture may stand."""

    segment: int
    text: str


def passages(blocks: Sequence[Block]) -> tuple[Passage, ...]:
    """Cuts an article at its places; words after the last one belong to none."""
    ends = places(blocks)
    starts = [0, *(end + 1 for end in ends)]
    return tuple(
        Passage(end, "\n".join(block.prose for block in blocks[start : end + 1] if block.prose))
        for start, end in zip(starts, ends, strict=False)
    )
