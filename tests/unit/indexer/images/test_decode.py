"""From bytes to upright RGB, and every way in which files fail."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import ExifTags, Image

from tests import images
from xcomp_indexer.images import decode
from xcomp_protos.errors import ImageError

BICUBIC = Image.Resampling.BICUBIC


@pytest.mark.parametrize("name", images.READABLE)
def test_every_kind_of_image_becomes_rgb(name: str) -> None:
    picture = decode.decode(images.READABLE[name]())
    assert (picture.image.mode, picture.image.size, picture.width, picture.height) == ("RGB", (96, 64), 96, 64)


@pytest.mark.parametrize("name", ["plain.jpg", "cmyk.jpg", "mpo.jpg", "palette.png", "animated.gif", "image.heic"])
def test_colours_survive(name: str) -> None:
    pixel = decode.decode(images.READABLE[name]()).image.getpixel((48, 32))
    assert pixel == pytest.approx(images.RED, abs=8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(orientation: int, kind: str) -> None:
    picture = decode.decode(images.oriented(orientation, kind))
    assert (picture.width, picture.height) == picture.image.size == (64, 96)
    assert picture.image.getpixel((32, 10)) == pytest.approx(images.RED, abs=40)
    assert picture.image.getpixel((32, 86)) == pytest.approx(images.BLUE, abs=40)


def test_transparent_areas_become_white() -> None:
    image = decode.decode(images.transparent()).image
    assert image.getpixel((2, 2)) == (255, 255, 255)
    assert image.getpixel((48, 32)) == images.RED


def test_sixteen_bits_are_scaled_into_eight() -> None:
    assert decode.decode(images.sixteen_bits()).image.getpixel((5, 5)) == (234, 234, 234)


def test_floats_that_are_not_numbers_are_accepted() -> None:
    values = np.full((8, 8), np.nan, dtype=np.float32)
    values[0] = 3
    assert decode.decode(images.encoded(Image.fromarray(values), "TIFF")).image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_images_are_scaled_down_to_some_times_the_size_asked_for(kind: str) -> None:
    content = images.encoded(images.plain(size=(3000, 2000)), kind)
    picture = decode.decode(content, image_size=100)
    assert (picture.width, picture.height) == (3000, 2000)
    assert 300 <= min(picture.image.size) < 600


def test_small_images_are_not_enlarged() -> None:
    assert decode.decode(images.jpeg(), image_size=500).image.size == (96, 64)


def test_a_rotated_large_jpeg_keeps_its_true_size() -> None:
    upright = Image.new("RGB", (1003, 1007))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = images.encoded(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    picture = decode.decode(stored, image_size=60)
    assert (picture.width, picture.height) == (1003, 1007)


@pytest.mark.parametrize("name", sorted(set(images.BROKEN) - {"empty.jpg"}))
def test_broken_files_are_refused_with_a_class(name: str) -> None:
    make, reason = images.BROKEN[name]
    with pytest.raises(ImageError) as caught:
        decode.decode(make())
    assert caught.value.reason == reason
    assert len(str(caught.value).splitlines()) == 1


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(images.READABLE["rgb.png"]())
    assert decode.decode(decode.read(str(path))).raw.format == "PNG"


def test_files_mutated_at_random_are_images_or_refused() -> None:
    source = random.Random(20)
    for name, make in images.READABLE.items():
        whole = make()
        for _ in range(25):
            content = bytearray(whole)
            for _ in range(source.randint(1, 8)):
                content[source.randrange(len(content))] = source.randrange(256)
            cut = bytes(content[: source.randint(1, len(content))]) if source.random() < 0.3 else bytes(content)
            with suppress(ImageError):  # nothing else may come out
                assert decode.decode(cut, image_size=32).image.mode == "RGB", name


def test_threads_that_open_many_kinds_at_once_all_succeed() -> None:
    contents = [make() for make in images.READABLE.values()] * 4
    with ThreadPoolExecutor(8) as pool:
        modes = list(pool.map(lambda content: decode.decode(content).image.mode, contents))
    assert set(modes) == {"RGB"}


def test_read_classifies_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "large.jpg").write_bytes(b"12345")
    reasons = {}
    monkeypatch.setattr(decode, "MAX_BYTES", 4)
    for name in ("empty.jpg", "large.jpg", "missing.jpg", "."):
        with pytest.raises(ImageError) as caught:
            decode.read(str(tmp_path / name))
        reasons[name] = caught.value.reason
    assert reasons == {"empty.jpg": "empty", "large.jpg": "too_large", "missing.jpg": "vanished", ".": "too_large"}


def test_reasons_follow_the_error() -> None:
    assert decode.reason_of(PermissionError()) == "permission"
    assert decode.reason_of(FileNotFoundError()) == "vanished"
    assert decode.reason_of(OSError(5, "Input/output error")) == "unreadable"


@pytest.mark.parametrize(
    ("size", "scaled"), [((517, 259), (129, 65)), ((519, 261), (130, 65)), ((516, 258), (129, 64))]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_scaling_down_adds_no_edge(size: tuple[int, int], scaled: tuple[int, int], kind: str) -> None:
    """A fourth of 517 is 129.25: what the codec rounds up to would be squeezed in with the image."""
    stored = images.encoded(images.plain(size=size), kind)
    assert decode.decode(stored, image_size=16).image.size == scaled


def test_a_turned_image_is_trimmed_at_the_edge_that_was_stored() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = images.encoded(images.plain(size=(517, 258)), exif=exif)
    picture = decode.decode(stored, image_size=16)
    assert (picture.width, picture.height) == (258, 517)
    assert picture.image.size == (64, 129)


def test_scaling_down_keeps_every_pixel_in_its_place() -> None:
    photograph = Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB")
    stored = images.encoded(photograph.resize((1701, 1129), Image.Resampling.LANCZOS), quality=95)
    whole, scaled = (decode.decode(stored, image_size=size).image.resize((96, 64), BICUBIC) for size in (None, 64))
    assert np.abs(np.asarray(whole, float) - np.asarray(scaled, float)).mean() < 0.6
