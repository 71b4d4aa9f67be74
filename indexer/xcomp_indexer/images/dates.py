"""Parses dates as cameras, archives and people write them, and tells the span that a partial date means."""

import re
from datetime import UTC, datetime, timedelta

_SEPARATED = re.compile(
    r"(\d{4})(?:[:/.-](\d{1,2})(?:[:/.-](\d{1,2})"
    r"(?:[T\s]\s*(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_COMPACT = re.compile(
    r"(\d{4})(\d{2})(\d{2})(?:[T\s]?(\d{2})(\d{2})(\d{2})?\s*(Z|[+-]\d{2}(?::?\d{2})?)?)?", re.ASCII | re.IGNORECASE
)
_CHINESE = str.maketrans({"年": "-", "月": "-", "日": " "})


def parse_date(value: object) -> str | None:
    """Returns `1954`, `1954-07`, or a moment as RFC 3339 in UTC, which is the zone of one without; None if unreadable.

    Zeros for the month or the day leave them unknown, as in IPTC.
    """
    match = _match(value)
    if not match or int(match[1]) == 0:
        return None
    year, month, day = match[1], int(match[2] or 0), int(match[3] or 0)
    if month > 12 or (day and not month):
        return None
    if not month:
        return year
    return _build_moment(match) if day else f"{year}-{month:02}"


def parse_timestamp(value: object) -> str | None:
    """Returns a whole date or time as RFC 3339 in UTC; None if it is partial or unreadable."""
    parsed = parse_date(value) if isinstance(value, str) else None
    return parsed if parsed and "T" in parsed else None


def format_moment(seconds: float) -> str | None:
    """Returns seconds since 1970 as RFC 3339 in UTC; None if no date has them."""
    try:
        return _format(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
    except (OverflowError, ValueError):
        return None


def parse_span(text: str) -> tuple[datetime, datetime | None]:
    """Returns the first second of a date of `parse_date`, and the last one if the date is partial."""
    if "T" in text:
        return datetime.fromisoformat(text), None
    year, _, month = text.partition("-")
    first = datetime(int(year), int(month or 1), 1, tzinfo=UTC)
    last_day = datetime(int(year), int(month or 12), 28, 23, 59, 59, tzinfo=UTC)
    while (last_day.month, last_day.day) != (12, 31) and (last_day + timedelta(days=1)).month == last_day.month:
        last_day += timedelta(days=1)
    return first, last_day


def has_zone(value: object) -> bool:
    """Whether a text is a time that names its zone."""
    match = _match(value)
    return bool(match and match[7])


def _match(value: object) -> re.Match[str] | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1000 <= value <= 9999:
        value = str(value)  # a year
    if not isinstance(value, str):
        return None
    text = value.strip("\0 \t\r\n").translate(_CHINESE).strip().removesuffix("-")
    return _SEPARATED.fullmatch(text) or _COMPACT.fullmatch(text)


def _build_moment(match: re.Match[str]) -> str | None:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    zone = (match[7] or "Z").upper()
    zone = zone if zone == "Z" or len(zone) > 3 else f"{zone}00"
    try:
        local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return _format(local.replace(tzinfo=datetime.strptime(zone, "%z").tzinfo).astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _format(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")  # strftime does not pad early years
