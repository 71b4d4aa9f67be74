"""Which images may be offered: those that are not internal, not expired and not under embargo.

The rule stands here twice, as a filter for the store and as a judgement on a payload, and a test holds the two
together. Filtering costs the store a look at every payload; judging costs a look at what it found.
"""

from datetime import UTC, datetime

from xcomp_indexer.store import Filter, Match, Not, Or, Payload, Range
from xcomp_indexer.store.payload import utc


def offered(now: datetime | None = None) -> Filter:
    """Returns the filter that only images pass which may be offered at that moment."""
    moment = utc(now or datetime.now(UTC))
    return Not(Or((Match("restricted", (1,)), Range("expires", lte=moment), Range("embargo", gt=moment))))


def is_offered(payload: Payload, now: datetime | None = None) -> bool:
    """Whether the image of a payload may be offered at that moment. Moments are all written alike, so texts compare."""
    moment = utc(now or datetime.now(UTC))
    expires, embargo = payload.get("expires"), payload.get("embargo")
    return (
        payload.get("restricted") != 1
        and (expires is None or str(expires) > moment)
        and (embargo is None or str(embargo) <= moment)
    )
