"""A picture as it may be published: upright, sRGB, bounded, and free of metadata but credit and copyright.

Cameras write the owner's home into EXIF; what leaves the repository carries none of it unless originals are asked for.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import ExifTags, Image, ImageCms

from xcomp_indexer.images.decode import is_transparent, opened, to_rgb, upright, upright_size

MAX_PX = 2048
LARGEST_PX = 16383  # WebP's own limit; larger wishes get this
QUALITY = 88  # visually clean; halves the size against 95
_MEDIA = {  # by Pillow's name of the format
    "JPEG": ("image/jpeg", ".jpg"),
    "MPO": ("image/jpeg", ".jpg"),  # a JPEG with more pictures behind the first
    "PNG": ("image/png", ".png"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "TIFF": ("image/tiff", ".tif"),
    "BMP": ("image/bmp", ".bmp"),
    "AVIF": ("image/avif", ".avif"),
    "HEIF": ("image/heic", ".heic"),
}


@dataclass(frozen=True)
class Published:
    """An encoded picture."""

    content: bytes
    media_type: str
    suffix: str  # with its dot
    width: int  # pixels
    height: int


def publish(content: bytes, metadata: Mapping[str, object], *, max_px: int = MAX_PX) -> Published:
    """Re-encodes a picture as JPEG, or as WebP where it is transparent; never enlarges.

    Raises:
        ImageError: the bytes are no readable picture.
    """
    limit = min(max_px, LARGEST_PX)
    raw = upright(opened(content), shorter=2 * limit)
    profile = raw.info.get("icc_profile")
    if is_transparent(raw):
        image = _in_srgb(raw.convert("RGBA"), profile, mode="RGBA")
        return _encoded(image, metadata, limit=limit, kind="WEBP")
    return _encoded(to_rgb(_in_srgb(raw, profile, mode="RGB")), metadata, limit=limit, kind="JPEG")


def original(content: bytes) -> Published:
    """Wraps a file's own bytes.

    Raises:
        ImageError: the bytes are no readable picture.
    """
    raw = opened(content)
    media_type, suffix = _MEDIA[str(raw.format)]
    return Published(content, media_type, suffix, *upright_size(raw))


def _encoded(
    image: Image.Image, metadata: Mapping[str, object], *, limit: int, kind: Literal["JPEG", "WEBP"]
) -> Published:
    image.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    image.info.clear()  # comments and profiles of the original travel in it
    exif = Image.Exif()
    for tag, key in ((ExifTags.Base.Artist, "credit"), (ExifTags.Base.Copyright, "copyright")):
        if isinstance(value := metadata.get(key), str):
            exif[tag] = value.encode()  # Pillow would turn a text into ASCII
    target = io.BytesIO()
    if kind == "WEBP":
        image.save(target, "WEBP", quality=QUALITY, exif=exif)
    else:
        image.save(target, "JPEG", quality=QUALITY, optimize=True, progressive=True, exif=exif)
    return Published(target.getvalue(), *_MEDIA[kind], *image.size)


def _in_srgb(image: Image.Image, profile: object, *, mode: Literal["RGB", "RGBA"]) -> Image.Image:
    """Converts colours by the embedded profile; one that cannot be read or fits other channels is ignored."""
    if not isinstance(profile, bytes):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return image
    return converted or image
