"""Dates in every form that is met, and the span of one that is partial."""

import pytest

from xcomp_indexer.images import dates


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01", "2024-05-01T00:00:00Z"),
        ("2024-05-01T20:30:00+02:00", "2024-05-01T18:30:00Z"),
        ("2024-05-01T18:30:00Z", "2024-05-01T18:30:00Z"),
        ("2024:05:01 18:30:00", "2024-05-01T18:30:00Z"),
        ("2024-05-01 18:30:00.25", "2024-05-01T18:30:00Z"),
        ("2024/5/1 8:30", "2024-05-01T08:30:00Z"),
        ("2024:05:01 00:30:00+0800", "2024-04-30T16:30:00Z"),
        ("20240501", "2024-05-01T00:00:00Z"),
        ("19980506 070809+0200", "1998-05-06T05:08:09Z"),
        ("1954年7月1日", "1954-07-01T00:00:00Z"),
        ("0800-12-25", "0800-12-25T00:00:00Z"),
        ("1954", "1954"),
        (1954, "1954"),
        ("1954-07", "1954-07"),
        ("1954年7月", "1954-07"),
        ("1954:07:00 00:00:00", "1954-07"),
        ("19540000", "1954"),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("1954-13", None),
        ("2023-02-29", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("May 2024", None),
        (20240501, None),
        (True, None),
    ],
)
def test_dates_become_utc_or_a_year_or_month_or_nothing(text: object, moment: str | None) -> None:
    assert dates.parse_date(text) == moment


def test_a_partial_date_is_no_moment() -> None:
    assert dates.parse_timestamp("2030-12-31") == "2030-12-31T00:00:00Z"
    assert dates.parse_timestamp("2030-12") is None
    assert dates.parse_timestamp(2030) is None


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1954", "1954-01-01T00:00:00+00:00", "1954-12-31T23:59:59+00:00"),
        ("2024-02", "2024-02-01T00:00:00+00:00", "2024-02-29T23:59:59+00:00"),
        ("9999-12", "9999-12-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"),
        ("2024-05-01T18:30:00Z", "2024-05-01T18:30:00+00:00", None),
    ],
)
def test_a_partial_date_is_a_span(text: str, first: str, last: str | None) -> None:
    start, end = dates.parse_span(text)
    assert (start.isoformat(), end and end.isoformat()) == (first, last)
