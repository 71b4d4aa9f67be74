"""When a model's choice counts, and why: one line, in the article's language, with all that the choice rests on.

A picture must be clearly more likely than chance among those offered. How much more is provisional: it has not been
fitted to choices of people.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xcomp_composer.article.model import Candidate, Evidence
from xcomp_composer.indexer_client.hit import Hit
from xcomp_model.base import Choice

MARGIN = 0.1  # provisional: of the way from chance to certainty
_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "chosen": "{model} gives it {share:.0%} of {count} candidates (mass {mass:.2f}, prompt {prompt})",
        "alone": "it was the only candidate; {model} had nothing to choose from",
        "found": "found for “{query}”, {standout:.1f} sd above the repository's mean",
        "undecided": "{model} prefers none of {count} candidates: the best has {share:.0%}, a choice needs "
        "{needed:.0%} (mass {mass:.2f}, prompt {prompt})",
        "no place": "{model} named no place for a picture (prompt {prompt})",
        "few places": "{model} named {named} of {count} places (prompt {prompt})",
        "no query": "{model} described no picture for this place (prompt {prompt})",
        "nothing": "the repository has no picture to offer",
        "taken": "the pictures that were found stand elsewhere",
        "unreadable": "none of the pictures that were found can be read: {error}",
    },
    "zh": {
        "chosen": "{model} 在 {count} 张候选中给它 {share:.0%}（质量 {mass:.2f}，提示 {prompt}）",
        "alone": "唯一的候选图片，{model} 无从选择",
        "found": "由“{query}”找到，高出图库均值 {standout:.1f} 个标准差",
        "undecided": "{model} 对 {count} 张候选没有偏好：最高 {share:.0%}，选中需要 {needed:.0%}"
        "（质量 {mass:.2f}，提示 {prompt}）",
        "no place": "{model} 没有指出适合配图的位置（提示 {prompt}）",
        "few places": "{model} 只指出了 {count} 个位置中的 {named} 个（提示 {prompt}）",
        "no query": "{model} 没有为此处描述图片（提示 {prompt}）",
        "nothing": "图库中没有可用的图片",
        "taken": "找到的图片已用在别处",
        "unreadable": "找到的图片都无法读取：{error}",
    },
}


@dataclass(frozen=True)
class ReasonWriter:
    """Who judges, in which language the reasons are."""

    model: str
    prompt: str  # version
    language: str
    digest: str = ""  # of the model's weights

    def evidence(self, choice: Choice) -> Evidence:
        """Returns what a choice rests on."""
        return Evidence(self.prompt, self.digest, round(choice.mass, 4), choice.orders, choice.flipped)

    def said(self, key: str, **facts: str | float) -> str:
        """Returns the reason of that key."""
        words = _WORDS["zh" if self.language == "zh" else "en"]
        return words[key].format(model=self.model, prompt=self.prompt, **facts)

    def undecided(self, choice: Choice) -> str:
        """Says why none of the candidates was chosen."""
        count = len(choice.probabilities)
        share = max(choice.probabilities)
        return self.said("undecided", count=count, share=share, needed=needed(count), mass=choice.mass)

    def candidate(self, hit: Hit, query: str, choice: Choice, index: int) -> Candidate:
        """Returns the candidate that a hit makes, with what the model thinks of it."""
        count, share = len(choice.probabilities), choice.probabilities[index]
        verdict = "alone" if count == 1 else "chosen"
        reason = self.said(verdict, count=count, share=share, mass=choice.mass)
        found = self.said("found", query=query, standout=hit.standout)
        return hit.candidate(round(hit.score, 4), probability=round(share, 4), reason=f"{reason}; {found}")


def needed(count: int) -> float:
    """Returns the probability from which the best of so many candidates is chosen."""
    return 1 / count + MARGIN * (1 - 1 / count)


def chosen(choice: Choice) -> int | None:
    """Returns the candidate that counts as chosen, None where the model prefers none."""
    best = max(range(len(choice.probabilities)), key=choice.probabilities.__getitem__)
    return best if choice.probabilities[best] >= needed(len(choice.probabilities)) else None
