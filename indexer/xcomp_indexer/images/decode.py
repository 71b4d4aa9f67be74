"""Decodes the bytes of a file to an upright RGB image within limits, or raises an `ImageError` with a reason.

One read and one decode serve the content hash, the metadata and every space. Pillow decodes. This file protects it from
hostile and broken files, and only this file catches what its plug-ins raise.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from xcomp_protos.errors import ImageError

MAX_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 256_000_000  # 1 GB as RGBA; the largest stitched panoramas of cameras and phones fit
# Scaled decoding keeps this many times the input size of a model; with 3, one vector in 20 changes by more than 0.001.
AMPLE = 4
# The formats of photographs. Pillow has more, for example EPS, for which it runs a PostScript interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
_FULL_SIZE = "full_size"  # key in `Image.info`
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")

pillow_heif.register_heif_opener()
Image.init()  # on demand it is not safe in two threads
Image.MAX_IMAGE_PIXELS = None  # our limit raises an error with a reason, Pillow's only warns


@dataclass(frozen=True)
class Decoded:
    """An image in memory."""

    image: Image.Image  # upright RGB, possibly scaled down while decoding
    width: int  # pixels of the upright original
    height: int
    raw: Image.Image  # as opened, for its metadata; its pixels may be freed


def read(path: str) -> bytes:
    """Reads a whole file.

    Raises:
        ImageError: too_large, empty, permission, vanished or unreadable.
    """
    try:
        if os.stat(path).st_size > MAX_BYTES:  # noqa: PTH116  # the path may hold undecodable bytes
            raise ImageError(f"larger than {MAX_BYTES // 2**20} MiB", reason="too_large")
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}", reason=reason_of(error)) from None
    if not content:
        raise ImageError("the file is empty", reason="empty")
    return content


def reason_of(error: OSError) -> str:
    """Returns the reason of a failure to read: permission, vanished or unreadable."""
    if isinstance(error, PermissionError):
        return "permission"
    return "vanished" if isinstance(error, FileNotFoundError) else "unreadable"


def content_hash(content: bytes) -> str:
    """Returns BLAKE2b-128 as hex, which identifies the bytes of a file."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode(content: bytes, *, image_size: int | None = None) -> Decoded:
    """Decodes an image; of an animation the first frame.

    With `image_size`, the image is scaled down until the shorter side has `AMPLE` times that many pixels or slightly
    more: JPEGs while they are decoded, which takes a fraction of the time, others right after, to save memory.

    Raises:
        ImageError: not_an_image, truncated, too_large or unsupported.
    """
    raw = open_image(content)
    size = raw.size
    shorter = AMPLE * image_size if image_size else None
    image = turn_upright(raw, shorter=shorter)
    with _translate_errors():
        image = to_rgb(image)
        if shorter and min(image.size) >= 2 * shorter:
            image = _trim_edge(image.reduce(min(image.size) // shorter), image.size, at_least=shorter)
    full = _swap_sides(size, raw)
    image.info[_FULL_SIZE] = full
    return Decoded(image, *full, raw=raw)


def full_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height of a decoded image before it was scaled down; only these have its exact aspect ratio."""
    width, height = image.info.get(_FULL_SIZE, image.size)
    return width, height


def open_image(content: bytes) -> Image.Image:
    """Opens an image without reading its pixels.

    Raises:
        ImageError: not_an_image, truncated or too_large.
    """
    with _translate_errors():
        raw = Image.open(io.BytesIO(content), formats=FORMATS)
    if raw.width * raw.height > MAX_PIXELS:
        raise ImageError(
            f"{raw.width}x{raw.height} pixels are over the limit of {MAX_PIXELS // 10**6} megapixels",
            reason="too_large",
        )
    return raw


def turn_upright(raw: Image.Image, *, shorter: int | None = None) -> Image.Image:
    """Reads the pixels of an opened image and turns them upright; the mode stays.

    With `shorter`, a JPEG is decoded at the smallest scale of libjpeg whose shorter side has at least that many pixels.

    Raises:
        ImageError: truncated or not_an_image.
    """
    with _translate_errors():
        image, size = raw, raw.size
        if shorter and raw.format in ("JPEG", "MPO") and min(size) > shorter:
            scale = shorter / min(size)
            raw.draft("RGB", (round(raw.width * scale), round(raw.height * scale)))
        raw.load()
        if shorter and raw.size != size:
            image = _trim_edge(raw, size, at_least=shorter)
        return ImageOps.exif_transpose(image) if _orientation(raw) > 1 else image


def _trim_edge(image: Image.Image, size: tuple[int, int], *, at_least: int) -> Image.Image:
    """Cuts off the last row or column of a scaled image if less than half of it was filled.

    Scaling by a whole number rounds sizes up. A quarter of a row too much shifts the input of a model and changes its
    vector by up to 0.006 of cosine.
    """
    factor = max(round(full / side) for full, side in zip(size, image.size, strict=True))
    width, height = (
        min(side, max(round(full / factor), at_least)) for full, side in zip(size, image.size, strict=True)
    )
    return image if (width, height) == image.size else image.crop((0, 0, width, height))


def upright_size(raw: Image.Image) -> tuple[int, int]:
    """Returns width and height of an opened image after it is turned upright."""
    return _swap_sides(raw.size, raw)


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any mode of Pillow; transparent areas become white, 16 bits and floats are scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BITS:
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = float(np.ptp(values)) or 1.0
        return Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8)).convert("RGB")
    if is_transparent(image):
        rgba = image.convert("RGBA")
        page = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(page, rgba).convert("RGB")
    return image.convert("RGB")


def is_transparent(image: Image.Image) -> bool:
    """Whether an image has transparent areas."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _swap_sides(size: tuple[int, int], raw: Image.Image) -> tuple[int, int]:
    return (size[1], size[0]) if _orientation(raw) >= 5 else size


def _orientation(raw: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; broken metadata counts as 1."""
    try:
        value = raw.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  # as in _translate_errors
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turns every error of a plug-in on a broken file into an `ImageError` with a reason.

    On fuzzed files Pillow and libheif raise OSError, SyntaxError, ValueError, struct.error, zlib.error, AttributeError,
    RuntimeError and more, so only Exception is complete.
    """
    try:
        yield
    except UnidentifiedImageError:
        raise ImageError("not one of the supported image formats", reason="not_an_image") from None
    except (OSError, EOFError) as error:
        raise ImageError(f"the image is truncated or damaged: {_brief(error)}", reason="truncated") from None
    except MemoryError:
        raise ImageError("the image needs more memory than there is", reason="too_large") from None
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"the image is damaged: {_brief(error)}", reason="not_an_image") from None


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
