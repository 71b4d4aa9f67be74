"""The written filters: what they mean, what they refuse, and that values are data."""

import pytest

from xcomp_indexer.search.filter_fields import FIELDS
from xcomp_indexer.search.filter_parser import parse
from xcomp_indexer.store import INDEXES, And, Filter, Match, Not, Or, Range
from xcomp_protos.errors import InvalidRequest


def before(moment: str) -> Filter:
    """A date that lies before a moment; a year or a month with its last second."""
    return And((Range("date", lt=moment), Not(Range("date_last", gte=moment))))


A, B, C = (Match("tags", (tag,)) for tag in "abc")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("tag=harbour", Match("tags", ("harbour",))),
        ("  tag = Harbour  ", Match("tags", ("harbour",))),
        ("tag!=harbour", Not(Match("tags", ("harbour",)))),
        ("tag=港口", Match("tags", ("港口",))),
        ("rights=CC-BY", Match("rights", ("cc-by",))),
        ("license=cc0", Match("rights", ("cc0",))),
        ("width>=1200", Range("width", gte=1200)),
        ("height<-1", Range("height", lt=-1)),
        ("size=5", Match("size", (5,))),
        ("orientation=Portrait", Match("orientation", ("portrait",))),
        ("orientation!=square", Not(Match("orientation", ("square",)))),
        ("camera='X-T30'", Match('metadata."camera"', ("X-T30",))),
        ("meta.rating>4", Range('metadata."rating"', gt=4.0)),
        ("meta.rating=4", Match('metadata."rating"', ("4", 4.0))),
        ("meta.camera='X 100'", Match('metadata."camera"', ("X 100",))),
        ("meta.exif.iso!=x", Not(Match('metadata."exif.iso"', ("x",)))),
        ('meta."exif.iso">=100', Range('metadata."exif.iso"', gte=100.0)),
        ("meta.draft=true", Match('metadata."draft"', ("true", 1.0))),
    ],
)
def test_a_comparison_becomes_a_condition(text: str, meaning: Filter) -> None:
    assert parse([text]) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("tag=a or tag=b and tag=c", Or((A, And((B, C))))),
        ("(tag=a or tag=b) and tag=c", And((Or((A, B)), C))),
        ("not tag=a and tag=b", And((Not(A), B))),
        ("NOT (tag=a Or tag=b)", Not(Or((A, B)))),
        ("not not tag=a", Not(Not(A))),
        ("not(tag=a)and(tag=b)", And((Not(A), B))),
        ("tag=a\n\tand tag=b", And((A, B))),
    ],
)
def test_not_binds_closer_than_and_and_that_closer_than_or(text: str, meaning: Filter) -> None:
    assert parse([text]) == meaning


def test_several_expressions_must_all_hold_and_none_is_no_filter() -> None:
    assert parse(["tag=a or tag=b", "tag=c"]) == And((Or((A, B)), C))
    assert parse([]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tag=and", "and"),
        ("tag='not x or (y)'", "not x or (y)"),
        (r'tag="say \"hi\" \\ there"', r'say "hi" \ there'),
        (r"tag='it\'s'", "it's"),
        (r"tag='c:\new'", r"c:\new"),
        ("tag=o'brien", "o'brien"),
        ("tag=a=b>=c", "a=b>=c"),
        ('tag="]}; DROP <b>"', "]}; drop <b>"),
        ('tag=""', ""),
    ],
)
def test_values_are_data(text: str, value: str) -> None:
    assert parse([text]) == Match("tags", (value,))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("date=2024", And((Range("date", gte="2024-01-01T00:00:00Z"), before("2025-01-01T00:00:00Z")))),
        ("date=2024-12", And((Range("date", gte="2024-12-01T00:00:00Z"), before("2025-01-01T00:00:00Z")))),
        ("date!=2024-02", Not(And((Range("date", gte="2024-02-01T00:00:00Z"), before("2024-03-01T00:00:00Z"))))),
        ("date>=2024-01", Range("date", gte="2024-01-01T00:00:00Z")),
        ("date>2024-01", Range("date", gte="2024-02-01T00:00:00Z")),
        ("date<=2024-02-29", before("2024-03-01T00:00:00Z")),
        ("date<2024", before("2024-01-01T00:00:00Z")),
        ("date>2024-01-31T23:59", Range("date", gte="2024-02-01T00:00:00Z")),
        ("date<=2024-01-01T00:00:00Z", before("2024-01-01T00:00:01Z")),
        ("date>='2024-01-01 08:00+08:00'", Range("date", gte="2024-01-01T00:00:00Z")),
    ],
)
def test_a_partial_date_is_its_whole_period(text: str, meaning: Filter) -> None:
    assert parse([text]) == meaning


EVERYTHING = And(())


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("path:trips/**", Match("dirs", ("trips",))),
        ("path:./trips/", Match("dirs", ("trips",))),
        ("path:trips/2024/*", Match("folder", ("trips/2024",))),
        ("path:trips/**/*", Match("dirs", ("trips",))),
        ("path:trips/*.JPG", And((Match("folder", ("trips",)), Match("suffix", (".jpg",))))),
        ("path:trips/**/*.jpg", And((Match("dirs", ("trips",)), Match("suffix", (".jpg",))))),
        ("path:**/*.png", And((EVERYTHING, Match("suffix", (".png",))))),
        ("path:**/A.jpg", And((EVERYTHING, Match("file", ("A.jpg",))))),
        ("path:*", Match("folder", ("",))),
        ("path:**", EVERYTHING),
        ("path:/home/me/**", Match("dirs", ("/home/me",))),
        ("path:/**", Match("dirs", ("/",))),
        ("path:/*", Match("folder", ("/",))),
        ("path:'my trips/**'", Match("dirs", ("my trips",))),
        ("path:cafe\u0301/**", Match("dirs", ("caf\u00e9",))),
        (
            "path:trips/a",
            Or((And((Match("folder", ("trips",)), Match("file", ("a",)))), Match("dirs", ("trips/a",)))),
        ),
    ],
)
def test_a_path_glob_becomes_exact_conditions(text: str, meaning: Filter) -> None:
    assert parse([text]) == meaning


@pytest.mark.parametrize(
    "text",
    ["path:tri*/**", "path:**/trips/**", "path:a/*/b.jpg", "path:a//b", "path:../a", "path:img_*", "path:*.tar.gz"],
)
def test_a_glob_that_cannot_be_exact_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be matched exactly"):
        parse([text])


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", 1, "expected a field"),
        ("colour=red", 1, "unknown field 'colour': use path, tag, rights"),
        ("tag=a and meta=b", 11, "unknown field 'meta'"),
        ("tag", 4, "tag takes = != and a value"),
        ("tag=", 5, "tag takes"),
        ("tag>=a", 4, "tag takes = != and a value"),
        ("path=trips", 5, "path takes : and a value"),
        ("path:''", 6, "a path is empty"),
        ("path:a?.jpg", 6, r"by \* and \*\* only"),
        ("width>=wide", 8, "'wide' is not a whole number"),
        ("width>=1.5", 8, "not a whole number"),
        ("width>=99999999999999999999", 8, "not a whole number"),
        ("date=soon", 6, "not a date: write 2024"),
        ("date=2024-02-30", 6, "not a date"),
        ("date=２０２４", 6, "not a date"),
        ("date=9999", 6, "not a date"),
        ("date=0000", 6, "not a date"),
        ("meta.title>x", 12, "'x' is not a number"),
        ("tag=a tag=b", 7, "expected 'and', 'or' or the end"),
        ("tag=a)", 6, "expected 'and', 'or' or the end"),
        ("(tag=a", 7, r"expected '\)'"),
        ("tag=a and", 10, "expected a field"),
        ("or tag=a", 1, "unknown field 'or'"),
        ('tag="a', 5, "a quote is not closed"),
        ("(" * 100, 33, "nested deeper than 32"),
        ("not " * 100, 129, "nested deeper than 32"),
    ],
)
def test_an_error_names_the_place_and_the_way_out(text: str, place: int, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"character {place}: .*{problem}") as refused:
        parse([text])
    assert "\n" not in str(refused.value)


def test_an_endless_expression_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="longer than 4096"):
        parse(["tag=a or " * 1000])


def test_control_characters_do_not_reach_the_message() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(["\x1b[31m=\u202e"])
    assert str(refused.value).isprintable()


def test_every_field_but_the_metadata_has_an_index() -> None:
    values = {"date": "2024", "width": "1", "height": "1", "size": "1", "path": "a/**/*.b"}
    values |= {"gps.lat": "1.5", "gps.lon": "-1", "orientation": "square"}
    assert "date" in INDEXES
    assert "date_last" in INDEXES
    for name, known in FIELDS.items():
        if name in ("camera", "date"):  # one of the metadata; several conditions
            continue
        part = known.compile(known.operators[0], values.get(name, "x"))
        parts = part.parts if isinstance(part, And) else (part,)
        assert all(isinstance(each, Match | Range) and each.key in INDEXES for each in parts), name
    assert INDEXES.keys() >= {"dirs", "folder", "file", "suffix"}


def test_a_folder_with_brackets_in_its_name_can_be_named() -> None:
    assert parse(["path:'2019 [best of]/**'"]) == Match("dirs", ("2019 [best of]",))
