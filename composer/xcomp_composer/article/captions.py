"""What is printed about a picture: caption, alternative text and credit, all of them true of the picture itself.

The one idea: words about a picture come from the picture: its own metadata in the article's language, else the class a
model is sure to see in it, else nothing. The paragraph it stands under is never a source.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xcomp_composer.article.model import Candidate, Illustration, Json, Label, detect_language

MIN_LABEL_PROBABILITY = 0.5  # half of all probability on one class of 1000
MAX_CAPTION_CHARACTERS = 300  # characters of a caption
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class PrintedTexts:
    """What is printed about a picture; empty where nothing is known."""

    caption: str = ""
    alt: str = ""
    credit: str = ""


def select_printed_texts(metadata: Mapping[str, Json], labels: tuple[Label, ...], language: str) -> PrintedTexts:
    """Returns what may be printed about a picture in an article of this language."""
    seen = _name_sure_label(labels, language)
    caption = _select_first(metadata, ("caption", "title"), language) or seen
    alt = _select_first(metadata, ("alt", "caption", "title"), language) or seen
    return PrintedTexts(caption, alt, _select_credit(metadata, language))


def with_metadata_caption(picture: Illustration, candidate: Candidate, language: str) -> Illustration:
    """Returns the illustration with the words of the candidate that it shows."""
    words = select_printed_texts(candidate.metadata, candidate.labels, language)
    return replace(picture, caption=words.caption, alt=words.alt, credit=words.credit)


def select_title(metadata: Mapping[str, Json], languages: Sequence[str]) -> str:
    """Returns what the metadata says is to be seen, in the first of these languages in which it says anything."""
    return next(filter(None, (_select_first(metadata, ("title", "caption", "alt"), each) for each in languages)), "")


def format_best_label(labels: tuple[Label, ...], language: str) -> str:
    """Returns the most probable class with its probability for a reason, empty where no class is known."""
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
    """An entry named for the language is taken at its word; one without a language if it is written in it."""
    marked = clean_line(metadata.get(f"{key}_{language}"))
    if marked:
        yield marked
    bare = clean_line(metadata.get(key))
    if bare and detect_language(bare) == language:
        yield bare


def _select_credit(metadata: Mapping[str, Json], language: str) -> str:
    """Names and licences are proper names: any language will do where the article's is missing."""

    def entry(key: str) -> str:
        return clean_line(metadata.get(f"{key}_{language}")) or clean_line(metadata.get(key))

    who = entry("credit") or entry("copyright") or entry("source")
    licence = entry("license")
    return ", ".join(part for part in (who, "" if licence and licence in who else licence) if part)


def clean_line(value: Json) -> str:
    """One line without control and direction characters; anything but text is nothing."""
    if not isinstance(value, str):
        return ""
    words = " ".join(_INVISIBLE.sub("", value).split())
    return words if len(words) <= MAX_CAPTION_CHARACTERS else words[: MAX_CAPTION_CHARACTERS - 1].rstrip() + "…"
