"""The one change that the flags of `xcomp edit` ask for, or the reason why they ask for none or several."""

from collections.abc import Mapping

from xcomp_protos import composer_pb2 as pb
from xcomp_protos.transport.errors import InvalidRequest

SPOT_FLAGS = "--pick K, --search QUERY, --remove or --lock"
SEGMENT_FLAGS = "--rewrite, --expand, --shorten, --insert-before or --insert-after"


def only(*operations: pb.EditOperation | None) -> pb.EditOperation:
    """Returns the one that is there.

    Raises:
        InvalidRequest: there is none, or more than one.
    """
    given = [operation for operation in operations if operation is not None]
    if len(given) != 1:
        raise InvalidRequest("name one change: --spot N, --segment N or --undo")
    return given[0]


def of_spot(
    spot: int | None, *, pick: int | None, search: str | None, remove: bool, lock: bool
) -> pb.EditOperation | None:
    """Returns the change of a picture, None if no flag asks for one."""
    asked = [pick is not None, search is not None, remove, lock]
    if spot is None:
        if any(asked):
            raise InvalidRequest(f"{SPOT_FLAGS} need --spot N: review.html has the numbers")
        return None
    if sum(asked) != 1:
        raise InvalidRequest(f"--spot needs one of {SPOT_FLAGS}")
    if pick is not None:
        return pb.EditOperation(pick=pb.PickCandidate(spot=spot, candidate=pick))
    if search is not None:
        return pb.EditOperation(search=pb.SearchSpot(spot=spot, query=_query(search)))
    return pb.EditOperation(remove=spot) if remove else pb.EditOperation(lock=spot)


def of_segment(segment: int | None, kinds: Mapping[str, bool], *, text: str) -> pb.EditOperation | None:
    """Returns the change of a segment, None if no flag asks for one; without a text the model is to write."""
    asked = [kind for kind, is_asked in kinds.items() if is_asked]
    if segment is None:
        if asked or text:
            raise InvalidRequest(f"{SEGMENT_FLAGS} and TEXT need --segment N: review.html has the numbers")
        return None
    if len(asked) != 1:
        raise InvalidRequest(f"--segment needs one of {SEGMENT_FLAGS}")
    kind = pb.EditSegment.Kind.Value(f"KIND_{asked[0].replace('-', '_').upper()}")
    return pb.EditOperation(segment=pb.EditSegment(segment=segment, kind=kind, text=text))


def _query(text: str) -> str:
    if not text.strip():
        raise InvalidRequest("the query is empty: say what the picture shows")
    return text
