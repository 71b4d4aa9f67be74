"""Bytes of a file to an upright RGB picture, within limits, or an `ImageError` of a class.

One read and one decode serve the content hash, the metadata and every space. Pillow decodes; this file keeps it from
being led astray by hostile or broken files.
"""

import hashlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from xcomp_protos.transport.errors import ImageError

MAX_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 256_000_000  # 1 GB as RGBA; the largest stitched panoramas of cameras and phones fit

# What Pillow's plug-ins raise on damaged files, beside OSError.
_DAMAGE = (
    ArithmeticError,
    LookupError,
    MemoryError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

pillow_heif.register_heif_opener()
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
        ImageError: too_large, empty, permission or vanished.
    """
    try:
        if os.stat(path).st_size > MAX_BYTES:  # noqa: PTH116  # the path may hold undecodable bytes
            raise ImageError(f"larger than {MAX_BYTES // 2**20} MiB", reason="too_large")
        content = Path(path).read_bytes()
    except PermissionError:
        raise ImageError("may not be read: permission denied", reason="permission") from None
    except FileNotFoundError:
        raise ImageError("vanished before it was read", reason="vanished") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}", reason="unreadable") from None
    if not content:
        raise ImageError("the file is empty", reason="empty")
    return content


def content_hash(content: bytes) -> str:
    """BLAKE2b-128 as hex: identifies a file's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode(content: bytes, *, image_size: int | None = None) -> Decoded:
    """Decodes a picture; of an animation the first frame.

    With `image_size`, JPEGs are decoded at the smallest of libjpeg's scales (1/2, 1/4, 1/8) whose shorter side keeps
    at least twice that many pixels, which costs a fraction of the time.

    Raises:
        ImageError: not_an_image, truncated, too_large or unsupported.
    """
    raw = opened(content)
    width, height = raw.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width}x{height} pixels are over the limit of {MAX_PIXELS // 10**6} megapixels", reason="too_large"
        )
    if image_size and raw.format == "JPEG":
        _draft(raw, 2 * image_size)
    try:
        upright = ImageOps.exif_transpose(raw) if _exif_is_sound(raw) else raw
        turned = upright.size != raw.size
        image = to_rgb(upright)
    except (OSError, EOFError) as error:
        raise ImageError(f"the picture is cut short or damaged: {_brief(error)}", reason="truncated") from None
    except _DAMAGE as error:
        raise ImageError(f"the picture is damaged: {_brief(error)}", reason="not_an_image") from None
    return Decoded(image, *((height, width) if turned else (width, height)), raw=raw)


def opened(content: bytes) -> Image.Image:
    """Opens a picture without reading its pixels.

    Raises:
        ImageError: not_an_image or truncated.
    """
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ImageError("no image format that is known here", reason="not_an_image") from None
    except (OSError, EOFError) as error:
        raise ImageError(f"the picture is cut short or damaged: {_brief(error)}", reason="truncated") from None
    except _DAMAGE as error:
        raise ImageError(f"the picture is damaged: {_brief(error)}", reason="not_an_image") from None


def _exif_is_sound(raw: Image.Image) -> bool:
    """Whether the EXIF block can be read; broken metadata is no reason to refuse a picture."""
    try:
        raw.getexif()
    except (OSError, *_DAMAGE):
        return False
    return True


def _draft(raw: Image.Image, shorter: int) -> None:
    scale = shorter / min(raw.size)
    if scale < 1:
        raw.draft("RGB", (round(raw.width * scale), round(raw.height * scale)))


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any of Pillow's modes; transparency shows white, 16 bits and floats are scaled into 8."""
    image.load()
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        span = float(np.ptp(values)) or 1.0
        return Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        page = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(page, rgba).convert("RGB")
    return image.convert("RGB")


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
