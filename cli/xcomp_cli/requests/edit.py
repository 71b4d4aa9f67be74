"""Turns the flags of `xcomp edit` into one operation, or an error if they name none or several."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

SPOT_FLAGS = "--pick K, --search QUERY, --image ID, --caption TEXT, --alt TEXT, --exclude, --remove or --lock"
SEGMENT_FLAGS = "--rewrite, --expand, --shorten, --insert-before or --insert-after"


def require_one(*operations: pb.EditOperation | None) -> pb.EditOperation:
    """Returns the one operation that is not None.

    Raises:
        InvalidRequest: there is no operation, or more than one.
    """
    given = [operation for operation in operations if operation is not None]
    if len(given) != 1:
        raise InvalidRequest("name one change: --spot N, --segment N, --fill or --undo")
    return given[0]


@dataclass(frozen=True)
class SpotFlags:
    """Changes of an image, of which one may be given; a caption and an alt text may be given together."""

    pick: int | None = None
    search: str | None = None
    image: str | None = None
    caption: str | None = None
    alt: str | None = None
    exclude: bool = False
    remove: bool = False
    lock: bool = False

    def operations(self, spot: int) -> list[pb.EditOperation]:
        """Returns the operations that the flags name."""
        asked = []
        if self.pick is not None:
            asked.append(pb.EditOperation(pick=pb.PickCandidate(spot=spot, candidate=self.pick)))
        if self.search is not None:
            asked.append(pb.EditOperation(search=pb.SearchSpot(spot=spot, query=_check_query(self.search))))
        if self.image is not None:
            asked.append(pb.EditOperation(show=pb.ShowImage(spot=spot, image_id=self.image)))
        if self.caption is not None or self.alt is not None:
            words = pb.Recaption(spot=spot, caption=self.caption, alt=self.alt)
            asked.append(pb.EditOperation(recaption=words))
        return asked + [change for is_asked, change in self._plain(spot) if is_asked]

    def _plain(self, spot: int) -> Iterator[tuple[bool, pb.EditOperation]]:
        yield self.exclude, pb.EditOperation(exclude=spot)
        yield self.remove, pb.EditOperation(remove=spot)
        yield self.lock, pb.EditOperation(lock=spot)


def spot_operation(spot: int | None, flags: SpotFlags) -> pb.EditOperation | None:
    """Returns the operation on an image, None if no flag names one."""
    asked = flags.operations(spot or 0)
    if spot is None:
        if asked:
            raise InvalidRequest(f"{SPOT_FLAGS} need --spot N: review.html has the numbers")
        return None
    if len(asked) != 1:
        raise InvalidRequest(f"--spot needs one of {SPOT_FLAGS}")
    return asked[0]


def segment_operation(
    segment: int | None, kinds: Mapping[str, bool], *, text: str, hint: str
) -> pb.EditOperation | None:
    """Returns the operation on a segment, None if no flag names one; without a text the model writes it."""
    asked = [kind for kind, is_asked in kinds.items() if is_asked]
    if segment is None:
        if asked or text or hint:
            raise InvalidRequest(f"{SEGMENT_FLAGS} and TEXT need --segment N: review.html has the numbers")
        return None
    if len(asked) != 1:
        raise InvalidRequest(f"--segment needs one of {SEGMENT_FLAGS}")
    kind = pb.EditSegment.Kind.Value(f"KIND_{asked[0].replace('-', '_').upper()}")
    return pb.EditOperation(segment=pb.EditSegment(segment=segment, kind=kind, text=text, hint=hint))


def _check_query(text: str) -> str:
    if not text.strip():
        raise InvalidRequest("the query is empty: describe the image")
    return text
