"""The prompts of InternLM-XComposer 1.0, as its web demo wrote them.

They are in Chinese for articles of both languages, because no others were trained. The released end of a selection
prompt has its mark twice and two leading blanks: it was evaluated so, and stays so. One thing differs outside the
reference procedure: the prompt for places begins with the blank that the prompt for descriptions has, so that the
article behind it is read once for both.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from xcomp_model.base import (
    AnswerGrammar,
    Brief,
    Change,
    Control,
    ModelError,
    Part,
    Picture,
    Prompt,
    Sampling,
    Section,
    Stage,
    Template,
    Text,
    Turn,
)
from xcomp_model.xcomposer.prompts import common as w
from xcomp_model.xcomposer.prompts.spot_form import MarkedPlaces
from xcomp_model.xcomposer.tokenizer import Marks

MARKS = Marks(
    controls={"begin": "<s>", "end": "</s>", "eoh": "<TOKENS_UNUSED_0>", "eoa": "<TOKENS_UNUSED_1>", "apart": ""},
    reserved=r"<TOKENS_UNUSED_\d+>|<\|User\|>|<\|Bot\|>|<Seg\d*>",
)
ENDS = ("end", "eoh", "eoa")
# The demo reads a letter, with or without a space before it; a colon before it is common to models of this line.
LEAD_INS = ("", " ", ":", ": ", "：")

BEGIN, EOH, EOA, APART = Control("begin"), Control("eoh"), Control("eoa"), Control("apart")
_META = Template(
    "meta instruction\n"
    "You are an AI assistant whose name is 浦语.\n"
    "- 浦语 is a conversational language model that is developed by Shanghai AI Laboratory (上海人工智能实验室). "
    "It is designed to be helpful, honest, and harmless.\n"
    "- 浦语 can understand and communicate fluently in the language chosen by the user such as English and 中文.\n"
    "conversation\n"
)
_BOT = Template(" <|Bot|>:")

# As released, but one beam: answers are streamed.
_SAMPLING: dict[Stage, Sampling] = {
    "write": Sampling(repetition_penalty=5.0, max_new_tokens=999),
    "spot": Sampling(max_new_tokens=299),
    "query": Sampling(repetition_penalty=5.0, max_new_tokens=99, stop=('"',)),
    "choose": Sampling(max_new_tokens=9),
    "describe": Sampling(repetition_penalty=1.5, max_new_tokens=120),
    "chat": Sampling(repetition_penalty=1.5, max_new_tokens=500),
    "edit": Sampling(repetition_penalty=1.5, max_new_tokens=500),
}
# The released decoding: the demo's for an article, the model's own interface for chat.
_REFERENCE: dict[Stage, Sampling] = {
    "write": Sampling(beams=5, repetition_penalty=5.0, max_new_tokens=999),
    "spot": Sampling(beams=5, max_new_tokens=299),
    "query": Sampling(repetition_penalty=5.0, max_new_tokens=99),
    "choose": Sampling(beams=5, max_new_tokens=9),
    "describe": Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=500),
    "chat": Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=500),
    "edit": Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=500),
}


class Prompts1:
    """Builds the turns of version 1.0 around the common sentences."""

    candidates_at_once = 4

    def __init__(
        self,
        count: Callable[[Prompt], int],
        *,
        context_tokens: int,
        is_reference: bool = False,
        wording: w.PromptTemplates = w.TRAINED,
    ) -> None:
        self._count = count
        self._fit = w.ContextBudget(lambda parts: count(tuple(parts)))
        self._context_tokens = context_tokens
        self._is_reference = is_reference
        self._words = wording
        self.version = f"xcomposer1/{wording.name}"

    def write(self, brief: Brief) -> Prompt:
        """Asks for an article by its title, the only way this model knows."""
        if brief.references:
            raise ModelError("InternLM-XComposer 1.0 writes from words alone: use internlm-xcomposer2-7b for pictures")
        title = [part for part in (brief.title, brief.instruction) if part]
        title += [f"要求：{brief.requirements}"] if brief.requirements else []
        title += [f"大纲：{brief.outline}"] if brief.outline else []
        title += [f"素材：{brief.material}"] if brief.material else []
        title += [f"关键词：{'、'.join(brief.keywords)}"] if brief.keywords else []
        title += ["in English"] if brief.language == "en" else []
        ask = (Template(" <|User|>:根据给定标题写一个图文并茂，不重复的文章："), Text(" ".join(title)), Template("\n"))
        return (BEGIN, *ask, EOH, _BOT)

    def spot(self, sections: Sequence[str], *, count: int | None = None, pictures: Sequence[Picture] = ()) -> Prompt:
        """Asks for lines; every line keeps its number, long lines lose their ends where they do not all fit."""
        ask = self._words.spot_ask.format(n="" if count is None else count)
        blank = "" if self._is_reference else " "
        opening = (BEGIN, Template(f" <|User|>:{blank}{self._words.article}"))
        closing: Prompt = (*pictures, Template(f"{ask} \n"), EOH, Template(f" <|Bot|>:{self._words.spot_cue}"))
        room = self._room("spot") - self._count((*opening, *closing))
        return (*opening, *self._fit.lines(sections, room=room), *closing)

    def query(
        self, sections: Sequence[str], place: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        """Asks with the article up to one line beyond the place."""
        w.check_place(sections, place)
        opening = (BEGIN, Template(f" <|User|>: {self._words.article}"))
        ask = self._words.query_ask.format(i=place)
        ask += self._words.query_in_english if w.in_english(sections, language) else ""
        closing = (Template(f"{ask} \n"), EOH, Template(f" <|Bot|>: {self._words.query_cue}"))
        past = [Template('" '), *w.described(earlier, self._words)]
        room = self._room("query") - self._count((*opening, *past, *closing))
        return (*opening, *self._fit.last_lines(sections[: place + 2], room=room), *past, *closing)

    def choose(self, sections: Sequence[Section], candidates: Sequence[Picture]) -> Prompt:
        """Asks with the sections up to the place and the pictures already there."""
        opening = (BEGIN, Template(f"  <|User|>:{self._words.choose_ask}"))
        closing = (
            Template(f"\n\n{self._words.candidates}"), *w.lettered(candidates), Template("\n\n"), EOH, Template(" "),
            EOH, Template(f" <|Bot|>:{self._words.choose_cue}"),
        )  # fmt: skip
        room = self._room("choose") - self._count((*opening, *closing))
        return (*opening, *self._fit.context(sections, room=room), *closing)

    def describe(self, picture: Picture, *, language: str) -> Prompt:
        """Asks in a chat turn, in the language of the answer."""
        return self.chat([Turn("user", w.describe_ask(language), (picture,))])

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """The demo's conversation; the reference procedure has that of the model's own interface."""
        w.check_chat(turns)
        if self._is_reference:
            return _interface_chat(turns)
        blocks = [_turn(turn) for turn in turns]
        room = self._room("chat") - self._count((BEGIN, _META, _BOT))
        return (BEGIN, _META, *w.joined(blocks[self._fit.latest(blocks, room=room) :]), _BOT)

    def edit(self, change: Change, sections: Sequence[str], place: int, *, hint: str = "") -> Prompt:
        """Asks in a chat turn: this release was trained for no editing."""
        ask = w.edit_ask(change, sections, place, hint=hint)
        return (BEGIN, _META, Template(" <|User|>: "), *ask, EOH, _BOT)

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        """The released settings of the stage."""
        return replace((_REFERENCE if self._is_reference else _SAMPLING)[stage], seed=seed)

    def spot_form(self, free: Collection[int], *, count: int | None, apart: int) -> AnswerGrammar | None:
        """Marks of places; the reference procedure is bound to nothing."""
        return None if self._is_reference else MarkedPlaces(free, count=count, apart=apart)

    def spots_in(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads `<Seg3>, <Seg5>`."""
        return w.spots_in(answer, sections=sections)

    def query_in(self, answer: str) -> str:
        """Reads up to the closing quotation mark; the reference procedure cuts what it searches for."""
        return w.query_in(answer, cut=self._is_reference)

    def _room(self, stage: Stage) -> int:
        return self._context_tokens - self.sampling(stage).max_new_tokens


def _turn(turn: Turn) -> list[Part]:
    if turn.speaker == "assistant":
        return [Template(" <|Bot|>: "), Text(turn.text), EOA]
    pictures: list[Part] = [*turn.pictures, Template(" ")] if turn.pictures else []
    return [Template(" <|User|>: "), *pictures, Text(turn.text), EOH]


def _interface_chat(turns: Sequence[Turn]) -> Prompt:
    # The model's own interface: every piece is encoded apart, and the meta text is lost after the first turn.
    user = Template(" <|User|>:")
    parts: list[Part] = [BEGIN, _META] if len(turns) == 1 else []
    for turn in turns[:-1]:
        if turn.speaker == "user":
            parts += [BEGIN, user, APART, *turn.pictures, Text(turn.text), APART, _BOT]
        else:
            parts += [BEGIN, Text(turn.text), APART]
    last = turns[-1]
    return (*parts, user, APART, *last.pictures, Text(last.text), APART, Template("\n"), EOH, _BOT)
