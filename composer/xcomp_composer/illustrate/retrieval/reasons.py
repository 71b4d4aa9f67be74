"""Why an image was chosen by its scores, or a spot stays empty: one line, in the language of the article."""

from xcomp_composer.article.captions import format_best_label
from xcomp_composer.illustrate.retrieval.scoring import ScoredCandidate, ScoredSpot
from xcomp_composer.illustrate.wording import explain

_MAX_QUERY_CHARACTERS = 160


def explain_candidate(candidate: ScoredCandidate, language: str) -> str:
    """Says what speaks for an image."""
    seen = format_best_label(candidate.hit.labels, language)
    reason = explain("stands_out", language, standout=candidate.standout, query=_shorten(candidate.query))
    if seen:
        reason += explain("sees", language, seen=seen)
    return reason + (explain("by_title", language) if candidate.by_title else "")


def explain_empty(spot: ScoredSpot, language: str, *, fit: float) -> str:
    """Says why a spot has no image."""
    if not spot.candidates:
        return explain("nothing", language)
    best = spot.candidates[0]
    if best.score > fit and best.is_clear:
        return explain("taken_or_near", language)
    return explain("too_low", language, name=best.hit.path.rpartition("/")[2], score=best.score, fit=fit)


def _shorten(query: str) -> str:
    return query if len(query) <= _MAX_QUERY_CHARACTERS else query[: _MAX_QUERY_CHARACTERS - 1].rstrip() + "…"
