"""The prompts of InternLM-XComposer 1.0, as its web demo wrote them.

They are Chinese for articles of both languages, because the release was trained with Chinese prompts only. The released
selection prompt ends with its mark twice and two leading blanks; it was evaluated that way and is kept. There is one
difference outside the reference procedure: the prompt for spots starts with the same blank as the prompt for
descriptions, so the article behind it is read once for both.
"""

from collections.abc import Callable, Sequence

from xcomp_model.base import (
    Brief,
    Change,
    Control,
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
from xcomp_model.xcomposer.prompts import common
from xcomp_model.xcomposer.tokenizer import Marks

MARKS = Marks(
    controls={"begin": "<s>", "end": "</s>", "eoh": "<TOKENS_UNUSED_0>", "eoa": "<TOKENS_UNUSED_1>", "apart": ""},
    reserved=r"<TOKENS_UNUSED_\d+>|<\|User\|>|<\|Bot\|>|<Seg\d*>",
)
ENDS = ("end", "eoh", "eoa")
# The demo reads a letter with or without a space before it; models of this family often write a colon before it.
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

# As released, but with one beam, because answers are streamed.
_SAMPLING: dict[Stage, Sampling] = {
    "write": Sampling(repetition_penalty=5.0, max_new_tokens=999),
    "spot": Sampling(max_new_tokens=299),
    "query": Sampling(repetition_penalty=5.0, max_new_tokens=99, stop=('"',)),
    "choose": Sampling(max_new_tokens=9),
    "describe": Sampling(repetition_penalty=1.5, max_new_tokens=120),
    "chat": Sampling(repetition_penalty=1.5, max_new_tokens=500),
    "edit": Sampling(repetition_penalty=1.5, max_new_tokens=500),
}
# The released decoding: that of the demo for articles, that of the model's own interface for chat.
_REFERENCE: dict[Stage, Sampling] = {
    "write": Sampling(beams=5, repetition_penalty=5.0, max_new_tokens=999),
    "spot": Sampling(beams=5, max_new_tokens=299),
    "query": Sampling(repetition_penalty=5.0, max_new_tokens=99),
    "choose": Sampling(beams=5, max_new_tokens=9),
    "describe": Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=500),
    "chat": Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=500),
    "edit": Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=500),
}


class Prompts1(common.ReleasedPrompts):
    """Builds prompts of version 1.0 from the common sentences."""

    def __init__(
        self,
        count: Callable[[Prompt], int],
        *,
        context_tokens: int,
        is_reference: bool = False,
        templates: common.PromptTemplates = common.TRAINED,
    ) -> None:
        settings = _REFERENCE if is_reference else _SAMPLING
        super().__init__(count, name="xcomposer1", settings=settings, templates=templates, is_reference=is_reference)
        self._context_tokens = context_tokens

    def write(self, brief: Brief) -> Prompt:
        """Asks for an article by its title, the only way that this model was trained with."""
        if brief.references:
            raise ModelFailure("InternLM-XComposer 1.0 writes from words alone: use internlm-xcomposer2-7b for images")
        title = [part for part in (brief.title, brief.instruction) if part]
        title += [f"要求：{brief.requirements}"] if brief.requirements else []
        title += [f"大纲：{brief.outline}"] if brief.outline else []
        title += [f"素材：{brief.material}"] if brief.material else []
        title += [f"关键词：{'、'.join(brief.keywords)}"] if brief.keywords else []
        title += ["in English"] if brief.language == "en" else []
        ask = (Template(" <|User|>:根据给定标题写一个图文并茂，不重复的文章："), Text(" ".join(title)), Template("\n"))
        return (BEGIN, *ask, EOH, _BOT)

    def spot(self, sections: Sequence[str], *, count: int | None = None, images: Sequence[ImagePart] = ()) -> Prompt:
        """Asks for line numbers; if the lines do not fit, the ends of long lines are cut."""
        ask = self._templates.spot_ask.format(n="" if count is None else count)
        blank = "" if self._is_reference else " "
        opening = (BEGIN, Template(f" <|User|>:{blank}{self._templates.article}"))
        closing: Prompt = (*images, Template(f"{ask} \n"), EOH, Template(f" <|Bot|>:{self._templates.spot_cue}"))
        room = self._room("spot") - self._count((*opening, *closing))
        return (*opening, *self._budget.fit_lines(sections, room=room), *closing)

    def query(
        self, sections: Sequence[str], section: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        """Asks with the article up to one line behind the section."""
        common.check_section(sections, section)
        opening = (BEGIN, Template(f" <|User|>: {self._templates.article}"))
        ask = self._templates.query_ask.format(i=section)
        ask += self._templates.query_in_english if common.wants_english(sections, language) else ""
        closing = (Template(f"{ask} \n"), EOH, Template(f" <|Bot|>: {self._templates.query_cue}"))
        past = [Template('" '), *common.earlier_queries(earlier, self._templates)]
        room = self._room("query") - self._count((*opening, *past, *closing))
        return (*opening, *self._budget.fit_last_lines(sections[: section + 2], room=room), *past, *closing)

    def choose(self, sections: Sequence[Section], candidates: Sequence[ImagePart]) -> Prompt:
        """Asks with the sections before the spot and their images."""
        opening = (BEGIN, Template(f"  <|User|>:{self._templates.choose_ask}"))
        closing = (
            Template(f"\n\n{self._templates.candidates}"), *common.letter_candidates(candidates), Template("\n\n"),
            EOH, Template(" "), EOH, Template(f" <|Bot|>:{self._templates.choose_cue}"),
        )  # fmt: skip
        room = self._room("choose") - self._count((*opening, *closing))
        return (*opening, *self._budget.fit_context(sections, room=room), *closing)

    def describe(self, image: ImagePart, *, language: str) -> Prompt:
        """Asks in a chat turn, in the language of the answer."""
        return self.chat([Turn("user", common.describe_request(language), (image,))])

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """Builds a conversation as the demo does; the reference procedure does it as the model's own interface."""
        common.check_chat(turns)
        if self._is_reference:
            return _interface_chat(turns)
        blocks = [_chat_turn(turn) for turn in turns]
        room = self._room("chat") - self._count((BEGIN, _META, _BOT))
        return (BEGIN, _META, *common.flatten(blocks[self._budget.count_to_drop(blocks, room=room) :]), _BOT)

    def edit(self, change: Change, sections: Sequence[str], section: int, *, hint: str = "") -> Prompt:
        """Asks in a chat turn, because this release was not trained for edits."""
        ask = common.edit_request(change, sections, section, hint=hint)
        return (BEGIN, _META, Template(" <|User|>: "), *ask, EOH, _BOT)

    def _room(self, stage: Stage) -> int:
        return self._context_tokens - self.sampling(stage).max_new_tokens


def _chat_turn(turn: Turn) -> list[Part]:
    if turn.speaker == "assistant":
        return [Template(" <|Bot|>: "), Text(turn.text), EOA]
    images: list[Part] = [*turn.images, Template(" ")] if turn.images else []
    return [Template(" <|User|>: "), *images, Text(turn.text), EOH]


def _interface_chat(turns: Sequence[Turn]) -> Prompt:
    # As in the model's own interface, every piece is encoded separately, and only the first turn has the meta text.
    user = Template(" <|User|>:")
    parts: list[Part] = [BEGIN, _META] if len(turns) == 1 else []
    for turn in turns[:-1]:
        if turn.speaker == "user":
            parts += [BEGIN, user, APART, *turn.images, Text(turn.text), APART, _BOT]
        else:
            parts += [BEGIN, Text(turn.text), APART]
    last = turns[-1]
    return (*parts, user, APART, *last.images, Text(last.text), APART, Template("\n"), EOH, _BOT)
