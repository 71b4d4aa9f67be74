"""Renders an image for publication: upright, sRGB, of limited size, without metadata except credit and copyright.

EXIF of a camera may contain the location of a home. It leaves the repository only with an original.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import ExifTags, Image, ImageCms

from xcomp_indexer.images.decode import is_transparent, open_image, to_rgb, turn_upright, upright_size

MAX_PX = 2048
LARGEST_PX = 16383  # the limit of WebP
QUALITY = 88  # visually clean; halves the size against 95
_MEDIA = {  # by Pillow's name of the format
    "JPEG": ("image/jpeg", ".jpg"),
    "MPO": ("image/jpeg", ".jpg"),  # a JPEG with more images after the first
    "PNG": ("image/png", ".png"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "TIFF": ("image/tiff", ".tif"),
    "BMP": ("image/bmp", ".bmp"),
    "AVIF": ("image/avif", ".avif"),
    "HEIF": ("image/heic", ".heic"),
}


@dataclass(frozen=True)
class Rendition:
    """An encoded image."""

    content: bytes
    media_type: str
    suffix: str  # with its dot
    width: int  # pixels
    height: int


def render(content: bytes, metadata: Mapping[str, object], *, max_px: int = MAX_PX) -> Rendition:
    """Encodes an image as JPEG, or as WebP if it is transparent; never enlarges it.

    Raises:
        ImageError: the bytes are not a readable image.
    """
    limit = min(max_px, LARGEST_PX)
    raw = turn_upright(open_image(content), shorter=2 * limit)
    profile = raw.info.get("icc_profile")
    if is_transparent(raw):
        image = _convert_to_srgb(raw.convert("RGBA"), profile, mode="RGBA")
        return _encode(image, metadata, limit=limit, kind="WEBP")
    return _encode(to_rgb(_convert_to_srgb(raw, profile, mode="RGB")), metadata, limit=limit, kind="JPEG")


def wrap_original(content: bytes) -> Rendition:
    """Returns the bytes of a file as they are.

    Raises:
        ImageError: the bytes are not a readable image.
    """
    raw = open_image(content)
    media_type, suffix = _MEDIA[str(raw.format)]
    return Rendition(content, media_type, suffix, *upright_size(raw))


def _encode(
    image: Image.Image, metadata: Mapping[str, object], *, limit: int, kind: Literal["JPEG", "WEBP"]
) -> Rendition:
    image.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    image.info.clear()  # it holds comments and profiles of the original
    exif = Image.Exif()
    for tag, key in ((ExifTags.Base.Artist, "credit"), (ExifTags.Base.Copyright, "copyright")):
        if isinstance(value := metadata.get(key), str):
            exif[tag] = value.encode()  # Pillow would encode a text as ASCII
    target = io.BytesIO()
    if kind == "WEBP":
        image.save(target, "WEBP", quality=QUALITY, exif=exif)
    else:
        image.save(target, "JPEG", quality=QUALITY, optimize=True, progressive=True, exif=exif)
    return Rendition(target.getvalue(), *_MEDIA[kind], *image.size)


def _convert_to_srgb(image: Image.Image, profile: object, *, mode: Literal["RGB", "RGBA"]) -> Image.Image:
    """Converts colours by the embedded profile; ignores a profile that is unreadable or has other channels."""
    if not isinstance(profile, bytes):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return image
    return converted or image
