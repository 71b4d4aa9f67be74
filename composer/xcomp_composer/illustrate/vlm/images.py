"""Encoded pictures as a model sees them: upright, RGB, of bounded size, each decoded once in a request.

Their keys are digests of what was decoded, so that a model knows a picture again, whoever shows it.
"""

import io
from collections import OrderedDict
from hashlib import sha256

from PIL import Image, ImageOps

from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_model.base import ImagePart
from xcomp_protos.errors import ImageError

MAX_PX = 768  # longest side; no composing model reads more of a picture among several
KEPT = 64  # pictures of a request, 1.7 MB each at most


def decoded(content: bytes) -> ImagePart:
    """Decodes a picture.

    Raises:
        ImageError: it is none.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.draft("RGB", (MAX_PX, MAX_PX))
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise ImageError("is no readable picture") from None
    upright.thumbnail((MAX_PX, MAX_PX))
    return ImagePart(sha256(content).hexdigest(), upright)


class CandidateImages:
    """Pictures of a repository, fetched when they are first asked for; the latest are kept."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository
        self._kept: OrderedDict[str, ImagePart] = OrderedDict()

    def of(self, image_id: str) -> ImagePart:
        """Returns a picture.

        Raises:
            NotFound, Conflict: it is gone or has changed since it was indexed.
            Denied: it may not be offered.
            ImageError: what came is no picture.
        """
        if image_id not in self._kept:
            self._kept[image_id] = decoded(self._repository.fetch(image_id, max_px=MAX_PX))
        self._kept.move_to_end(image_id)
        picture = self._kept[image_id]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return picture
