"""Which images may be offered: those that are not internal, not expired and not under embargo.

The rule stands here twice, as a filter for the store and as a judgement on a payload, and a test holds the two
together. Filtering costs the store a look at every payload; judging costs a look at what it found.
"""

from datetime import UTC, datetime

from xcomp_indexer.repository.image_record import utc
from xcomp_indexer.store import Filter, Match, Not, Or, Payload, Range


def now() -> str:
    """Returns this moment as payloads write one."""
    return utc(datetime.now(UTC))


def offered(moment: str) -> Filter:
    """Returns the filter that only images pass which may be offered at that moment."""
    return Not(Or((Match("restricted", (1,)), Range("expires", lte=moment), Range("embargo", gt=moment))))


def is_offered(payload: Payload, moment: str) -> bool:
    """Whether the image of a payload may be offered at a moment, which is written as in payloads: so texts compare."""
    expires, embargo = payload.get("expires"), payload.get("embargo")
    return (
        payload.get("restricted") != 1
        and (expires is None or str(expires) > moment)
        and (embargo is None or str(embargo) <= moment)
    )
