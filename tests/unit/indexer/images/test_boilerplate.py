"""What a camera wrote is no caption; what a person wrote is."""

import pytest

from xcomp_indexer.images.boilerplate import is_boilerplate


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA", "SONY DSC", "KODAK Digital Still Camera", "Exif_JPEG_PICTURE", "_cuva", "oznor",
        "<KENOX S1050  / Samsung S1050>", "<Digimax S500 / Kenox S500>", "MINOLTA DIGITAL CAMERA", "x-default",
        "SAMSUNG CAMERA PICTURES", "DCIM\\100MEDIA\\DJI_0042.JPG", "DCIM/100GOPRO/GOPR0001.JPG", "IMG_3397.jpg",
        "Konica Minolta Digital Camera", "charset=Ascii", "DSC_0042", "P1010042", "IMG_20161103_120445", "---", "hdrpl",
        "Created with GIMP", "Screenshot", "微信图片_20210101120000", "mmexport1612345678901", "20161103_120445",
        "C:\\Users\\me\\Pictures\\a b.jpeg", "1f0e3dad-9990-8345-f743-9f8ffabdffc4",
        "a cat, Steps: 20, Sampler: Euler a, Seed: 7", '{"prompt": "a cat"}', "Untitled", "NIKON D70",
    ],
)  # fmt: skip
def test_what_a_camera_wrote_says_nothing(text: str) -> None:
    assert is_boilerplate(text, "/a/b.jpg", camera="Nikon D70")


@pytest.mark.parametrize(
    "text",
    [
        "Harbour", "Ships & lights", "An Olympus digital camera on a table", "Sony", "Photo of my cat", "1984", "Canon",
        "港口", "Image of the moon", "The DSC bus stop", "Route 66", "Camera obscura in Edinburgh", "Norway", "Nora",
        "Picture-book houses", "Apollo 11", "P 51 Mustang", "Me", "Sunset, 2024-05-01", "F/A-18", "Kodak moment",
    ],
)  # fmt: skip
def test_what_a_person_wrote_is_kept(text: str) -> None:
    assert not is_boilerplate(text, "/a/b.jpg", camera="E-M10")


def test_the_name_of_the_file_says_nothing_but_a_plain_word_may_be_a_title() -> None:
    assert is_boilerplate("harbour.jpg", "/a/harbour.jpg")
    assert is_boilerplate("harbour_07", "/a/harbour_07.tif")
    assert not is_boilerplate("Harbour", "/a/harbour.jpg")
