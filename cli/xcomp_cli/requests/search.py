"""Turns the options of `xcomp search` into the parts of a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xcomp_cli import options
from xcomp_cli.requests.attachments import attach
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import InvalidRequest


@dataclass(frozen=True)
class SearchQuery:
    """Texts and images that a hit should resemble, and those that it should not."""

    text: str
    image: Path | None
    image_weight: float
    without: Sequence[str]
    unlike: Sequence[Path]
    not_weight: float

    def is_empty(self) -> bool:
        """Whether it has neither words nor images."""
        return not (self.text.strip() or self.image or self.without or self.unlike)

    def parts(self) -> list[pb.QueryPart]:
        """Returns the parts of the query.

        Raises:
            InvalidRequest: the query is empty, or a text is not UTF-8.
            ImageError: a file is not an image.
        """
        parts = [pb.QueryPart(text=options.parse_text(self.text, name="query"))] if self.text.strip() else []
        if self.image:
            parts.append(pb.QueryPart(image=attach(self.image), weight=self.image_weight))
        weight = -self.not_weight
        parts += [
            pb.QueryPart(text=options.parse_text(each, name="text of --not"), weight=weight) for each in self.without
        ]
        parts += [pb.QueryPart(image=attach(each), weight=weight) for each in self.unlike]
        if not parts:
            raise InvalidRequest("the query is empty: describe the image, or give --image FILE")
        return parts


def parse_weights(given: Sequence[str]) -> dict[str, float]:
    """Parses weights of spaces, each as `SPACE=X`.

    Raises:
        InvalidRequest: a weight has another form.
    """
    read = {}
    for each in given:
        space, _, weight = each.rpartition("=")
        try:
            read[space] = float(weight)
        except ValueError:
            space = ""
        if not space:
            raise InvalidRequest(f"--space-weight {each!r}: write SPACE=X, as in en=2")
    return read
