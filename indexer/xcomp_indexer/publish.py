"""A picture as it may be published: upright, sRGB, bounded, and free of metadata but credit and copyright.

Cameras write the owner's home into EXIF; what leaves the repository carries none of it unless originals are asked for.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageCms, ImageOps

from xcomp_indexer.decode import decode, opened
from xcomp_protos.transport.errors import ImageError

MAX_PX = 2048
QUALITY = 88  # visually clean; halves the size against 95


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
    image, transparent = _prepared(content, max_px)
    image.thumbnail((max_px, max_px), Image.Resampling.LANCZOS)
    exif = Image.Exif()
    for tag, key in ((ExifTags.Base.Artist, "credit"), (ExifTags.Base.Copyright, "copyright")):
        if isinstance(value := metadata.get(key), str):
            exif[tag] = value
    target = io.BytesIO()
    if transparent:
        image.save(target, "WEBP", quality=QUALITY, exif=exif)
        return Published(target.getvalue(), "image/webp", ".webp", *image.size)
    image.save(target, "JPEG", quality=QUALITY, optimize=True, progressive=True, exif=exif)
    return Published(target.getvalue(), "image/jpeg", ".jpg", *image.size)


def original(content: bytes) -> Published:
    """Wraps a file's own bytes.

    Raises:
        ImageError: the bytes are no readable picture.
    """
    raw = opened(content)
    kind = (raw.format or "").upper()
    media_type = Image.MIME.get(kind, "application/octet-stream")
    suffix = next((ending for ending, name in Image.registered_extensions().items() if name == kind), ".bin")
    return Published(content, media_type, ".jpg" if kind == "JPEG" else suffix, *raw.size)


def _prepared(content: bytes, max_px: int) -> tuple[Image.Image, bool]:
    raw = opened(content)
    transparent = raw.mode in ("RGBA", "LA", "PA") or "transparency" in raw.info
    profile = raw.info.get("icc_profile")
    if not transparent:
        image = decode(content, image_size=max_px).image
    else:
        try:
            image = ImageOps.exif_transpose(raw).convert("RGBA")
        except (OSError, ValueError) as error:
            raise ImageError(f"the picture is damaged: {error}", reason="truncated") from None
    return _in_srgb(image, profile), transparent


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Converts colours by the embedded profile; one that cannot be read or fits other channels is ignored."""
    if not isinstance(profile, bytes):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"))
    except (OSError, ValueError, ImageCms.PyCMSError):
        return image
    return converted or image
