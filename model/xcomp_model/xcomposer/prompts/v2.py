"""The prompts of InternLM-XComposer2, as its composition demo wrote them.

An article is requested in the user's own words, because the release has no template for titles, outlines or keywords.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from xcomp_model.base import (
    Brief,
    Change,
    Control,
    ImagePart,
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
    controls={"begin": "<s>", "end": "</s>", "turn": "[UNUSED_TOKEN_146]", "turn_end": "[UNUSED_TOKEN_145]"},
    reserved=r"\[UNUSED_TOKEN_\d+\]|<Seg\d*>",
)
ENDS = ("end", "turn_end")
# Recorded answers are a colon-like token, then a space and the letter.
LEAD_INS = ("", " ", ":", ": ", "：", "： ")

BEGIN, TURN, TURN_END = Control("begin"), Control("turn"), Control("turn_end")
_NAME = "InternLM-XComposer (浦语·灵笔)"
_META = (
    f"You are an AI assistant whose name is {_NAME}.\n"
    f"- {_NAME} is a {{kind}} language model that is developed by Shanghai AI Laboratory (上海人工智能实验室). "
    "It is designed to be helpful, honest, and harmless.\n"
    f"- {_NAME} can understand and communicate fluently in the language chosen by the user such as English and 中文.\n"
)
META = _META.format(kind="conversational")
META_VL = _META.format(kind="multi-modality conversational") + (
    f"- {_NAME} is capable of comprehending and articulating responses effectively based on the provided image."
)
PATCHES_TO_COMPOSE = 256  # of an image; the release for questions (VL) has more

_RANDOM = Sampling(temperature=1.0, top_k=40, top_p=0.8, repetition_penalty=1.005)
# The words around each field of a brief. Title and material: sentences of the composition demo; the others, and all
# English ones, are ours.
_WRITE: dict[str, dict[str, tuple[str, str]]] = {
    "zh": {
        "title": ("根据以下标题：“", "”，创作长文章。"),
        "requirements": ("\n要求：", ""),
        "outline": ("\n大纲：\n", ""),
        "keywords": ("\n关键词：", ""),
        "material": ("\n请结合以下文本素材：\n“", "”"),
    },
    "en": {
        "title": ("Write a long article under this title: “", "”. "),
        "requirements": ("\nRequirements: ", ""),
        "outline": ("\nOutline:\n", ""),
        "keywords": ("\nKeywords: ", ""),
        "material": ("\nWrite it from this material:\n“", "”"),
    },
}
# Spots, descriptions and choices are greedy, because randomness would not improve them.
_SAMPLING: dict[Stage, Sampling] = {
    "write": replace(_RANDOM, max_new_tokens=4096),
    "spot": Sampling(max_new_tokens=200),
    "query": Sampling(max_new_tokens=200, stop=('"',)),
    "choose": Sampling(max_new_tokens=10),
    "describe": Sampling(max_new_tokens=120),
    "chat": replace(_RANDOM, top_k=0, max_new_tokens=1024),
    "edit": replace(_RANDOM, max_new_tokens=500),
}
_REFERENCE: dict[Stage, Sampling] = _SAMPLING | {
    "spot": replace(_RANDOM, max_new_tokens=200),
    "query": replace(_RANDOM, max_new_tokens=200),
    "choose": replace(_RANDOM, max_new_tokens=10),
    "describe": replace(_RANDOM, top_k=0, max_new_tokens=1024),
}


class Prompts2(common.ReleasedPrompts):
    """Builds prompts of version 2 from the common sentences.

    A prompt takes at most `prompt_tokens`, by default `context_tokens` less the answer.
    """

    def __init__(
        self,
        count: Callable[[Prompt], int],
        *,
        context_tokens: int,
        prompt_tokens: int | None = None,
        meta: str = META,
        is_reference: bool = False,
        templates: common.PromptTemplates = common.TRAINED,
    ) -> None:
        settings = _REFERENCE if is_reference else _SAMPLING
        super().__init__(count, name="xcomposer2", settings=settings, templates=templates, is_reference=is_reference)
        self._context_tokens = context_tokens
        self._prompt_tokens = prompt_tokens
        self._meta = meta

    def write(self, brief: Brief) -> Prompt:
        """Asks in the words of the user, with outline, keywords and reference images if there are any."""
        words = _WRITE["en" if brief.language == "en" else "zh"]
        ask: list[Part] = [*_space_images(brief.references)]
        if brief.title:
            ask += [Template(words["title"][0]), Text(brief.title), Template(words["title"][1])]
        ask.append(Text(brief.instruction))
        fields = {
            "requirements": brief.requirements,
            "outline": brief.outline,
            "keywords": ", ".join(brief.keywords),
            "material": brief.material,
        }
        for name, text in fields.items():
            ask += [Template(words[name][0]), Text(text), Template(words[name][1])] if text else []
        return _user_turn([part for part in ask if part not in (Text(""), Template(""))])

    def spot(self, sections: Sequence[str], *, count: int | None = None, images: Sequence[ImagePart] = ()) -> Prompt:
        """Asks for line numbers; if the lines do not fit, the ends of long lines are cut."""
        opening: list[Part] = [*_space_images(images), *([Template(" ")] if images else [])]
        opening += [Template(self._templates.article)]
        closing = [Template(self._templates.spot_ask.format(n="" if count is None else count))]
        room = self._room("spot", [*opening, *closing], self._templates.spot_cue)
        return _user_turn(
            [*opening, *self._budget.fit_lines(sections, room=room), *closing], cue=self._templates.spot_cue
        )

    def query(
        self, sections: Sequence[str], section: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        """Asks with the article up to one line behind the section."""
        common.check_section(sections, section)
        ask = self._templates.query_ask.format(i=section)
        ask += self._templates.query_in_english if common.wants_english(sections, language) else ""
        closing = [Template('" '), *common.earlier_queries(earlier, self._templates), Template(ask)]
        opening = Template(self._templates.article)
        room = self._room("query", [opening, *closing], self._templates.query_cue)
        lines = self._budget.fit_last_lines(sections[: section + 2], room=room)
        return _user_turn([opening, *lines, *closing], cue=self._templates.query_cue)

    def choose(self, sections: Sequence[Section], candidates: Sequence[ImagePart]) -> Prompt:
        """Asks with the sections before the spot and their images."""
        opening = Template(self._templates.choose_ask)
        closing = [Template(self._templates.candidates), *common.letter_candidates(candidates)]
        room = self._room("choose", [opening, *closing], self._templates.choose_cue)
        context = self._budget.fit_context(sections, room=room)
        return _user_turn([opening, *context, *closing], cue=self._templates.choose_cue)

    def describe(self, image: ImagePart, *, language: str) -> Prompt:
        """Asks in a chat turn, in the language of the answer."""
        return self.chat([Turn("user", common.describe_request(language), (image,))])

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """Builds a conversation with the system turn of the release; drops old turns if they do not fit."""
        common.check_chat(turns)
        system: Prompt = (BEGIN, TURN, Template(f"system\n{self._meta}"), TURN_END, Template("\n"))
        blocks = [_chat_turn(turn) for turn in turns]
        room = self._max_prompt("chat") - self._count((*system, *_answer("")))
        return (*system, *common.flatten(blocks[self._budget.count_to_drop(blocks, room=room) :]), *_answer(""))

    def edit(self, change: Change, sections: Sequence[str], section: int, *, hint: str = "") -> Prompt:
        """Asks for a new version of a paragraph, or for a new one between two others."""
        return _user_turn(common.edit_request(change, sections, section, hint=hint))

    def _room(self, stage: Stage, parts: Sequence[Part], cue: str) -> int:
        return self._max_prompt(stage) - self._count(_user_turn(parts, cue=cue))

    def _max_prompt(self, stage: Stage) -> int:
        return self._prompt_tokens or self._context_tokens - self.sampling(stage).max_new_tokens


def _user_turn(parts: Sequence[Part], *, cue: str = "") -> Prompt:
    return (BEGIN, TURN, Template("user\n"), *parts, TURN_END, Template("\n"), *_answer(cue))


def _answer(cue: str) -> tuple[Part, Part]:
    return TURN, Template(f"assistant\n{cue}")


def _chat_turn(turn: Turn) -> list[Part]:
    return [TURN, Template(f"{turn.speaker}\n"), *turn.images, Text(turn.text), TURN_END, Template("\n")]


def _space_images(images: Sequence[ImagePart]) -> list[Part]:
    parts: list[Part] = []
    for image in images:
        parts += [Template(" "), image] if parts else [image]
    return parts
