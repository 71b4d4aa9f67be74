"""Sentences that both models use, stage by stage, and the budget of context that fits beside them.

The two releases share their sentences and differ in the marks around a turn; `v1` and `v2` put the sentences into
turns. Sentences: the web demos of InternLM-XComposer 1.0 and 2.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xcomp_model.base import (
    LETTERS,
    AnswerGrammar,
    Change,
    ImagePart,
    ModelFailure,
    Part,
    Prompt,
    Sampling,
    Section,
    Stage,
    Template,
    Text,
    Turn,
)
from xcomp_model.xcomposer.prompts.spot_grammar import SpotGrammar

_STEPS = 4  # context is dropped in quarters of its room, so that prompts of one article keep a common prefix
_QUERY_CHARACTERS = 53  # the demos cut a description here before they search
_CJK = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class PromptTemplates:
    """The sentences of the stages; `{i}` is the number of a section, `{n}` a count or empty."""

    name: str
    article: str
    spot_ask: str
    spot_cue: str
    earlier_first: str
    earlier_next: str
    earlier_end: str
    query_ask: str
    query_in_english: str
    query_cue: str
    choose_ask: str
    candidates: str
    choose_cue: str


TRAINED = PromptTemplates(
    name="zh",
    article='给定文章"',
    spot_ask='" 根据上述文章，选择适合插入图像的{n}行',
    spot_cue="适合插入图像的行是",
    earlier_first='现在<Seg{i}>后插入图像对应的标题是"',
    earlier_next='， <Seg{i}>后插入图像对应的标题是"',
    earlier_end="。",
    query_ask="给出适合在<Seg{i}>后插入的图像对应的标题。",
    query_in_english="标题用英文。",  # ours, for English articles; the release does not name a language
    query_cue='标题是"',
    choose_ask="根据给定上下文和候选图像，选择合适的配图：",
    candidates="候选图像包括: ",
    choose_cue="最合适的图是",
)
UNPROVEN_ENGLISH = PromptTemplates(
    name="en-unproven",
    article='Given the article "',
    spot_ask='" From this article, select {n} lines after which an image fits',
    spot_cue="The lines after which an image fits are",
    earlier_first='The image after <Seg{i}> is titled "',
    earlier_next=', the one after <Seg{i}> "',
    earlier_end=". ",
    query_ask="Give the title of an image that fits after <Seg{i}>.",
    query_in_english="",
    query_cue='The title is "',
    choose_ask="From the context and the candidate images, select the fitting image: ",
    candidates="The candidate images are: ",
    choose_cue="The most fitting image is",
)


class ContextBudget:
    """Fits context beside a question; `count` counts the positions of parts."""

    def __init__(self, count: Callable[[Sequence[Part]], int]) -> None:
        self._count = count

    def count_to_drop(self, blocks: Sequence[list[Part]], *, room: int, keep: int = 1) -> int:
        """Returns how many blocks to drop from the start; the last `keep` blocks always stay."""
        costs = [self._count(block) for block in blocks]
        excess = sum(costs) - room
        if excess <= 0:
            return 0
        step = max(room // _STEPS, 1)
        to_drop = -(-excess // step) * step
        dropped = start = 0
        while start < len(blocks) - keep and dropped < to_drop:
            dropped += costs[start]
            start += 1
        return start

    def fit_lines(self, sections: Sequence[str], *, room: int) -> list[Part]:
        """Returns numbered lines of all sections; cuts the ends of long ones if they do not fit."""
        return flatten(number_lines(self._heads(sections, first=0, room=room)))

    def fit_last_lines(self, sections: Sequence[str], *, room: int) -> list[Part]:
        """Returns numbered lines of the last sections, at least two; drops the farthest first if they do not fit."""
        start = self.count_to_drop(number_lines(sections), room=room, keep=2)
        return flatten(number_lines(self._heads(sections[start:], first=start, room=room), first=start))

    def fit_context(self, sections: Sequence[Section], *, room: int) -> list[Part]:
        """Returns sections with their images; drops the farthest first if they do not fit."""
        blocks = image_blocks(sections)
        kept = blocks[self.count_to_drop(blocks, room=room) :]
        if kept and self._count(flatten(kept)) > room:
            text, *rest = kept[-1]
            assert isinstance(text, Text), "a block starts with its text"
            kept = [[Text(self._tail(text.text, room=room - self._count(rest))), *rest]]
        return flatten(kept)

    def _tail(self, text: str, *, room: int) -> str:
        kept = _largest(len(text), lambda n: self._count([Text(text[len(text) - n :])]) <= room)
        return text[len(text) - kept :]

    def _heads(self, texts: Sequence[str], *, first: int, room: int) -> list[str]:
        longest = max(map(len, texts), default=0)

        def fits(length: int) -> bool:
            return self._count(flatten(number_lines([text[:length] for text in texts], first=first))) <= room

        kept = _largest(longest, fits) if not fits(longest) else longest
        return [text[:kept] for text in texts]


class ReleasedPrompts:
    """What the prompts of both versions share; a subclass builds the turns around the sentences."""

    candidates_at_once = 4

    def __init__(
        self,
        count: Callable[[Prompt], int],
        *,
        name: str,
        settings: Mapping[Stage, Sampling],
        templates: PromptTemplates,
        is_reference: bool,
    ) -> None:
        """Args:
        count: counts the positions of a prompt.
        name: of the version.
        settings: how the answer of each stage is drawn.
        templates: the sentences.
        is_reference: follow the released procedure.
        """
        self._count = count
        self._budget = ContextBudget(lambda parts: count(tuple(parts)))
        self._settings = settings
        self._templates = templates
        self._is_reference = is_reference
        self.version = f"{name}/{templates.name}"

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        """Returns how the answer of a stage is drawn."""
        return replace(self._settings[stage], seed=seed)

    def spot_grammar(self, free: Collection[int], *, count: int | None, apart: int) -> AnswerGrammar | None:
        """Returns the grammar of section marks; the reference procedure has no grammar."""
        return None if self._is_reference else SpotGrammar(free, count=count, apart=apart)

    def parse_spots(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads `<Seg3>, <Seg5>`: existing sections, ascending, each once."""
        return tuple(sorted({int(i) for i in re.findall(r"<Seg(\d{1,9})>", answer) if int(i) < sections}))

    def parse_query(self, answer: str) -> str:
        """Reads a description up to its closing quotation mark; the reference procedure cuts it."""
        text = " ".join(answer.partition('"')[0].split())
        return text[:_QUERY_CHARACTERS] if self._is_reference else text


def number_lines(sections: Sequence[str], *, first: int = 0) -> list[list[Part]]:
    """Returns the lines `<Seg0> …`, one block per section."""
    return [
        [Template(f"<Seg{i}> "), Text(one_line(text)), Template("\n")] for i, text in enumerate(sections, start=first)
    ]


def flatten(blocks: Iterable[list[Part]]) -> list[Part]:
    """Returns the parts of all blocks."""
    return [part for block in blocks for part in block]


def earlier_queries(earlier: Sequence[tuple[int, str]], templates: PromptTemplates) -> list[Part]:
    """Returns the descriptions of earlier spots, in their order."""
    parts: list[Part] = []
    for section, query in earlier:
        opening = templates.earlier_next if parts else templates.earlier_first
        parts += [Template(opening.format(i=section)), Text(one_line(query).replace('"', "”")), Template('"')]
    return [*parts, Template(templates.earlier_end)] if parts else []


def image_blocks(sections: Sequence[Section]) -> list[list[Part]]:
    """Returns the sections with the images that stand after them, one block each."""
    return [
        [Text(one_line(section.text)), Template("\n"), *([section.image] if section.image else [])]
        for section in sections
    ]


def letter_candidates(candidates: Sequence[ImagePart]) -> list[Part]:
    """Returns the lines `A.[image]`, without a newline after the last."""
    if not 1 <= len(candidates) <= len(LETTERS):
        raise ModelFailure(f"{len(candidates)} candidates: offer 1 to {len(LETTERS)}")
    parts: list[Part] = []
    for letter, candidate in zip(LETTERS, candidates, strict=False):
        parts += [Template(f"\n{letter}." if parts else f"{letter}."), candidate]
    return parts


def check_section(sections: Sequence[str], section: int) -> None:
    """Raises ModelFailure for a section that the article does not have."""
    if not 0 <= section < len(sections):
        raise ModelFailure(f"there is no section {section}: the article has {len(sections)}")


def is_english(sections: Sequence[str]) -> bool:
    """Whether an article has almost no Chinese characters; short quotations are ignored."""
    text = "".join(sections)
    return bool(text) and len(_CJK.findall(text)) < len(text) / 20


def wants_english(sections: Sequence[str], language: str) -> bool:
    """Whether the answer should be English: by the named language, else by the article's own."""
    return language == "en" if language else is_english(sections)


def one_line(text: str) -> str:
    """Replaces newlines by spaces, because a section is one line of a prompt."""
    return " ".join(text.split("\n")).strip() if "\n" in text else text


def edit_request(change: Change, sections: Sequence[str], section: int, *, hint: str) -> list[Part]:
    """Returns the request for an edit, in the sentences of version 2's editor."""
    check_section(sections, section)
    paragraph = Text(sections[section])
    if change == "shorten":
        return [Template("缩写以下段落："), paragraph]
    if change in ("expand", "rewrite"):
        verb = "扩写" if change == "expand" else "改写"
        return [Template(f"{verb}以下段落："), paragraph, Template("\n基于以下素材："), Text(hint)]
    at = section if change == "insert_before" else section + 1
    before = Text(sections[at - 1] if at else "")
    after = Text(sections[at] if at < len(sections) else "")
    return [
        Template("在以下两段中插入一段。\n第一段："), before, Template("\n第二段："), after,
        Template("\n插入段的大纲："), Text(hint),
    ]  # fmt: skip


def describe_request(language: str) -> str:
    """Returns our own request for one sentence about an image, in the language of the answer."""
    return "Describe this image in one sentence." if language == "en" else "用一句话描述这张图片。"


def check_chat(turns: Sequence[Turn]) -> None:
    """Raises ModelFailure if the last turn is not a question."""
    if not turns or turns[-1].speaker != "user" or not (turns[-1].text.strip() or turns[-1].images):
        raise ModelFailure("a chat ends with a question of the user: ask something")


def _largest(limit: int, is_good: Callable[[int], bool]) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_good(middle) else (low, middle - 1)
    return low
