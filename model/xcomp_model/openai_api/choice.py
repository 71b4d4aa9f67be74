"""The methods to ask an OpenAI-compatible endpoint for a choice, best first, and how their answers become a choice."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xcomp_model.base import MIN_MASS, Choice
from xcomp_model.openai_api.thinking import LateThought, ThoughtFilter, join_content, strip_thoughts

TOP_LOGPROBS = 20  # as many as the protocol allows
_FEW_LOGPROBS = 5  # as many as some endpoints allow
_LETTER_TOKENS = 12  # room for the tags of an empty thought, and for "The best choice is A."
_OBJECT_TOKENS = 24
_ROUNDING = 1e-3  # above 0, where no log-probability can be
_MARKUP = " \t\r\n.:()[]*`\"'"  # around the letter of an answer
_SPACES = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})  # how tokenizers spell them
_SINGULAR = r"(?! (?!because|since|as|for|is|due|with)[a-z])"  # "A" is an article before other small words
_STATED = (  # what comes before the letter of an answer in words
    r"(?:answer|choice|option|candidate|letter|pick|choose|select|best|答案|选择|选项|选)"
    r"(?: is|:| would be|\s|是|为|：|\*)*"
)


@dataclass(frozen=True)
class ChoiceMethod:
    """How an endpoint is asked for a choice.

    Attributes:
        top: how many tokens to score; 0 asks for no scores.
        is_bound: a JSON schema restricts the answer to the options.
        has_room: the answer may come after long thoughts.
    """

    top: int = 0
    is_bound: bool = False
    has_room: bool = False

    @property
    def name(self) -> str:
        """What the choice is read from."""
        if self.top:
            return f"scores of {self.top} tokens"
        return "an answer by schema" if self.is_bound else "the letter of an answer"

    def parameters(self, options: Sequence[str]) -> "dict[str, Any]":
        """Returns the parameters of the request."""
        if self.top:
            return {"logprobs": True, "top_logprobs": self.top, "max_tokens": _LETTER_TOKENS}
        if not self.is_bound:
            return {"max_tokens": _LETTER_TOKENS}
        schema = {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": list(options)}},
            "required": ["choice"],
            "additionalProperties": False,
        }
        shape = {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}
        return {"response_format": shape, "max_tokens": _OBJECT_TOKENS}


METHODS = (
    ChoiceMethod(top=TOP_LOGPROBS),
    ChoiceMethod(top=_FEW_LOGPROBS),
    ChoiceMethod(is_bound=True),
    ChoiceMethod(),
    ChoiceMethod(has_room=True),
)


def read_choice(answer: object, options: Sequence[str], *, by_scores: bool) -> tuple[Choice | None, bool]:
    """Reads the first choice of an answer, and whether the model thought; the client library checks neither.

    The choice is None if there are no scores, too little of the probability is on the options, or the answer names no
    option.
    """
    first = (getattr(answer, "choices", None) or (None,))[0]
    message = getattr(first, "message", None)
    text = join_content(getattr(message, "content", None))
    said = strip_thoughts(text)
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    has_thoughts = bool(reasoning) or said != text.strip()
    if by_scores:
        positions = getattr(getattr(first, "logprobs", None), "content", None) or ()
        return choose_by_scores(positions, options), has_thoughts
    return parse_option(said, options), has_thoughts


def choose_by_scores(positions: Sequence[object], options: Sequence[str]) -> Choice | None:
    """Returns the choice by the scores of the first word of an answer; None if it is not one of the options."""
    thoughts = ThoughtFilter(holds=False)
    for position in positions:
        try:
            said = thoughts.feed(_token_text(position))
        except LateThought:
            thoughts = ThoughtFilter(holds=False)
            continue
        if any(map(str.isalnum, said)):
            weights = option_weights(parse_scores(getattr(position, "top_logprobs", None)), options)
            mass = sum(weights)
            return Choice(tuple(weight / mass for weight in weights), min(mass, 1.0)) if mass >= MIN_MASS else None
    return None


def parse_option(answer: str, options: Sequence[str]) -> Choice | None:
    """Reads an answer without scores; None if it names no option, or several."""
    with suppress(ValueError, AttributeError):
        answer = str(json.loads(re.sub(r"^\s*```(?:json)?|```\s*$", "", answer)).get("choice", ""))
    named = _find_option(answer, options)
    return Choice(tuple(float(option == named) for option in options), 1.0) if named else None


def _find_option(answer: str, options: Sequence[str]) -> str:
    """Returns the option that an answer is, states ("Answer: A") or starts with ("A) a cat"); empty otherwise."""
    letter = answer.strip(_MARKUP).upper()
    exact = [option for option in options if option.upper() == letter]
    if exact:
        return exact[0]
    one = "|".join(map(re.escape, options))
    word = rf"(?<![\w'’])({one})(?![\w'’]){_SINGULAR}"
    named = set(re.findall(word, answer))
    stated = set(re.findall(rf"(?i:{_STATED})[\s(\[*\"'“{{]*{word}", answer))
    leading = re.match(rf"[\s(\[*\"'“]*({one})(?:[.):：,，、*\]]|\s*\n)", answer)
    found = stated | ({leading[1]} if leading else set())
    return found.pop() if len(found) == 1 and len(named | found) == 1 else ""


def parse_scores(entries: Sequence[object] | None) -> list[tuple[str, float]]:
    """Reads tokens with their log-probabilities; empty if these are something else, without those that are missing."""
    found = [(_token_text(each), getattr(each, "logprob", None)) for each in entries or ()]
    scores = [(token, float(score)) for token, score in found if token and isinstance(score, int | float)]
    return scores if all(score <= _ROUNDING for _, score in scores) else []  # nan fails, too


def _token_text(entry: object) -> str:
    """Returns the text of a token: by its bytes if the endpoint sends them, else without its tokenizer's spelling."""
    content = getattr(entry, "bytes", None)
    with suppress(ValueError, TypeError):
        if content:
            return bytes(content).decode()
    token = getattr(entry, "token", None)
    return token.translate(_SPACES) if isinstance(token, str) else ""


def option_weights(scores: Sequence[tuple[str, float]], options: Sequence[str]) -> list[float]:
    """Returns the probability of each option over all its spellings among the tokens."""
    return [
        sum(math.exp(logprob) for token, logprob in scores if token.strip(_MARKUP).upper() == option.upper())
        for option in options
    ]
