"""Decides which images may be offered: those that are not internal, not expired and not under embargo.

The rule exists twice, as a filter for the store and as a check of a payload; a test compares the two. The filter makes
the store look at every payload, the check looks only at what was found.
"""

from datetime import UTC, datetime

from xcomp_indexer.repository.image_record import utc
from xcomp_indexer.store import Filter, Match, Not, Or, Payload, Range


def now() -> str:
    """Return the current time in the format of payloads."""
    return utc(datetime.now(UTC))


def offered_filter(moment: str) -> Filter:
    """Return a filter for images that may be offered at a moment."""
    return Not(Or((Match("restricted", (1,)), Range("expires", lte=moment), Range("embargo", gt=moment))))


def is_offered(payload: Payload, moment: str) -> bool:
    """Whether the image of a payload may be offered at a moment in the format of payloads, which compares as text."""
    expires, embargo = payload.get("expires"), payload.get("embargo")
    return (
        payload.get("restricted") != 1
        and (expires is None or str(expires) > moment)
        and (embargo is None or str(embargo) <= moment)
    )
