"""How well the images of a repository fit the spots of a text: one batched search, on the repository's own scale.

Fits are counted in the background of the repository: 0 is the z-score that the best image for a text about nothing in
particular reaches half of the time, 1 the one it reaches one time in ten. The score of an image at a spot is the fit of
the clause that finds it best, higher if the clause can be seen and lower if it is abstract, plus most of the fit of the
whole paragraph. If images have titles, these count as much as the pixels. The weights come from a regression on
paragraphs built around the bilingual queries of the demonstration, and were checked on 110 clip-art photographs that
other people described.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from xcomp_composer.article.captions import select_title
from xcomp_composer.illustrate.retrieval.paragraphs import (
    LANGUAGES,
    ExampleSentences,
    load_examples,
    measure_visibility,
    query_texts,
)
from xcomp_composer.illustrate.similar_images import SAME
from xcomp_composer.indexer_client.hit import Background, Hit, ImagePair, Vectors
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_protos.telemetry import api

Floats: TypeAlias = NDArray[np.float64]

HITS = 16  # of each text
LEVEL = 1.0  # weight of the similarity itself beside its z-score
CONTEXT = 0.75  # weight of the whole paragraph beside its best clause
MAX_LEVEL = 2.5  # being nearer than that says no more
_MIN_SPREAD = 0.5  # standard deviations between median and ninth decile; tiny repositories would divide by less
_MIN_LEVEL = 0.02  # cosine similarity between scenes and statements; a repository without scenes would divide by less


@dataclass(frozen=True)
class ScoredCandidate:
    """An image for a spot.

    Attributes:
        score: in the unit above.
        query: the text that finds it best.
        standout: its z-score for this text.
        by_title: its title fits this text better than its pixels do.
        is_clear: for one of the texts, its z-score is above what chance reaches half of the time.
    """

    hit: Hit
    score: float
    query: str
    standout: float
    by_title: bool
    is_clear: bool


@dataclass(frozen=True)
class ScoredSpot:
    """A spot, and the images of the repository for it.

    Attributes:
        visibility: of the paragraph: 1 as visible as a scene, -1 as abstract as a statement.
        candidates: best first.
        query: its most visible text, if nothing at all was found.
        hits: by text and image id.
    """

    segment: int
    visibility: float
    candidates: tuple[ScoredCandidate, ...]
    query: str = ""
    hits: Mapping[str, Mapping[str, Hit]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredText:
    """The spots of a text, and the similar images among their hits as far as the search could compare them."""

    spots: Sequence[ScoredSpot]
    pairs: Sequence[ImagePair] | None


@dataclass(frozen=True)
class _HitMatrix:
    """Texts against images, `[T, P]`; an image outside of a text's hits counts as its last hit."""

    images: tuple[Hit, ...]  # without the scores of spaces, which hold for one text only
    z_scores: Floats
    similarities: Floats


@dataclass(frozen=True)
class ScoreMatrix:
    """What spots are scored by: texts against images, `[T, P]`, and the visibility of each text, `[T]`."""

    images: tuple[Hit, ...]
    z_scores: Floats
    fits: Floats
    by_title: NDArray[np.bool_]
    is_clear: NDArray[np.bool_]
    visibility: Floats


def score_spots(
    paragraphs: Mapping[int, str],
    language: str,
    repository: RepositoryClient,
    *,
    depth: int = HITS,
    uploads: Mapping[str, Floats] | None = None,
    ids: Sequence[str] = (),
    compare_ids: Sequence[str] | None = None,
) -> ScoredText:
    """Searches for all paragraphs at once; returns a spot for each, in their order.

    Args:
        paragraphs: by segment.
        language: of the paragraphs.
        repository: where to search.
        depth: hits of each text, and candidates of each spot; with `uploads`, all images are candidates.
        uploads: vectors `[D]` of images that are not in the repository, by name, to score with those that are.
        ids: images of the repository to score with `uploads`, whatever their rank.
        compare_ids: find similar images among the hits and these; None: compare nothing.
    """
    examples = load_examples(language)
    texts = {segment: query_texts(prose, language) for segment, prose in paragraphs.items()}
    queries = [*examples.texts, *(text for group in texts.values() for text in group)]
    with api.stage("retrieve"):
        result = repository.search(
            queries, k=depth, has_vectors=True,
            min_similarity=0.0 if compare_ids is None else SAME, compare_ids=compare_ids or (),
        )  # fmt: skip
        hits = _add_hits(result.hits, ids, queries, repository) if ids else result.hits
    visibility = measure_visibility(result.vectors, examples)
    if not any(hits):
        return ScoredText(_empty_spots(texts, visibility[len(examples.texts) :]), result.pairs)
    table = _hit_matrix(hits)
    for name, vector in (uploads or {}).items():
        table = _with_upload(table, Hit(name, ""), result.vectors @ vector)
    languages = sorted(filter(repository.understands, LANGUAGES), key=lambda each: each != language)
    titles = [select_title(image.metadata, languages) for image in table.images]
    scale = _FitScale(result.background, examples)
    matrix = _score(table, titles, scale, result.vectors, visibility=visibility, repository=repository)
    spots, start = [], len(examples.texts)
    for segment, group in texts.items():
        spot = _score_spot(segment, group, matrix, start, None if uploads else depth)
        found = zip(group, hits[start : start + len(group)], strict=True)
        spots.append(replace(spot, hits={text: {hit.image_id: hit for hit in each} for text, each in found}))
        start += len(group)
    return ScoredText(spots, result.pairs)


def _empty_spots(texts: Mapping[int, Sequence[str]], visibility: Floats) -> list[ScoredSpot]:
    """Returns the spots of a text for which there is no image at all."""
    spots, start = [], 0
    for segment, group in texts.items():
        most = int(visibility[start : start + len(group)].argmax())
        spots.append(ScoredSpot(segment, float(visibility[start]), (), query=group[most]))
        start += len(group)
    return spots


def _add_hits(
    hits: Sequence[Sequence[Hit]], ids: Sequence[str], queries: Sequence[str], repository: RepositoryClient
) -> list[list[Hit]]:
    """Returns the hits of every text, with these images behind them."""
    some = repository.with_conditions(replace(repository.conditions, only_ids=tuple(ids)))
    joined = []
    for best, more in zip(hits, some.search(queries, k=len(ids)).hits, strict=True):
        known = {hit.image_id for hit in best}
        joined.append([*best, *(hit for hit in more if hit.image_id not in known)])
    return joined


def _hit_matrix(hits: Sequence[Sequence[Hit]]) -> _HitMatrix:
    images = {hit.image_id: replace(hit, spaces={}) for best in hits for hit in best}
    columns = {image_id: column for column, image_id in enumerate(sorted(images))}
    z_scores = np.zeros((len(hits), len(columns)))
    similarities = np.zeros_like(z_scores)
    for row, best in enumerate(hits):
        if best:
            z_scores[row] = min(hit.standout for hit in best)
            similarities[row] = min(hit.score for hit in best)
        for hit in best:
            z_scores[row, columns[hit.image_id]] = hit.standout
            similarities[row, columns[hit.image_id]] = hit.score
    return _HitMatrix(tuple(images[image_id] for image_id in columns), z_scores, similarities)


def _with_upload(table: _HitMatrix, image: Hit, similarities: Floats) -> _HitMatrix:
    """Adds a column for an image from elsewhere; for each text, z-scores are a linear function of similarities."""
    lines = [np.polyfit(x, y, 1) if np.ptp(x) > 1e-6 else np.zeros(2)
             for x, y in zip(table.similarities, table.z_scores, strict=True)]  # fmt: skip
    z_scores = np.asarray([np.polyval(line, each) for line, each in zip(lines, similarities, strict=True)])
    return _HitMatrix(
        (*table.images, image),
        np.column_stack([table.z_scores, z_scores]),
        np.column_stack([table.similarities, similarities]),
    )


@dataclass(frozen=True)
class _FitScale:
    """Turns z-scores and similarities into fits."""

    background: Background
    examples: ExampleSentences

    def fits(self, z_scores: Floats, similarities: Floats) -> Floats:
        """Returns the fits, `[T, P]`; the example sentences are the first texts."""
        best, middle = similarities.max(axis=1), len(self.examples.scenes)
        scene, statement = float(best[:middle].mean()), float(best[middle : len(self.examples.texts)].mean())
        levels = (similarities - statement) / max(scene - statement, _MIN_LEVEL)
        spread = max(self.background.ninth_decile - self.background.median, _MIN_SPREAD)
        return np.asarray((z_scores - self.background.median) / spread + LEVEL * np.clip(levels, -MAX_LEVEL, MAX_LEVEL))


def _score(
    table: _HitMatrix,
    titles: Sequence[str],
    scale: _FitScale,
    vectors: Vectors,
    *,
    visibility: Floats,
    repository: RepositoryClient,
) -> ScoreMatrix:
    pixels = scale.fits(table.z_scores, table.similarities)
    is_clear: NDArray[np.bool_] = np.asarray(table.z_scores >= scale.background.median)
    scored = ScoreMatrix(table.images, table.z_scores, pixels, np.zeros_like(is_clear), is_clear, visibility)
    if len(set(titles) - {""}) < 2:  # one title for all, such as the default of a camera, distinguishes no image
        return scored
    has_title = np.asarray([bool(title) for title in titles])
    similarities = vectors @ repository.embed([title for title in titles if title]).T
    deviations = np.maximum(similarities.std(axis=1, keepdims=True), 1e-6)
    z_scores = (similarities - similarities.mean(axis=1, keepdims=True)) / deviations
    words = pixels.copy()
    words[:, has_title] = scale.fits(z_scores, similarities)
    is_clear[:, has_title] |= z_scores >= scale.background.median
    return replace(scored, fits=(pixels + words) / 2, by_title=words > pixels)


def _score_spot(segment: int, texts: Sequence[str], matrix: ScoreMatrix, start: int, depth: int | None) -> ScoredSpot:
    rows = slice(start, start + len(texts))
    fits = matrix.fits[rows] + matrix.visibility[rows, None]
    is_clear = np.asarray(matrix.is_clear[rows].any(axis=0))
    best = fits[1:].argmax(axis=0) + 1 if len(texts) > 1 else np.zeros(fits.shape[1], dtype=int)
    scores = fits[best, np.arange(len(best))] + CONTEXT * matrix.fits[start]
    candidates = []
    for column in sorted(range(len(scores)), key=lambda each: (-scores[each], each))[:depth]:
        row = start + int(best[column])
        candidates.append(
            ScoredCandidate(
                hit=matrix.images[column],
                score=float(scores[column]),
                query=texts[best[column]],
                standout=float(matrix.z_scores[row, column]),
                by_title=bool(matrix.by_title[row, column]),
                is_clear=bool(is_clear[column]),
            )
        )
    return ScoredSpot(segment, float(matrix.visibility[start]), tuple(candidates))
