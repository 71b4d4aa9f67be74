"""What both models are asked, stage by stage, and how much of an article fits.

The one idea: the two releases share their sentences and differ in the marks around a turn; so the sentences stand here
once, and `prompts_v1` and `prompts_v2` put them into turns. Sentences: the web demos of InternLM-XComposer 1.0 and 2.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from xcomp_model.base import Change, ModelError, Part, Picture, Section, Template, Text, Turn

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEPS = 4  # context is dropped in quarters of its room, so that prompts of one article go on beginning alike
_QUERY_CHARACTERS = 53  # the demos cut a description here before they search
_CJK = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class PromptTemplates:
    """The sentences of the stages; `{i}` is a section's number, `{n}` a count or nothing."""

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
    query_in_english="标题用英文。",  # ours, for English articles; the release says nothing of the language
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
    """How much of the context fits beside a question; `count` counts the positions of parts."""

    def __init__(self, count: Callable[[Sequence[Part]], int]) -> None:
        self._count = count

    def latest(self, blocks: Sequence[list[Part]], *, room: int, keep: int = 1) -> int:
        """Returns the number of blocks to drop from the start; the last `keep` always stay."""
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

    def lines(self, sections: Sequence[str], *, room: int) -> list[Part]:
        """Numbered lines of all sections; where they do not fit, long ones lose their ends."""
        return joined(numbered(self._heads(sections, first=0, room=room)))

    def last_lines(self, sections: Sequence[str], *, room: int) -> list[Part]:
        """Numbered lines of the last sections, two at least; where they do not fit, the farthest go first."""
        start = self.latest(numbered(sections), room=room, keep=2)
        return joined(numbered(self._heads(sections[start:], first=start, room=room), first=start))

    def context(self, sections: Sequence[Section], *, room: int) -> list[Part]:
        """Sections and their pictures up to a place; where they do not fit, the farthest go first."""
        blocks = illustrated(sections)
        kept = blocks[self.latest(blocks, room=room) :]
        if kept and self._count(joined(kept)) > room:
            text, *rest = kept[-1]
            assert isinstance(text, Text), "a block begins with its words"
            kept = [[Text(self._tail(text.text, room=room - self._count(rest))), *rest]]
        return joined(kept)

    def _tail(self, text: str, *, room: int) -> str:
        kept = _largest(len(text), lambda n: self._count([Text(text[len(text) - n :])]) <= room)
        return text[len(text) - kept :]

    def _heads(self, texts: Sequence[str], *, first: int, room: int) -> list[str]:
        longest = max(map(len, texts), default=0)

        def fits(length: int) -> bool:
            return self._count(joined(numbered([text[:length] for text in texts], first=first))) <= room

        kept = _largest(longest, fits) if not fits(longest) else longest
        return [text[:kept] for text in texts]


def numbered(sections: Sequence[str], *, first: int = 0) -> list[list[Part]]:
    """The lines `<Seg0> …`, a block for each section."""
    return [
        [Template(f"<Seg{i}> "), Text(one_line(text)), Template("\n")] for i, text in enumerate(sections, start=first)
    ]


def joined(blocks: Iterable[list[Part]]) -> list[Part]:
    """All parts of all blocks."""
    return [part for block in blocks for part in block]


def described(earlier: Sequence[tuple[int, str]], wording: PromptTemplates) -> list[Part]:
    """What earlier places asked for, in their order."""
    parts: list[Part] = []
    for place, query in earlier:
        opening = wording.earlier_next if parts else wording.earlier_first
        parts += [Template(opening.format(i=place)), Text(one_line(query).replace('"', "”")), Template('"')]
    return [*parts, Template(wording.earlier_end)] if parts else []


def illustrated(sections: Sequence[Section]) -> list[list[Part]]:
    """Sections with the pictures that stand after them, a block for each."""
    return [
        [Text(one_line(section.text)), Template("\n"), *([section.picture] if section.picture else [])]
        for section in sections
    ]


def lettered(candidates: Sequence[Picture]) -> list[Part]:
    """The lines `A.[picture]`, without a newline after the last."""
    if not 1 <= len(candidates) <= len(LETTERS):
        raise ModelError(f"{len(candidates)} candidates: offer 1 to {len(LETTERS)}")
    parts: list[Part] = []
    for letter, candidate in zip(LETTERS, candidates, strict=False):
        parts += [Template(f"\n{letter}." if parts else f"{letter}."), candidate]
    return parts


def check_place(sections: Sequence[str], place: int) -> None:
    """ModelError for a section that the article does not have."""
    if not 0 <= place < len(sections):
        raise ModelError(f"there is no section {place}: the article has {len(sections)}")


def is_english(sections: Sequence[str]) -> bool:
    """Whether an article is written without Chinese characters, quotations aside."""
    text = "".join(sections)
    return bool(text) and len(_CJK.findall(text)) < len(text) / 20


def in_english(sections: Sequence[str], language: str) -> bool:
    """Whether English is asked for: named, or the article's own."""
    return language == "en" if language else is_english(sections)


def one_line(text: str) -> str:
    """A section is a line in the prompts: newlines within become spaces."""
    return " ".join(text.split("\n")).strip() if "\n" in text else text


def edit_ask(change: Change, sections: Sequence[str], place: int, *, hint: str) -> list[Part]:
    """The sentences of version 2's editor."""
    check_place(sections, place)
    paragraph = Text(sections[place])
    if change == "shorten":
        return [Template("缩写以下段落："), paragraph]
    if change in ("expand", "rewrite"):
        verb = "扩写" if change == "expand" else "改写"
        return [Template(f"{verb}以下段落："), paragraph, Template("\n基于以下素材："), Text(hint)]
    at = place if change == "insert_before" else place + 1
    before = Text(sections[at - 1] if at else "")
    after = Text(sections[at] if at < len(sections) else "")
    return [
        Template("在以下两段中插入一段。\n第一段："), before, Template("\n第二段："), after,
        Template("\n插入段的大纲："), Text(hint),
    ]  # fmt: skip


def describe_ask(language: str) -> str:
    """One sentence about a picture, asked in the language of the answer; ours."""
    return "Describe this picture in one sentence." if language == "en" else "用一句话描述这张图片。"


def check_chat(turns: Sequence[Turn]) -> None:
    """ModelError where nobody asks."""
    if not turns or turns[-1].speaker != "user" or not (turns[-1].text.strip() or turns[-1].pictures):
        raise ModelError("a chat ends with a question of the user: ask something")


def spots_in(answer: str, *, sections: int) -> tuple[int, ...]:
    """Reads `<Seg3>, <Seg5>`: existing sections, ascending, each once."""
    return tuple(sorted({int(i) for i in re.findall(r"<Seg(\d{1,9})>", answer) if int(i) < sections}))


def query_in(answer: str, *, cut: bool = False) -> str:
    """Reads a description up to its closing quotation mark; it is cut only where the released procedure is wanted."""
    text = " ".join(answer.partition('"')[0].split())
    return text[:_QUERY_CHARACTERS] if cut else text


def _largest(limit: int, is_good: Callable[[int], bool]) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_good(middle) else (low, middle - 1)
    return low
