"""Images as a model sees them: upright, RGB, of bounded size, each decoded once in a request.

Their keys are digests of the encoded bytes, so that a model recognizes an image that it has seen before.
"""

import io
from collections import OrderedDict
from hashlib import sha256

from PIL import Image, ImageOps

from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_model.base import ImagePart
from xcomp_protos.errors import ImageError

MAX_PX = 768  # longest side; no composing model reads more of an image among several
_MAX_CACHED = 64  # images of a request, 1.7 MB each at most


def decode(content: bytes) -> ImagePart:
    """Decodes an image.

    Raises:
        ImageError: the bytes are not an image.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.draft("RGB", (MAX_PX, MAX_PX))
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise ImageError("is not a readable image") from None
    upright.thumbnail((MAX_PX, MAX_PX))
    return ImagePart(sha256(content).hexdigest(), upright)


class ImageCache:
    """Images of a repository, fetched when they are first needed; the latest ones are kept."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository
        self._images: OrderedDict[str, ImagePart] = OrderedDict()

    def get(self, image_id: str) -> ImagePart:
        """Returns an image.

        Raises:
            NotFound, Conflict: it is missing or has changed since it was indexed.
            Denied: the request may not see it.
            ImageError: the bytes are not an image.
        """
        if image_id not in self._images:
            self._images[image_id] = decode(self._repository.fetch(image_id, max_px=MAX_PX))
        self._images.move_to_end(image_id)
        image = self._images[image_id]
        while len(self._images) > _MAX_CACHED:
            self._images.popitem(last=False)
        return image
