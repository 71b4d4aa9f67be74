"""What is printed about an image: caption, alternative text and credit, all of them true of the image itself.

The texts come from the metadata of the image in the language of the article, else from the class that a model is sure
to see in it; else they are empty. The paragraph above the image is never a source.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xcomp_composer.article.model import Candidate, Illustration, Json, Label, detect_language

MIN_LABEL_PROBABILITY = 0.5  # half of all probability on one class of 1000
MAX_CAPTION_CHARACTERS = 300  # characters of a caption
_INVISIBLE = re.compile(  # control, direction, zero-width, filler and tag characters
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
    "|(?<![\u0600-\u0dff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]"  # joiners that join nothing
)


@dataclass(frozen=True)
class PrintedTexts:
    """The texts printed about an image; a text is empty where nothing is known."""

    caption: str = ""
    alt: str = ""
    credit: str = ""


def select_printed_texts(metadata: Mapping[str, Json], labels: tuple[Label, ...], language: str) -> PrintedTexts:
    """Returns the texts about an image for an article in this language."""
    seen = _name_sure_label(labels, language)
    caption = _select_first(metadata, ("caption", "title"), language) or seen
    alt = _select_first(metadata, ("alt", "caption", "title"), language) or seen
    return PrintedTexts(caption, alt, _select_credit(metadata, language))


def with_metadata_caption(illustration: Illustration, candidate: Candidate, language: str) -> Illustration:
    """Returns the illustration with the printed texts of the candidate that it shows."""
    texts = select_printed_texts(candidate.metadata, candidate.labels, language)
    return replace(illustration, caption=texts.caption, alt=texts.alt, credit=texts.credit)


def select_title(metadata: Mapping[str, Json], languages: Sequence[str]) -> str:
    """Returns the title in the metadata, in the first of these languages that has one; empty without any."""
    return next(filter(None, (_select_first(metadata, ("title", "caption", "alt"), each) for each in languages)), "")


def format_best_label(labels: tuple[Label, ...], language: str) -> str:
    """Returns the most probable class and its probability, for a reason; empty without labels."""
    if not labels:
        return ""
    best = labels[0]
    return f"{_label_name(best, language)} {best.probability:.2f}".replace(" 0.", " .")


def _name_sure_label(labels: tuple[Label, ...], language: str) -> str:
    if not labels or labels[0].probability < MIN_LABEL_PROBABILITY:
        return ""
    name = _label_name(labels[0], language)
    return name[:1].upper() + name[1:]


def _label_name(label: Label, language: str) -> str:
    return clean_line(label.zh if language == "zh" and label.zh else label.en)


def _select_first(metadata: Mapping[str, Json], keys: tuple[str, ...], language: str) -> str:
    return next((text for key in keys for text in _iterate_in_language(metadata, key, language)), "")


def _iterate_in_language(metadata: Mapping[str, Json], key: str, language: str) -> Iterator[str]:
    """An entry that names the language counts; one that names none counts if its text is in the language."""
    marked = clean_line(metadata.get(f"{key}_{language}"))
    if marked:
        yield marked
    bare = clean_line(metadata.get(key))
    if bare and detect_language(bare) == language:
        yield bare


def _select_credit(metadata: Mapping[str, Json], language: str) -> str:
    """Falls back to another language: names and licences are proper names."""

    def entry(key: str) -> str:
        return clean_line(metadata.get(f"{key}_{language}")) or clean_line(metadata.get(key))

    owner = entry("credit") or entry("copyright") or entry("source")
    licence = entry("license")
    return ", ".join(part for part in (owner, "" if licence and licence in owner else licence) if part)


def clean_line(value: Json) -> str:
    """Returns a text as one line without control and direction characters; empty where the value is not a text."""
    if not isinstance(value, str):
        return ""
    line = " ".join(_INVISIBLE.sub("", value).split())
    return line if len(line) <= MAX_CAPTION_CHARACTERS else line[: MAX_CAPTION_CHARACTERS - 1].rstrip() + "…"
