"""The choice alone, answered in the ways that an evaluation compares: ours, the released one, and by similarity.

The one idea: all of them answer the same question about the same pictures, so that only the way to choose differs.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from xcomp_composer.document.splitting import split_blocks
from xcomp_composer.illustrate.base import CandidateImage, Selection, SelectionRequest
from xcomp_composer.illustrate.vlm.images import CandidateImages, decoded
from xcomp_composer.illustrate.vlm.placement import (
    passages,
)
from xcomp_composer.illustrate.vlm.reasons import chosen, needed
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Choice, Picture, Section
from xcomp_model.selection import Allowance
from xcomp_protos.errors import ImageError, InvalidRequest, NotFound

_PLENTY = 10**9  # tokens
_GREY = Picture("without pixels", Image.new("RGB", (224, 224), (128, 128, 128)))


def answered(question: SelectionRequest, model: ModelSession, repository: RepositoryClient) -> Selection:
    """Lets a model choose, as the question says.

    Raises:
        InvalidRequest: a picture that is none, or that stands after a paragraph that there is not.
        NotFound: an image that the request may not see.
        ModelError: the model cannot be asked this, or failed.
    """
    _check_known((*question.candidates, *(picture for _, picture in question.shown)), repository)
    pictures = CandidateImages(repository)
    sections = _sections(question, pictures)
    offered = [_picture(each, pictures, f"candidates: number {n}") for n, each in enumerate(question.candidates)]
    if not question.has_pixels:
        sections = [replace(section, picture=section.picture and _GREY) for section in sections]
        offered = [_GREY] * len(offered)
    order = question.order or range(len(offered))
    lettered = [offered[number] for number in order]
    if question.procedure == "reference":
        return _read_off(model.answered(sections, lettered), order)
    # A given order is looked at as it is; a choice of its own may always be looked at twice.
    allowance = Allowance() if question.order else Allowance(first=_PLENTY)
    return _weighed(model.choose(sections, lettered, allowance), order)


def nearest(question: SelectionRequest, repository: RepositoryClient) -> Selection:
    """Chooses the candidate nearest to the query in the space of the question's language; raises like `answered`."""
    if not question.query.strip():
        raise InvalidRequest("query: is empty: similarity goes by nothing else")
    ids = tuple(dict.fromkeys(each.image_id for each in question.candidates if each.image_id))
    scores: dict[str, float] = {}
    if ids:
        some = repository.under(replace(repository.conditions, only_ids=ids))
        scores = {hit.image_id: hit.score for hit in some.search([question.query], k=len(ids))[0]}
    encoded = [each.image for each in question.candidates if not each.image_id]
    cosines = iter(_cosines(question.query, encoded, repository) if encoded else ())
    found = [_score(each.image_id, scores, repository) if each.image_id else next(cosines)
             for each in question.candidates]  # fmt: skip
    return _certain(found.index(max(found)), len(found))


def _score(image_id: str, scores: dict[str, float], repository: RepositoryClient) -> float:
    if image_id not in scores:
        raise _unknown(image_id, repository)
    return scores[image_id]


def _cosines(query: str, images: Sequence[bytes], repository: RepositoryClient) -> list[float]:
    return [float(cosine) for cosine in np.asarray(repository.embed_images(images) @ repository.embed([query])[0])]


def _weighed(choice: Choice, order: Sequence[int]) -> Selection:
    """Puts the probabilities of the letters back into the order of the candidates."""
    shares = dict(zip(order, choice.probabilities, strict=True))
    best = chosen(choice)
    return Selection(
        None if best is None else order[best],
        tuple(shares[number] for number in range(len(order))),
        choice.mass,
        needed(len(order)),
    )


def _read_off(letter: int | None, order: Sequence[int]) -> Selection:
    """The released parse takes the first candidate where the answer names none; the mass tells."""
    return replace(_certain(order[letter or 0], len(order)), mass=float(letter is not None))


def _certain(number: int, count: int) -> Selection:
    return Selection(number, tuple(float(each == number) for each in range(count)), 1.0)


def _sections(question: SelectionRequest, pictures: CandidateImages) -> list[Section]:
    texts = [passage.text for passage in passages(split_blocks(question.context))] or [question.context.strip()]
    first = len(texts) - 1 - len(question.shown)  # of those that pictures without a paragraph of their own follow
    shown: dict[int, Picture] = {}
    for number, (after, offered) in enumerate(question.shown):
        at = first + number if after is None else after
        if not 0 <= at < len(texts) - 1 or at in shown:
            raise InvalidRequest(
                f"shown: picture {number} cannot stand after paragraph {at}: the context has {len(texts)}, each takes "
                "one picture, and after the last one stands the place that is asked for"
            )
        shown[at] = _picture(offered, pictures, f"shown: picture {number}")
    return [Section(text, shown.get(number)) for number, text in enumerate(texts)]


def _picture(offered: CandidateImage, pictures: CandidateImages, what: str) -> Picture:
    try:
        return decoded(offered.image) if offered.image else pictures.of(offered.image_id)
    except ImageError as error:
        raise InvalidRequest(f"{what} {error}") from None


def _check_known(offered: Sequence[CandidateImage], repository: RepositoryClient) -> None:
    """Raises NotFound for an id that the request may not see: fetching by id asks for no filter."""
    ids = tuple(dict.fromkeys(each.image_id for each in offered if each.image_id))
    if not ids:
        return
    some = repository.under(replace(repository.conditions, only_ids=ids))
    known = {hit.image_id for hits in some.search(["?"], k=len(ids)) for hit in hits}
    for image_id in ids:
        if image_id not in known:
            raise _unknown(image_id, repository)


def _unknown(image_id: str, repository: RepositoryClient) -> NotFound:
    return NotFound(f"candidates: there is no image {image_id!r} in {repository.conditions.repository!r}")
