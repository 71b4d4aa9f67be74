"""What is printed about a picture where a model sees: its own metadata first, else what the model sees in its pixels.

The model is shown the picture alone, never the text it stands in, so that a caption says what is there.
"""

from dataclasses import replace

from xcomp_composer.article.captions import clean_line, select_printed_texts, with_metadata_caption
from xcomp_composer.article.model import Candidate, Illustration
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Picture
from xcomp_protos.errors import ModelError


def captioned(
    picture: Illustration, candidate: Candidate, language: str, model: ModelSession, shown: Picture
) -> Illustration:
    """Returns the illustration with its words; where the model fails, those that need none."""
    words = with_metadata_caption(picture, candidate, language)
    if select_printed_texts(candidate.metadata, (), language).caption:
        return words
    try:
        seen = clean_line(model.say(lambda prompts: prompts.describe(shown, language=language), "describe"))
    except ModelError:
        return words  # the picture itself was chosen; a caption is not worth losing it
    return replace(words, caption=seen, alt=words.alt or seen) if seen else words
