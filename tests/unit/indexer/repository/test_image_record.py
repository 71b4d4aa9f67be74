"""The payload of an image: what is written can be read, found and stored, whatever the file is called."""

import os
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from xcomp_indexer.embed.base import ClassLabel
from xcomp_indexer.repository.image_record import ImagePayload, fold, locate, plain, true_path, utc
from xcomp_indexer.store import validate

ROOT = Path("/home/me/photos")


def image(path: Path, **more: object) -> ImagePayload:
    basics = {"root": ROOT, "size": 5, "mtime_ns": 2**60, "content_hash": "ab", "width": 3, "height": 4}
    return ImagePayload(path=path, **{**basics, **more})  # type: ignore[arg-type]  # a table of keyword arguments


@pytest.mark.parametrize("name", ["a.jpg", "trips/é 100%.JPG", "港/口.png", "trips/\udcff\udcfe%41.jpg", "no ending"])
def test_what_is_written_reads_back(name: str) -> None:
    written = image(
        ROOT / name,
        date=datetime(2024, 1, 31, 18, tzinfo=UTC),
        tags=["harbour"],
        rights="cc-by",
        restricted=True,
        metadata={"title": "Port"},
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        labels=[ClassLabel("harbour", "港口", 0.5)],
    )
    assert ImagePayload.read(validate.payload(written.write())) == written


def test_a_name_that_is_not_utf8_is_escaped_and_still_opens(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"100%\xff.jpg")
    try:
        path.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    content = locate(path, tmp_path)
    assert content["path"] == f"{tmp_path}/100%25%FF.jpg"
    assert true_path(content).read_bytes() == b"x"


def test_folders_are_listed_relative_to_the_root_and_absolute() -> None:
    content = locate(ROOT / "trips/2024/A.JPG", ROOT)
    assert content["dirs"] == [
        "trips/2024", "trips",
        "/home/me/photos/trips/2024", "/home/me/photos/trips", "/home/me/photos", "/home/me", "/home", "/",
    ]  # fmt: skip
    assert content["folder"] == ["trips/2024", "/home/me/photos/trips/2024"]
    assert (content["file"], content["suffix"]) == ("A.JPG", ".jpg")
    assert locate(ROOT / "a", ROOT)["folder"] == ["", "/home/me/photos"]


def test_tags_and_rights_are_compared_without_case_and_composition() -> None:
    written = image(ROOT / "a.jpg", tags=["Cafe\u0301 ", "caf\u00e9", "Night\n Sky"], rights=" CC-BY ").write()
    assert written["tags"] == ["caf\u00e9", "night sky"]
    assert written["rights"] == "cc-by"
    assert fold("STRASSE") == fold("straße")


def test_a_moment_is_stored_in_utc() -> None:
    assert utc(datetime(2024, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))) == "2024-01-01T00:00:00Z"
    assert utc(datetime(2024, 1, 1, 8)) == "2024-01-01T08:00:00Z"


def test_whatever_a_sidecar_says_can_be_stored() -> None:
    endless: list[object] = []
    endless.append(endless)
    strange = {
        "flag": True, "when": date(2024, 1, 31), "nan": float("nan"), "huge": 2**70, 5: "five", "half": "\udcff",
        "bytes": b"x", "set": {1}, "endless": endless, "none": None, "fine": [1, "two", 3.5],
    }  # fmt: skip
    stored = plain(strange)
    assert isinstance(stored, dict)
    assert validate.payload({"metadata": stored})
    assert (stored["flag"], stored["when"], stored["5"], stored["fine"]) == (1, "2024-01-31", "five", [1, "two", 3.5])


def test_a_partial_date_has_a_last_second_and_a_licence_of_creative_commons_its_short_names() -> None:
    last = datetime(1954, 12, 31, 23, 59, 59, tzinfo=UTC)
    known = image(ROOT / "a.jpg", date=datetime(1954, 1, 1, tzinfo=UTC), date_last=last, rights="CC BY-SA 4.0")
    written = known.write()
    assert (written["date"], written["date_last"]) == ("1954-01-01T00:00:00Z", "1954-12-31T23:59:59Z")
    assert written["rights"] == ["cc by-sa 4.0", "cc-by-sa", "cc-by-sa-4.0"]
    assert ImagePayload.read(validate.payload(written)).rights == "cc by-sa 4.0"
    assert image(ROOT / "a.jpg", rights="cc-by").write()["rights"] == "cc-by"
