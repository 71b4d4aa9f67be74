"""The prompts of InternLM-XComposer2, as its composition demo wrote them.

An article is asked for in the user's own sentence: the release has no template for titles, outlines or keywords.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from xcomp_model.base import (
    AnswerGrammar,
    Brief,
    Change,
    Control,
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
PATCHES_TO_COMPOSE = 256  # of a picture; the release that answers questions has more

_DRAWN = Sampling(temperature=1.0, top_k=40, top_p=0.8, repetition_penalty=1.005)
# What stands around each part of a brief. Title and material: the composition demo's own sentences; the others, and all
# in English, are ours.
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
# Places, descriptions and choices are greedy: nothing is won by chance there.
_SAMPLING: dict[Stage, Sampling] = {
    "write": replace(_DRAWN, max_new_tokens=4096),
    "spot": Sampling(max_new_tokens=200),
    "query": Sampling(max_new_tokens=200, stop=('"',)),
    "choose": Sampling(max_new_tokens=10),
    "describe": Sampling(max_new_tokens=120),
    "chat": replace(_DRAWN, top_k=0, max_new_tokens=1024),
    "edit": replace(_DRAWN, max_new_tokens=500),
}
_REFERENCE: dict[Stage, Sampling] = _SAMPLING | {
    "spot": replace(_DRAWN, max_new_tokens=200),
    "query": replace(_DRAWN, max_new_tokens=200),
    "choose": replace(_DRAWN, max_new_tokens=10),
    "describe": replace(_DRAWN, top_k=0, max_new_tokens=1024),
}


class Prompts2:
    """Builds the turns of version 2 around the common sentences.

    A prompt may take what its answer leaves of `context_tokens`, or `prompt_tokens` where they are given.
    """

    candidates_at_once = 4

    def __init__(
        self,
        count: Callable[[Prompt], int],
        *,
        context_tokens: int,
        prompt_tokens: int | None = None,
        meta: str = META,
        is_reference: bool = False,
        wording: w.PromptTemplates = w.TRAINED,
    ) -> None:
        self._count = count
        self._fit = w.ContextBudget(lambda parts: count(tuple(parts)))
        self._context_tokens = context_tokens
        self._prompt_tokens = prompt_tokens
        self._meta = meta
        self._is_reference = is_reference
        self._sampling = _REFERENCE if is_reference else _SAMPLING
        self._words = wording
        self.version = f"xcomposer2/{wording.name}"

    def write(self, brief: Brief) -> Prompt:
        """Asks in the user's words, with outline, keywords and reference pictures where there are any."""
        words = _WRITE["en" if brief.language == "en" else "zh"]
        ask: list[Part] = [*_spaced(brief.references)]
        if brief.title:
            ask += [Template(words["title"][0]), Text(brief.title), Template(words["title"][1])]
        ask.append(Text(brief.instruction))
        told = {
            "requirements": brief.requirements,
            "outline": brief.outline,
            "keywords": ", ".join(brief.keywords),
            "material": brief.material,
        }
        for name, text in told.items():
            ask += [Template(words[name][0]), Text(text), Template(words[name][1])] if text else []
        return _asked([part for part in ask if part not in (Text(""), Template(""))])

    def spot(self, sections: Sequence[str], *, count: int | None = None, pictures: Sequence[Picture] = ()) -> Prompt:
        """Asks for lines; every line keeps its number, long lines lose their ends where they do not all fit."""
        opening: list[Part] = [*_spaced(pictures), *([Template(" ")] if pictures else [])]
        opening += [Template(self._words.article)]
        closing = [Template(self._words.spot_ask.format(n="" if count is None else count))]
        room = self._room("spot", [*opening, *closing], self._words.spot_cue)
        return _asked([*opening, *self._fit.lines(sections, room=room), *closing], cue=self._words.spot_cue)

    def query(
        self, sections: Sequence[str], place: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        """Asks with the article up to one line beyond the place."""
        w.check_place(sections, place)
        ask = self._words.query_ask.format(i=place)
        ask += self._words.query_in_english if w.in_english(sections, language) else ""
        closing = [Template('" '), *w.described(earlier, self._words), Template(ask)]
        opening = Template(self._words.article)
        room = self._room("query", [opening, *closing], self._words.query_cue)
        lines = self._fit.last_lines(sections[: place + 2], room=room)
        return _asked([opening, *lines, *closing], cue=self._words.query_cue)

    def choose(self, sections: Sequence[Section], candidates: Sequence[Picture]) -> Prompt:
        """Asks with the sections up to the place and the pictures already there."""
        opening = Template(self._words.choose_ask)
        closing = [Template(self._words.candidates), *w.lettered(candidates)]
        room = self._room("choose", [opening, *closing], self._words.choose_cue)
        context = self._fit.context(sections, room=room)
        return _asked([opening, *context, *closing], cue=self._words.choose_cue)

    def describe(self, picture: Picture, *, language: str) -> Prompt:
        """Asks in a chat turn, in the language of the answer."""
        return self.chat([Turn("user", w.describe_ask(language), (picture,))])

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """A conversation under the release's system turn; old turns go where they do not all fit."""
        w.check_chat(turns)
        system: Prompt = (BEGIN, TURN, Template(f"system\n{self._meta}"), TURN_END, Template("\n"))
        blocks = [_turn(turn) for turn in turns]
        room = self._longest("chat") - self._count((*system, *_answer("")))
        return (*system, *w.joined(blocks[self._fit.latest(blocks, room=room) :]), *_answer(""))

    def edit(self, change: Change, sections: Sequence[str], place: int, *, hint: str = "") -> Prompt:
        """Asks for a paragraph anew, or for one between two others."""
        return _asked(w.edit_ask(change, sections, place, hint=hint))

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        """The released settings where an answer is drawn, greedy elsewhere."""
        return replace(self._sampling[stage], seed=seed)

    def spot_form(self, free: Collection[int], *, count: int | None, apart: int) -> AnswerGrammar | None:
        """Marks of places; the reference procedure is bound to nothing."""
        return None if self._is_reference else MarkedPlaces(free, count=count, apart=apart)

    def spots_in(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads `<Seg3>, <Seg5>`."""
        return w.spots_in(answer, sections=sections)

    def query_in(self, answer: str) -> str:
        """Reads up to the closing quotation mark; the reference procedure cuts what it searches for."""
        return w.query_in(answer, cut=self._is_reference)

    def _room(self, stage: Stage, parts: Sequence[Part], cue: str) -> int:
        return self._longest(stage) - self._count(_asked(parts, cue=cue))

    def _longest(self, stage: Stage) -> int:
        return self._prompt_tokens or self._context_tokens - self.sampling(stage).max_new_tokens


def _asked(parts: Sequence[Part], *, cue: str = "") -> Prompt:
    return (BEGIN, TURN, Template("user\n"), *parts, TURN_END, Template("\n"), *_answer(cue))


def _answer(cue: str) -> tuple[Part, Part]:
    return TURN, Template(f"assistant\n{cue}")


def _turn(turn: Turn) -> list[Part]:
    return [TURN, Template(f"{turn.speaker}\n"), *turn.pictures, Text(turn.text), TURN_END, Template("\n")]


def _spaced(pictures: Sequence[Picture]) -> list[Part]:
    parts: list[Part] = []
    for picture in pictures:
        parts += [Template(" "), picture] if parts else [picture]
    return parts
