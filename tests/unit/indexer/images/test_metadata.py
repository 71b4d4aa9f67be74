"""Sidecars, IPTC and EXIF: what is read, cleaned, bounded, and refused."""

import json
from pathlib import Path

import pytest

from tests import images
from xcomp_indexer.images import metadata
from xcomp_indexer.images.decode import open_image
from xcomp_indexer.images.metadata import SidecarError


def written(folder: Path, values: object) -> str:
    (folder / "a.jpg.json").write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return str(folder / "a.jpg")


def test_exif_gives_caption_creator_copyright_and_date(tmp_path: Path) -> None:
    assert metadata.read_metadata(open_image(images.telling()), str(tmp_path / "a.jpg")) == {
        "caption": "Hafen bei Nacht, 夜晚的港口",
        "creator": "Ann Other",
        "copyright": "(c) 2024 Ann Other",
        "date": "2024-05-01T18:30:00Z",
    }


def test_iptc_gives_title_credit_and_tags(tmp_path: Path) -> None:
    fields = {(2, 5): ["港口".encode()], (2, 110): [b"Agency"], (2, 25): [b"harbour", b"night"], (2, 80): [b"Ren\xe9"]}
    known = metadata.read_metadata(open_image(images.with_iptc(fields)), str(tmp_path / "a.jpg"))
    assert known == {"title": "港口", "credit": "Agency", "tags": ["harbour", "night"], "creator": "René"}


def test_a_sidecar_overrules_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"creator": "Somebody Else", "mood": "calm"})
    known = metadata.read_metadata(open_image(images.telling()), path)
    assert (known["creator"], known["mood"], known["copyright"]) == ("Somebody Else", "calm", "(c) 2024 Ann Other")


def test_without_sidecar_it_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, "no json")
    assert metadata.read_metadata(open_image(images.jpeg()), path, sidecars=()) == {}


def test_values_are_cleaned_and_bounded(tmp_path: Path) -> None:
    path = written(tmp_path, {
        "title": "a\u0000b\u001b[31m\u202ec", "long": "x" * 9000, "nothing": None, "deep": {"a": 1}, "yes": True,
        "huge": 1e300, "tags": ["a", 1, "b\u0007"], "\u0007key": "v", "lone": "\ud800!",
    })  # fmt: skip
    known = metadata.read_sidecar(path)
    assert len(str(known.pop("long"))) == metadata.MAX_TEXT
    assert known == {"title": "ab[31mc", "yes": 1, "tags": ["a", "b"], "key": "v", "lone": "!"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "not hold a JSON object"),
        ("[" * 100_000, "is not JSON"),
        ({"expires": "soon"}, "expires is not a date"),
        ({"embargo": 20300101}, "embargo is not a date"),
        ('{"a": "' + "x" * 300_000 + '"}', "larger than 256 KiB"),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_an_error_in_one_line(tmp_path: Path, values: object, says: str) -> None:
    with pytest.raises(SidecarError, match=says) as caught:
        metadata.read_sidecar(written(tmp_path, values))
    assert len(str(caught.value).splitlines()) == 1


def test_a_sidecar_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(SidecarError):
        metadata.read_sidecar(str(tmp_path / "a.jpg"))


def test_a_sidecar_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.json").mkdir()
    with pytest.raises(SidecarError, match="cannot be read"):
        metadata.read_sidecar(str(tmp_path / "a.jpg"))


def test_no_sidecar_is_no_metadata(tmp_path: Path) -> None:
    assert metadata.read_sidecar(str(tmp_path / "a.jpg")) == {}


def test_broken_exif_is_left_out() -> None:
    content = images.telling()
    at = content.index(b"Exif\0\0")
    assert isinstance(
        metadata.read_metadata(open_image(content[: at + 10] + b"\xff" * 40 + content[at + 50 :]), "/nowhere"), dict
    )
