"""Reads an image file of the user as bytes that fit into a request."""

from io import BytesIO
from pathlib import Path

from xcomp_protos.errors import ImageError, InvalidRequest, Unsupported

LIMIT_BYTES = 3 * 1024 * 1024  # of all images of one request
LONGEST_PX = 1024
PAGE_BYTES = 256 * 1024  # of an image in a page
# First bytes of formats that every browser shows; WebP starts with a length and is encoded again as JPEG.
_SHOWN = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif"}
MAX_FILE_BYTES = 256 * 1024 * 1024


def attach(path: Path, *, share: int = 1) -> bytes:
    """Returns the file's bytes, scaled down if they exceed the limit divided by `share` images.

    Raises:
        InvalidRequest: the file does not exist.
        ImageError: it exceeds the limit and is not a readable image.
    """
    if not path.is_file():
        raise InvalidRequest(f"no such file: '{path}'")
    limit = LIMIT_BYTES // share
    size = path.stat().st_size
    if not size or size > MAX_FILE_BYTES:
        raise ImageError(f"'{path}' is no image: it has {size} bytes")
    return path.read_bytes() if size <= limit else _scale_down(path, limit)


def read_displayable(path: Path) -> tuple[str, bytes]:
    """Returns media type and bytes of an image for a page, unchanged if they are few and a browser shows them.

    Raises:
        ImageError: the file is not a readable image.
    """
    data = attach(path, share=LIMIT_BYTES // PAGE_BYTES)
    media = next((media for start, media in _SHOWN.items() if data.startswith(start)), None)
    return (media, data) if media else ("image/jpeg", _scale_down(path, PAGE_BYTES))


def _scale_down(path: Path, limit: int) -> bytes:

    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise Unsupported(f"'{path}' has over {limit} bytes; to scale it down: pip install 'xcomp[indexer]'") from None
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (LONGEST_PX, LONGEST_PX))
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, OSError) as error:
        raise ImageError(f"'{path}' is no readable image: {error}") from None
    image.thumbnail((LONGEST_PX, LONGEST_PX))
    for quality in (90, 70, 40):
        out = BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= limit:
            break
    return out.getvalue()
