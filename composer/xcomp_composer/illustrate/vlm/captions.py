"""Captions of an illustrator that sees: the image's own metadata first, else what the model sees in its pixels.

The model is shown only the image, never the text around it, so that a caption says what is in the image.
"""

from dataclasses import replace

from xcomp_composer.article.captions import clean_line, select_printed_texts, with_metadata_caption
from xcomp_composer.article.model import Candidate, Illustration
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import ImagePart
from xcomp_protos.errors import ModelError


def with_model_caption(
    illustration: Illustration, candidate: Candidate, language: str, *, session: ModelSession, image: ImagePart
) -> Illustration:
    """Returns the illustration with a caption; if the model fails, with what the metadata says."""
    described = with_metadata_caption(illustration, candidate, language)
    if select_printed_texts(candidate.metadata, (), language).caption:
        return described
    try:
        seen = clean_line(session.say(lambda prompts: prompts.describe(image, language=language), "describe"))
    except ModelError:
        return described  # a missing caption is no reason to lose the chosen image
    return replace(described, caption=seen, alt=described.alt or seen) if seen else described
