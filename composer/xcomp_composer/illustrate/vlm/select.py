"""A single choice, made in the ways that an evaluation compares: ours, the released one, and by similarity.

All of them answer the same request about the same images, so that only the way to choose differs.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from xcomp_composer.document.splitting import split_blocks
from xcomp_composer.illustrate.base import CandidateImage, Selection, SelectionRequest
from xcomp_composer.illustrate.vlm.images import ImageCache, decode
from xcomp_composer.illustrate.vlm.placement import split_passages
from xcomp_composer.illustrate.vlm.selection import needed_probability, pick_clear
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Choice, ImagePart, Section
from xcomp_model.selection import Allowance
from xcomp_protos.errors import ImageError, InvalidRequest, NotFound

_UNLIMITED = 10**9  # tokens
_GREY = ImagePart("without pixels", Image.new("RGB", (224, 224), (128, 128, 128)))


def select(request: SelectionRequest, session: ModelSession, repository: RepositoryClient) -> Selection:
    """Lets a model choose.

    Raises:
        InvalidRequest: bytes that are not an image, or an image after a paragraph that does not exist.
        NotFound: an image that the request may not see.
        ModelError: the model cannot answer this, or failed.
    """
    _check_known((*request.candidates, *(image for _, image in request.shown)), repository)
    images = ImageCache(repository)
    sections = _read_sections(request, images)
    candidates = [_read_image(each, images, f"candidates: number {n}") for n, each in enumerate(request.candidates)]
    if not request.has_pixels:
        sections = [replace(section, image=section.image and _GREY) for section in sections]
        candidates = [_GREY] * len(candidates)
    order = request.order or range(len(candidates))
    ordered = [candidates[number] for number in order]
    if request.procedure == "reference":
        return _from_letter(session.read_letter(sections, ordered), order)
    # A given order is asked about as it is; a single choice may always be asked about twice.
    allowance = Allowance() if request.order else Allowance(first=_UNLIMITED)
    return _from_choice(session.choose(sections, ordered, allowance), order)


def select_nearest(request: SelectionRequest, repository: RepositoryClient) -> Selection:
    """Chooses the candidate that is nearest to the query in the space of its language; raises like `select`."""
    if not request.query.strip():
        raise InvalidRequest("query: is empty: similarity depends on nothing else")
    ids = tuple(dict.fromkeys(each.image_id for each in request.candidates if each.image_id))
    scores: dict[str, float] = {}
    if ids:
        some = repository.with_conditions(replace(repository.conditions, only_ids=ids))
        scores = {hit.image_id: hit.score for hit in some.search([request.query], k=len(ids)).hits[0]}
        _check_ids(ids, scores.keys(), repository)
    encoded = [each.image for each in request.candidates if not each.image_id]
    cosines = iter(_cosines(request.query, encoded, repository) if encoded else ())
    values = [scores[each.image_id] if each.image_id else next(cosines) for each in request.candidates]
    return _certain(values.index(max(values)), len(values))


def _cosines(query: str, images: Sequence[bytes], repository: RepositoryClient) -> list[float]:
    return [float(cosine) for cosine in np.asarray(repository.embed_images(images) @ repository.embed([query])[0])]


def _from_choice(choice: Choice, order: Sequence[int]) -> Selection:
    """Puts the probabilities of the letters back into the order of the candidates."""
    shares = dict(zip(order, choice.probabilities, strict=True))
    best = pick_clear(choice)
    return Selection(
        None if best is None else order[best],
        tuple(shares[number] for number in range(len(order))),
        choice.mass,
        needed_probability(len(order)),
    )


def _from_letter(letter: int | None, order: Sequence[int]) -> Selection:
    """Takes the first candidate if the answer names none, as the release does; the mass is 0 then."""
    return replace(_certain(order[letter or 0], len(order)), mass=float(letter is not None))


def _certain(number: int, count: int) -> Selection:
    return Selection(number, tuple(float(each == number) for each in range(count)), 1.0)


def _read_sections(request: SelectionRequest, images: ImageCache) -> list[Section]:
    texts = [passage.text for passage in split_passages(split_blocks(request.context))] or [request.context.strip()]
    first = len(texts) - 1 - len(request.shown)  # passage of the first image, if the images name no passage
    shown: dict[int, ImagePart] = {}
    for number, (after, image) in enumerate(request.shown):
        at = first + number if after is None else after
        if not 0 <= at < len(texts) - 1 or at in shown:
            raise InvalidRequest(
                f"shown: image {number} cannot follow paragraph {at}: the context has {len(texts)}, each takes one "
                "image, and the spot of the choice follows the last one"
            )
        shown[at] = _read_image(image, images, f"shown: image {number}")
    return [Section(text, shown.get(number)) for number, text in enumerate(texts)]


def _read_image(candidate: CandidateImage, images: ImageCache, what: str) -> ImagePart:
    try:
        return decode(candidate.image) if candidate.image else images.get(candidate.image_id)
    except ImageError as error:
        raise InvalidRequest(f"{what} {error}") from None


def _check_known(candidates: Sequence[CandidateImage], repository: RepositoryClient) -> None:
    ids = tuple(dict.fromkeys(each.image_id for each in candidates if each.image_id))
    if ids:
        _check_ids(ids, {hit.image_id for hit in repository.get_images(ids)}, repository)


def _check_ids(ids: Sequence[str], known: Collection[str], repository: RepositoryClient) -> None:
    for image_id in ids:
        if image_id not in known:
            raise NotFound(f"candidates: there is no image {image_id!r} in {repository.conditions.repository!r}")
