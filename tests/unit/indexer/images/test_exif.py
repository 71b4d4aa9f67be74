"""EXIF: dates with their zones, texts of other charsets, and what Windows writes."""

import pytest
from PIL import ExifTags, Image

from tests import images
from xcomp_indexer.images import exif, metadata
from xcomp_indexer.images.decode import open_image

Tags = dict[int, object]


def written(tags: Tags, detail: Tags) -> Image.Image:
    block = Image.Exif()
    for tag, value in tags.items():
        block[tag] = value
    block.get_ifd(ExifTags.IFD.Exif).update(detail)
    return open_image(images.encoded(images.plain(), exif=block))


ORIGINAL, DIGITIZED = ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized
OFFSET, OFFSET_ORIGINAL, OFFSET_DIGITIZED = 0x9010, 0x9011, 0x9012


@pytest.mark.parametrize(
    ("detail", "date"),
    [
        ({ORIGINAL: "2024:01:01 00:30:00", OFFSET_ORIGINAL: "+08:00"}, "2023-12-31T16:30:00Z"),
        ({ORIGINAL: "2024:07:01 00:10:00", OFFSET: "+01:00", OFFSET_ORIGINAL: "+02:00"}, "2024-06-30T22:10:00Z"),
        ({ORIGINAL: "2024:06:30 23:50:00", OFFSET_ORIGINAL: "-07:00"}, "2024-07-01T06:50:00Z"),
        ({ORIGINAL: "2024:06:30 23:50:00", OFFSET_ORIGINAL: "   :  "}, "2024-06-30T23:50:00Z"),
        ({ORIGINAL: "2021-02-03 04:05:06"}, "2021-02-03T04:05:06Z"),
        ({ORIGINAL: "1954:00:00 00:00:00"}, "1954"),
        ({DIGITIZED: "1998:05:06 07:08:09", OFFSET_DIGITIZED: "+02:00"}, "1998-05-06T05:08:09Z"),
        ({ORIGINAL: "1998:05:06 07:08:09", DIGITIZED: "2020:01:01 00:00:00"}, "1998-05-06T07:08:09Z"),
        ({ORIGINAL: "0000:00:00 00:00:00"}, None),
    ],
)
def test_the_date_is_when_it_was_taken_in_its_zone(detail: Tags, date: str | None) -> None:
    assert metadata.read_metadata(written({}, detail), "/nowhere").get("date") == date


def test_xmp_that_repeats_the_clock_without_its_zone_does_not_move_the_date() -> None:
    block = Image.Exif()
    block.get_ifd(ExifTags.IFD.Exif).update({ORIGINAL: "2024:01:01 00:30:00", OFFSET_ORIGINAL: "+08:00"})
    packet = open_image(images.with_xmp("", photoshop_DateCreated="2024-01-01T00:30:00")).info["xmp"]
    raw = open_image(images.encoded(images.plain(), exif=block, xmp=packet))
    assert metadata.read_metadata(raw, "/nowhere")["date"] == "2023-12-31T16:30:00Z"


def test_a_copyright_of_two_persons_names_both_and_other_texts_end_at_a_nul() -> None:
    tags: Tags = {
        ExifTags.Base.Copyright: "A. Photographer\0B. Editor\0",
        ExifTags.Base.ImageDescription: "Harbour\0\0rest of a buffer",
    }
    assert exif.read_exif(written(tags, {})) == {"copyright": "A. Photographer, B. Editor", "caption": "Harbour"}


def test_texts_are_decoded_by_the_charset_of_the_block() -> None:
    tags: Tags = {
        ExifTags.Base.ImageDescription: "窗边的橘猫".encode("gb18030"),
        ExifTags.Base.Artist: "小明".encode("gb18030"),
    }
    assert exif.read_exif(written(tags, {})) == {"caption": "窗边的橘猫", "creator": "小明"}


def test_the_file_properties_of_windows_and_a_comment_are_read() -> None:
    def wide(text: str) -> bytes:
        return f"{text}\0".encode("utf-16-le")

    tags: Tags = {
        ExifTags.Base.XPTitle: wide("Harbour"),
        ExifTags.Base.XPAuthor: wide("李雷"),
        ExifTags.Base.XPKeywords: wide("sea; night"),
    }
    comment = b"UNICODE\0" + "夜晚的港口".encode("utf-16-le")
    known = exif.read_exif(written(tags, {ExifTags.Base.UserComment: comment}))
    assert known == {"title": "Harbour", "creator": "李雷", "tags": ["sea", "night"], "caption": "夜晚的港口"}


def test_words_of_the_camera_are_no_caption() -> None:
    tags: Tags = {ExifTags.Base.ImageDescription: "OLYMPUS DIGITAL CAMERA", ExifTags.Base.Model: "E-M10"}
    assert metadata.read_metadata(written(tags, {}), "/a/P1010042.JPG") == {"camera": "E-M10"}
