"""Sidecars of other programs, and that what protects an image fails closed."""

import json
from pathlib import Path

import pytest

from xcomp_indexer.images import sidecar
from xcomp_indexer.images.sidecar import SidecarContents, SidecarError

TAKEOUT = {
    "title": "IMG_3397.jpg",
    "description": "First coffee",
    "photoTakenTime": {"timestamp": "1258375918", "formatted": "x"},
    "creationTime": {"timestamp": "1598032635"},
    "geoData": {"latitude": 30.65, "longitude": 104.07},
    "url": "https://photos.google.com/photo/X",
    "imageViews": "12",
}


def read(folder: Path, values: object, *, name: str = "a.jpg.json") -> SidecarContents:
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return sidecar.read_sidecar(str(folder / name), str(folder / "a.jpg"))


def test_takeout_gives_description_date_and_place_but_no_file_name(tmp_path: Path) -> None:
    for name in ("a.jpg.json", "a.jpg.supplemental-metadata.json"):
        found = read(tmp_path, TAKEOUT, name=name)
        assert found.values == {"caption": "First coffee", "date": "2009-11-16T12:51:58Z"}
        assert found.location == (30.65, 104.07)


def test_takeout_has_a_title_if_it_is_none_of_a_file_and_zeros_are_no_place(tmp_path: Path) -> None:
    values = {**TAKEOUT, "title": "Coffee", "description": "", "geoData": {"latitude": 0.0, "longitude": 0.0}}
    assert read(tmp_path, values) == SidecarContents({"title": "Coffee", "date": "2009-11-16T12:51:58Z"})


def test_a_file_that_is_named_like_takeouts_says_nothing_of_its_own(tmp_path: Path) -> None:
    assert read(tmp_path, {"title": "Other"}, name="a.jpg.suppl.json") == SidecarContents()


def test_an_array_of_exiftool_is_one_object_with_its_names(tmp_path: Path) -> None:
    values = [{"SourceFile": "/home/me/a.jpg", "XMP:Title": "A cat", "IPTC:Keywords": ["cat"], "EXIF:Artist": "Ann"}]
    known = read(tmp_path, values).values
    assert (known["title"], known["tags"], known["creator"]) == ("A cat", ["cat"], "Ann")
    assert "SourceFile" not in known


def test_more_keys_than_are_kept_refuse_nothing_and_lose_no_key_of_ours(tmp_path: Path) -> None:
    values = {
        **{f"key_{at}": at for at in range(100)},
        "title": "A cat",
        "date": "2023-04-05 06:07:08",
        "internal": True,
    }
    known = read(tmp_path, values).values
    assert len(known) == sidecar.MAX_KEYS + 3
    assert (known["title"], known["date"], known["internal"]) == ("A cat", "2023-04-05T06:07:08Z", 1)


@pytest.mark.parametrize(
    "values",
    [
        {"internal": {"x": 1}}, {"internal": [True]}, {"internal": 1e300}, {"internal": 2**53 + 1}, {"Internal": True},
        {"internal": "Internal"}, {"internal": [], "title": "x"}, {"internal": False, "internal\0": True},
        {" internal": "true"}, '{"internal": true, "internal": false}', '{"internal": NaN}',
    ],
)  # fmt: skip
def test_an_internal_that_cannot_be_understood_is_internal(tmp_path: Path, values: object) -> None:
    assert read(tmp_path, values).values["internal"] == 1


@pytest.mark.parametrize("value", [False, 0, None, "", "false", "No", "0"])
def test_an_internal_that_says_no_is_not(tmp_path: Path, value: object) -> None:
    assert "internal" not in read(tmp_path, {"internal": value}).values


@pytest.mark.parametrize("key", ["expires", "expires ", "Expires", "\u0007embargo", "embargo\0"])
def test_a_term_is_checked_however_its_key_is_written(tmp_path: Path, key: str) -> None:
    with pytest.raises(SidecarError, match="is not a date"):
        read(tmp_path, {key: "soon"})
    assert "2030-12-31T00:00:00Z" in read(tmp_path, {key: "2030-12-31"}).values.values()


def test_a_term_that_is_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SidecarError, match="given twice"):
        read(tmp_path, {"expires": "2030-12-31", "expires ": "2040-12-31"})


def test_a_date_that_cannot_be_read_is_left_out_whatever_its_key(tmp_path: Path) -> None:
    assert read(tmp_path, {"date ": "summer 2019", "title": "x"}).values == {"title": "x"}
    assert read(tmp_path, {"date\0": "1954-07"}).values == {"date": "1954-07"}


def test_xmp_beside_an_image_is_read(tmp_path: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description><dc:title>Pier</dc:title></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )
    assert read(tmp_path, packet, name="a.xmp").values == {"title": "Pier"}
    assert read(tmp_path, "no xml", name="a.xmp") == SidecarContents()
