"""What leaves a repository: upright, sRGB, bounded, and silent about its owner."""

import io
from collections.abc import Mapping

import pytest
from PIL import ExifTags, Image

from tests import images
from xcomp_indexer.images.rendition import Rendition, render, wrap_original
from xcomp_protos.errors import ImageError

SECRETS = (images.GPS_SECRET, images.SERIAL_SECRET, images.COMMENT_SECRET, images.XMP_SECRET)


def opened(published: Rendition) -> Image.Image:
    return Image.open(io.BytesIO(published.content))


def exif_bytes(published: Rendition) -> bytes:
    return bytes(opened(published).info.get("exif", b""))


@pytest.mark.parametrize("name", images.READABLE)
def test_every_kind_of_image_becomes_jpeg_or_webp(name: str) -> None:
    published = render(images.READABLE[name](), {})
    image = opened(published)
    image.load()
    assert (image.size, published.width, published.height) == ((96, 64), 96, 64)
    assert (image.format, published.media_type, published.suffix) in (
        ("JPEG", "image/jpeg", ".jpg"),
        ("WEBP", "image/webp", ".webp"),
    )


def test_transparent_images_stay_transparent() -> None:
    image = opened(render(images.transparent(), {})).convert("RGBA")
    assert image.getpixel((2, 2))[3] == 0  # type: ignore[index]
    assert image.getpixel((48, 32)) == pytest.approx((*images.RED, 255), abs=12)


def test_nothing_of_the_owner_is_left() -> None:
    source = images.telling()
    assert all(secret.encode() in source for secret in SECRETS)
    published = render(source, {})
    assert not [secret for secret in SECRETS if secret.encode() in published.content]
    assert not opened(published).getexif()


def test_text_chunks_are_left_out() -> None:
    assert images.COMMENT_SECRET.encode() not in render(images.noted(), {}).content


@pytest.mark.parametrize("make", [images.jpeg, images.transparent])
def test_credit_and_copyright_are_kept_in_any_script(make: object) -> None:
    known = {"credit": "Zoë Müller", "copyright": "© 李雷 2024", "creator": "left out", "caption": "left out"}
    content = exif_bytes(render(make(), known))  # type: ignore[operator]
    assert "Zoë Müller".encode() in content
    assert "© 李雷 2024".encode() in content
    assert b"left out" not in content


@pytest.mark.parametrize("known", [{"credit": 5}, {"copyright": ["a"]}, {"credit": ""}])
def test_odd_metadata_does_no_harm(known: Mapping[str, object]) -> None:
    assert render(images.jpeg(), known).media_type == "image/jpeg"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_without_an_orientation_tag(orientation: int) -> None:
    published = render(images.oriented(orientation), {})
    image = opened(published)
    assert (published.width, published.height) == (64, 96)
    assert image.getpixel((32, 10)) == pytest.approx(images.RED, abs=40)
    assert ExifTags.Base.Orientation not in image.getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_longest_side_is_bounded(kind: str) -> None:
    published = render(images.encoded(images.plain(size=(3000, 1000)), kind), {}, max_px=600)
    assert (published.width, published.height) == (600, 200)


@pytest.mark.parametrize("max_px", [1, 96, 5000, 2**32 - 1])
def test_any_bound_is_taken_and_nothing_is_enlarged(max_px: int) -> None:
    for make in (images.jpeg, images.transparent):
        assert render(make(), {}, max_px=max_px).width == min(96, max_px)


def test_colours_are_converted_to_srgb_and_the_profile_is_dropped() -> None:
    tagged = images.encoded(images.plain(images.RED), icc_profile=images.swapped_profile())
    image = opened(render(tagged, {}))
    assert image.getpixel((48, 32)) == pytest.approx(images.BLUE, abs=30)
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_of_other_channels_is_ignored(mode: str) -> None:
    tagged = images.encoded(images.plain().convert(mode), icc_profile=images.swapped_profile())
    plain = images.encoded(images.plain().convert(mode))
    assert render(tagged, {}).content == render(plain, {}).content


def test_a_profile_that_is_rubbish_is_ignored() -> None:
    tagged = images.encoded(images.plain(), icc_profile=b"rubbish" * 40)
    assert opened(render(tagged, {})).getpixel((48, 32)) == pytest.approx(images.RED, abs=4)


def test_the_same_bytes_come_out_each_time() -> None:
    assert render(images.telling(), {"credit": "A"}) == render(images.telling(), {"credit": "A"})


@pytest.mark.parametrize("name", sorted(set(images.BROKEN) - {"empty.jpg"}))
def test_broken_files_are_refused(name: str) -> None:
    with pytest.raises(ImageError):
        render(images.BROKEN[name][0](), {})


@pytest.mark.parametrize(
    ("name", "media_type", "suffix"),
    [
        ("plain.jpg", "image/jpeg", ".jpg"),
        ("mpo.jpg", "image/jpeg", ".jpg"),
        ("image.heic", "image/heic", ".heic"),
        ("image.tif", "image/tiff", ".tif"),
        ("animated.gif", "image/gif", ".gif"),
    ],
)
def test_originals_keep_their_bytes(name: str, media_type: str, suffix: str) -> None:
    content = images.READABLE[name]()
    assert wrap_original(content) == Rendition(content, media_type, suffix, 96, 64)


def test_originals_say_their_upright_size() -> None:
    published = wrap_original(images.oriented(6))
    assert (published.width, published.height) == (64, 96)
