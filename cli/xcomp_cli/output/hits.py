"""Describes an image that a search found: its own title or caption, and the classes that its models see."""

from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Conflict, Denied, ImageError, NotFound

SHOWN_LABELS = 3
LIKELY = 0.05


def own_caption(image: common.Image, *, chinese: bool) -> str:
    """Returns the image's title or caption, in Chinese if requested and available; else nothing."""
    keys = ("title_zh", "caption_zh", "title", "caption") if chinese else ("title", "caption")
    return next((str(image.metadata[key]) for key in keys if key in image.metadata), "")


def likely_labels(image: common.Image, *, chinese: bool) -> str:
    """Returns the likeliest classes with their probabilities; nothing if no class is likely."""
    labels = [label for label in image.labels[:SHOWN_LABELS] if label.probability >= LIKELY]
    return ", ".join(f"{label.zh if chinese else label.en} {label.probability:.0%}" for label in labels)


def fetch_thumbnail(client: IndexerClient, image: common.Image, *, max_px: int) -> tuple[str, bytes] | None:
    """Returns media type and bytes of an image that a search showed; None if its file is missing or has changed."""
    request = pb.FetchRequest(
        repository=image.repository,
        image_id=image.id,
        max_px=max_px,
        allow_restricted=True,  # the search has checked this
    )
    try:
        header, data = client.fetch(request)
    except (Conflict, Denied, ImageError, NotFound):
        return None
    return header.media_type, data
