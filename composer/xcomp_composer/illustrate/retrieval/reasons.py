"""Why a picture was offered or a spot left empty: one line, in the article's language."""

from collections.abc import Mapping

from xcomp_composer.article.captions import format_best_label
from xcomp_composer.illustrate.retrieval.scoring import ScoredCandidate, ScoredSpot

_LONGEST_QUERY = 160
_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "stands out": "stands out by {standout:.1f} sd for “{query}”",
        "sees": "; sees: {seen}",
        "titled": "; mostly by its title",
        "asked for": "asked for; of all places it fits this one best: {why}",
        "too low": "nothing fits: the best, {name}, scores {score:.1f} where a picture needs {fit:.1f}",
        "taken": "the pictures that fit stand elsewhere, or one stands close by",
        "nothing": "the repository has no picture to offer",
    },
    "zh": {
        "stands out": "对“{query}”高出图库均值 {standout:.1f} 个标准差",
        "sees": "；识别为：{seen}",
        "titled": "；主要凭标题",
        "asked for": "指定使用的图片，最适合放在此处：{why}",
        "too low": "没有合适的图片：最接近的 {name} 得 {score:.1f} 分，配图需要 {fit:.1f} 分",
        "taken": "合适的图片已用在别处，或附近已有配图",
        "nothing": "图库中没有可用的图片",
    },
}


def why(offer: ScoredCandidate, language: str) -> str:
    """Says what speaks for a picture."""
    words = _WORDS["zh" if language == "zh" else "en"]
    seen = format_best_label(offer.hit.labels, language)
    reason = words["stands out"].format(standout=offer.standout, query=short(offer.query))
    return reason + (words["sees"].format(seen=seen) if seen else "") + (words["titled"] if offer.by_title else "")


def asked_for(offer: ScoredCandidate, language: str) -> str:
    """Says why a picture stands here that had to stand somewhere."""
    return _WORDS["zh" if language == "zh" else "en"]["asked for"].format(why=why(offer, language))


def why_empty(place: ScoredSpot, language: str, *, fit: float) -> str:
    """Says why a spot has no picture."""
    words = _WORDS["zh" if language == "zh" else "en"]
    if not place.offers:
        return words["nothing"]
    best = place.offers[0]
    if best.score > fit and best.is_clear:
        return words["taken"]
    return words["too low"].format(name=best.hit.path.rpartition("/")[2], score=best.score, fit=fit)


def short(query: str) -> str:
    """Returns a query in a length that a line can hold."""
    return query if len(query) <= _LONGEST_QUERY else query[: _LONGEST_QUERY - 1].rstrip() + "…"
