"""A small picture of an image, if the indexer can still give one."""

from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.transport.errors import Conflict, Denied, ImageError, NotFound


def thumbnail(client: IndexerClient, image: common.Image, *, max_px: int) -> tuple[str, bytes] | None:
    """Returns media type and bytes of an image that a search showed; None where its file is gone or has changed."""
    request = pb.FetchRequest(
        repository=image.repository,
        image_id=image.id,
        max_px=max_px,
        allow_restricted=True,  # the search has asked already
    )
    try:
        header, data = client.fetch(request)
    except (Conflict, Denied, ImageError, NotFound):
        return None
    return header.media_type, data
