"""Bytes of a file to an upright RGB picture, within limits, or an `ImageError` of a class.

One read and one decode serve the content hash, the metadata and every space. Pillow decodes; this file keeps it from
being led astray by hostile or broken files, and is the only one that catches what its plug-ins raise.
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
# Times the input of a model that scaled decoding keeps; with three, a vector in twenty shifts by more than 0.001.
AMPLE = 4
# What people keep pictures in. Pillow knows more, among them EPS, which hands the file to a PostScript interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
_FULL_SIZE = "full_size"  # in the information that Pillow lets a picture carry
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")

pillow_heif.register_heif_opener()
Image.init()  # here and not on demand, since on demand two threads get into each other's way
Image.MAX_IMAGE_PIXELS = None  # ours is the limit: an error with a class instead of a warning


@dataclass(frozen=True)
class Decoded:
    """A picture in memory."""

    image: Image.Image  # upright RGB, possibly scaled down while decoding
    width: int  # pixels of the upright original
    height: int
    raw: Image.Image  # as opened: for the metadata it carries; its pixels may be gone


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
    """Returns the class of a failure to read: permission, vanished or unreadable."""
    if isinstance(error, PermissionError):
        return "permission"
    return "vanished" if isinstance(error, FileNotFoundError) else "unreadable"


def content_hash(content: bytes) -> str:
    """BLAKE2b-128 as hex: identifies a file's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode(content: bytes, *, image_size: int | None = None) -> Decoded:
    """Decodes a picture; of an animation the first frame.

    With `image_size`, the picture is scaled down so far that the shorter side keeps at least `AMPLE` times that many
    pixels: JPEGs while they are decoded, which costs a fraction of the time, others right after, to save memory.

    Raises:
        ImageError: not_an_image, truncated, too_large or unsupported.
    """
    raw = opened(content)
    size = raw.size
    shorter = AMPLE * image_size if image_size else None
    image = upright(raw, shorter=shorter)
    with _damage():
        image = to_rgb(image)
        if shorter and min(image.size) >= 2 * shorter:
            image = _trimmed(image.reduce(min(image.size) // shorter), image.size, at_least=shorter)
    full = _turned(size, raw)
    image.info[_FULL_SIZE] = full
    return Decoded(image, *full, raw=raw)


def full_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of a decoded picture before it was scaled down; its shape is exact only in these."""
    width, height = image.info.get(_FULL_SIZE, image.size)
    return width, height


def opened(content: bytes) -> Image.Image:
    """Opens a picture without reading its pixels.

    Raises:
        ImageError: not_an_image, truncated or too_large.
    """
    with _damage():
        raw = Image.open(io.BytesIO(content), formats=FORMATS)
    if raw.width * raw.height > MAX_PIXELS:
        raise ImageError(
            f"{raw.width}x{raw.height} pixels are over the limit of {MAX_PIXELS // 10**6} megapixels",
            reason="too_large",
        )
    return raw


def upright(raw: Image.Image, *, shorter: int | None = None) -> Image.Image:
    """Reads the pixels of an opened picture and turns them upright, in the picture's own mode.

    With `shorter`, a JPEG is decoded at the smallest of libjpeg's scales whose shorter side keeps that many pixels.

    Raises:
        ImageError: truncated or not_an_image.
    """
    with _damage():
        image, size = raw, raw.size
        if shorter and raw.format in ("JPEG", "MPO") and min(size) > shorter:
            scale = shorter / min(size)
            raw.draft("RGB", (round(raw.width * scale), round(raw.height * scale)))
        raw.load()
        if shorter and raw.size != size:
            image = _trimmed(raw, size, at_least=shorter)
        return ImageOps.exif_transpose(image) if _orientation(raw) > 1 else image


def _trimmed(image: Image.Image, size: tuple[int, int], *, at_least: int) -> Image.Image:
    """Cuts off the edge that scaling by a whole number rounded up to, where less than half of it is picture.

    A quarter of a row too much shifts what a model reads, and costs as much as 0.006 of a vector's cosine.
    """
    factor = max(round(full / side) for full, side in zip(size, image.size, strict=True))
    width, height = (
        min(side, max(round(full / factor), at_least)) for full, side in zip(size, image.size, strict=True)
    )
    return image if (width, height) == image.size else image.crop((0, 0, width, height))


def upright_size(raw: Image.Image) -> tuple[int, int]:
    """Returns width and height of an opened picture as they are once it stands upright."""
    return _turned(raw.size, raw)


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any of Pillow's modes; transparency shows white, 16 bits and floats are scaled into 8."""
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
    """Whether a picture can be seen through in places."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _turned(size: tuple[int, int], raw: Image.Image) -> tuple[int, int]:
    return (size[1], size[0]) if _orientation(raw) >= 5 else size


def _orientation(raw: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; broken metadata is no reason to refuse a picture."""
    try:
        value = raw.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  # as in _damage
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _damage() -> Iterator[None]:
    """Turns whatever a plug-in raises on a broken file into an error with a class.

    Fuzzed files bring OSError, SyntaxError, ValueError, struct.error, zlib.error, AttributeError, RuntimeError and
    more out of Pillow and libheif, so nothing less than Exception is complete.
    """
    try:
        yield
    except UnidentifiedImageError:
        raise ImageError("no image format that is known here", reason="not_an_image") from None
    except (OSError, EOFError) as error:
        raise ImageError(f"the picture is cut short or damaged: {_brief(error)}", reason="truncated") from None
    except MemoryError:
        raise ImageError("the picture needs more memory than there is", reason="too_large") from None
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"the picture is damaged: {_brief(error)}", reason="not_an_image") from None


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
