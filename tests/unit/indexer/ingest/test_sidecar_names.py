"""Which files beside an image are its sidecars."""

import pytest

from xcomp_indexer.ingest.sidecar_names import SidecarNames

LONG = "a_name_of_a_photo_that_is_so_long_that_it_is_cut.jpg"  # 52 characters


@pytest.mark.parametrize(
    ("image", "names", "found"),
    [
        ("a.jpg", ["a.jpg.json", "b.jpg.json"], ["a.jpg.json"]),
        ("a.jpg", ["a.json", "a.jpg.txt"], []),
        ("a.jpg", ["a.jpg.supplemental-metadata.json"], ["a.jpg.supplemental-metadata.json"]),
        ("a.jpg", ["a.jpg.supplemental-me.json"], ["a.jpg.supplemental-me.json"]),
        ("a.jpg", ["a.jpg.supplementary.json"], []),
        ("a(1).jpg", ["a.jpg(1).json", "a.jpg.json"], ["a.jpg(1).json"]),
        ("a(1).jpg", ["a.jpg.supplemental-metadata(1).json"], ["a.jpg.supplemental-metadata(1).json"]),
        ("a-edited.jpg", ["a.jpg.json"], ["a.jpg.json"]),
        (LONG, [f"{LONG[:46]}.json"], [f"{LONG[:46]}.json"]),
        ("a.jpg", ["a.xmp", "a.jpg.xmp", "a.jpg.json"], ["a.jpg.json", "a.jpg.xmp", "a.xmp"]),
        ("a.jpg", ["a.XMP"], ["a.XMP"]),
    ],
)
def test_sidecars_are_found_by_name_and_the_first_wins(image: str, names: list[str], found: list[str]) -> None:
    known = SidecarNames()
    for name in names:
        known.add(name)
    assert known.find("/photos", image) == [f"/photos/{name}" for name in found]
