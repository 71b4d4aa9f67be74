"""How well the pictures of a repository fit the spots of a text: one batched search on the repository's own scale.

Fits are counted in the repository's background: 0 is how far the best picture for a text about nothing in particular
stands out half of the time, 1 one time in ten. A spot's score for a picture is the fit of the clause that finds it
best, higher where the clause can be seen and lower where it is abstract, plus most of the fit of the whole paragraph.
Where pictures carry titles, these count as much as the pixels. The weights come from a regression on paragraphs built
around the demonstration's bilingual queries, and were checked on 110 clip-art photographs described by others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from xcomp_composer.article.captions import select_title
from xcomp_composer.illustrate.retrieval.paragraphs import (
    SCENES,
    STATEMENTS,
    texts_of,
    visibility,
)
from xcomp_composer.indexer_client.hit import Background, Hit
from xcomp_composer.indexer_client.repository import RepositoryClient, Vectors
from xcomp_protos.telemetry import api

Floats: TypeAlias = NDArray[np.float64]

HITS = 16  # per text
LEVEL = 1.0  # weight of the similarity itself beside its standing out
CONTEXT = 0.75  # weight of the whole paragraph beside its best clause
HIGHEST_LEVEL = 2.5  # beyond it being nearer says no more
_NARROWEST = 0.5  # standard deviations between median and ninth decile; tiny repositories would divide by less
_LEAST_LEVEL = 0.02  # cosine similarity between scenes and statements; a repository without scenes would divide by less


@dataclass(frozen=True)
class ScoredCandidate:
    """A picture for a spot."""

    hit: Hit
    score: float  # in the unit above
    query: str  # the text that finds it best
    standout: float  # standard deviations above the repository's mean for that text
    by_title: bool  # its title fits that text better than its pixels do
    is_clear: bool  # for one of the texts it stands out more than chance does half of the time


@dataclass(frozen=True)
class ScoredSpot:
    """A spot, and what the repository has for it."""

    segment: int
    visibility: float  # of the paragraph: 1 as visible as a scene, -1 as abstract as a statement
    offers: tuple[ScoredCandidate, ...]  # best first
    query: str = ""  # what was searched for where nothing at all was found: its most visible text
    found: Mapping[str, Mapping[str, Hit]] = field(default_factory=dict)  # by text and id: as found for that text


@dataclass(frozen=True)
class _SpaceScale:
    """Turns standouts and similarities into fits."""

    chance: float
    spread: float
    statement: float  # similarity of the best picture for a statement, on average
    scene: float  # and for a scene

    def fits(self, standouts: Floats, similarities: Floats) -> Floats:
        levels = (similarities - self.statement) / max(self.scene - self.statement, _LEAST_LEVEL)
        levels = np.clip(levels, -HIGHEST_LEVEL, HIGHEST_LEVEL)
        return np.asarray((standouts - self.chance) / self.spread + LEVEL * levels)


@dataclass(frozen=True)
class _Table:
    """Texts against pictures, [T, P]; a picture outside a text's hits counts as its last hit."""

    pictures: tuple[Hit, ...]  # without what spaces say, which holds for one text only
    standouts: Floats
    similarities: Floats


@dataclass(frozen=True)
class _ScoreMatrix:
    """The table with everything weighed, [T, P], and how visible each text is, [T]."""

    table: _Table
    fits: Floats
    by_title: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    seen: Floats


def places_for(
    paragraphs: Mapping[int, str],
    language: str,
    repository: RepositoryClient,
    *,
    depth: int = HITS,
    pictures: Mapping[str, Floats] | None = None,
    ids: Sequence[str] = (),
) -> list[ScoredSpot]:
    """Asks for all paragraphs at once; returns a place for each, in their order.

    Args:
        paragraphs: their words by segment.
        language: in which the paragraphs are written.
        repository: where to look.
        depth: hits per text, and offers per place; beside `pictures`, all are offered.
        pictures: vectors [D] of pictures that are not in the repository, to be weighed with those that are.
        ids: images of the repository that are weighed beside `pictures` whatever their rank.
    """
    language = language if language in SCENES else "en"
    texts = {segment: texts_of(prose, language) for segment, prose in paragraphs.items()}
    known = [*SCENES[language], *STATEMENTS[language]]
    asked = [*known, *(text for group in texts.values() for text in group)]
    with api.stage("retrieve"):
        found, background = repository.weighed(asked, k=depth)
        found = _with_hits_of(ids, found, asked, repository) if ids else found
        vectors = repository.embed(asked)
    if not any(found):
        return _empty_places(texts, vectors, language)
    table = _table(found)
    for name, vector in (pictures or {}).items():
        table = _with_picture(table, Hit(name, "", 0.0, 0.0, 0.0), vectors @ vector)
    sheet = _weighed(table, background, vectors, language=language, repository=repository)
    places, start = [], len(known)
    for segment, group in texts.items():
        place = _place(segment, group, sheet, start, None if pictures else depth)
        hits = found[start : start + len(group)]
        by_text = {text: {hit.image_id: hit for hit in each} for text, each in zip(group, hits, strict=True)}
        places.append(replace(place, found=by_text))
        start += len(group)
    return places


def _empty_places(texts: Mapping[int, Sequence[str]], asked: Vectors, language: str) -> list[ScoredSpot]:
    """Places for which there is no picture at all, whatever it shows."""
    scenes = len(SCENES[language])
    start = scenes + len(STATEMENTS[language])
    seen = visibility(asked, scenes=asked[:scenes], statements=asked[scenes:start])
    places = []
    for segment, group in texts.items():
        most = int(seen[start : start + len(group)].argmax())
        places.append(ScoredSpot(segment, float(seen[start]), (), query=group[most]))
        start += len(group)
    return places


def _with_hits_of(
    ids: Sequence[str], found: Sequence[Sequence[Hit]], asked: Sequence[str], repository: RepositoryClient
) -> list[list[Hit]]:
    """The hits of every text, with these images behind them."""
    some = repository.under(replace(repository.conditions, only_ids=tuple(ids)))
    joined = []
    for hits, more in zip(found, some.search(asked, k=len(ids)), strict=True):
        known = {hit.image_id for hit in hits}
        joined.append([*hits, *(hit for hit in more if hit.image_id not in known)])
    return joined


def _table(found: Sequence[Sequence[Hit]]) -> _Table:
    pictures = {hit.image_id: replace(hit, spaces={}) for hits in found for hit in hits}
    columns = {image_id: column for column, image_id in enumerate(sorted(pictures))}
    standouts = np.zeros((len(found), len(columns)))
    similarities = np.zeros_like(standouts)
    for row, hits in enumerate(found):
        if hits:
            standouts[row] = min(hit.standout for hit in hits)
            similarities[row] = min(hit.score for hit in hits)
        for hit in hits:
            standouts[row, columns[hit.image_id]] = hit.standout
            similarities[row, columns[hit.image_id]] = hit.score
    return _Table(tuple(pictures[image_id] for image_id in columns), standouts, similarities)


def _with_picture(table: _Table, picture: Hit, similarities: Floats) -> _Table:
    """Adds a column for a picture from elsewhere; per text, standouts are a linear function of similarities."""
    slopes = [np.polyfit(x, y, 1) if np.ptp(x) > 1e-6 else np.zeros(2)
              for x, y in zip(table.similarities, table.standouts, strict=True)]  # fmt: skip
    standouts = np.asarray([np.polyval(line, each) for line, each in zip(slopes, similarities, strict=True)])
    return _Table(
        (*table.pictures, picture),
        np.column_stack([table.standouts, standouts]),
        np.column_stack([table.similarities, similarities]),
    )


def _weighed(
    table: _Table, background: Background, asked: Vectors, *, language: str, repository: RepositoryClient
) -> _ScoreMatrix:
    scenes = slice(0, len(SCENES[language]))
    statements = slice(scenes.stop, scenes.stop + len(STATEMENTS[language]))
    chance = background.median
    spread = max(background.ninth_decile - background.median, _NARROWEST)

    def fits(standouts: Floats, similarities: Floats) -> Floats:
        best = similarities.max(axis=1)
        scale = _SpaceScale(chance, spread, statement=float(best[statements].mean()), scene=float(best[scenes].mean()))
        return scale.fits(standouts, similarities)

    seen = visibility(asked, scenes=asked[scenes], statements=asked[statements])
    pixels = fits(table.standouts, table.similarities)
    clear: NDArray[np.bool_] = np.asarray(table.standouts >= chance)
    languages = sorted(filter(repository.understands, SCENES), key=lambda each: each != language)
    titles = [select_title(picture.metadata, languages) for picture in table.pictures]
    titled = np.asarray([bool(title) for title in titles])
    if len(set(titles) - {""}) < 2:  # a camera's stock phrase tells no picture from another
        return _ScoreMatrix(table, pixels, np.zeros_like(clear), clear, seen)
    likeness = asked @ repository.embed([title for title in titles if title]).T
    deviations = np.maximum(likeness.std(axis=1, keepdims=True), 1e-6)
    standouts = (likeness - likeness.mean(axis=1, keepdims=True)) / deviations
    words = pixels.copy()
    words[:, titled] = fits(standouts, likeness)
    clear[:, titled] |= standouts >= chance
    return _ScoreMatrix(table, (pixels + words) / 2, words > pixels, clear, seen)


def _place(segment: int, texts: Sequence[str], sheet: _ScoreMatrix, start: int, depth: int | None) -> ScoredSpot:
    rows = slice(start, start + len(texts))
    of_texts = sheet.fits[rows] + sheet.seen[rows, None]
    clear = np.asarray(sheet.clear[rows].any(axis=0))
    best = of_texts[1:].argmax(axis=0) + 1 if len(texts) > 1 else np.zeros(of_texts.shape[1], dtype=int)
    scores = of_texts[best, np.arange(len(best))] + CONTEXT * sheet.fits[start]
    offers = []
    for column in sorted(range(len(scores)), key=lambda each: (-scores[each], each))[:depth]:
        row = start + int(best[column])
        offers.append(
            ScoredCandidate(
                hit=sheet.table.pictures[column],
                score=float(scores[column]),
                query=texts[best[column]],
                standout=float(sheet.table.standouts[row, column]),
                by_title=bool(sheet.by_title[row, column]),
                is_clear=bool(clear[column]),
            )
        )
    return ScoredSpot(segment, float(sheet.seen[start]), tuple(offers))
