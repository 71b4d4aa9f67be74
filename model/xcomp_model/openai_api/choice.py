"""The methods to ask an OpenAI-compatible endpoint for a choice, best first, and how their answers become a choice."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xcomp_model.base import Choice

TOP_LOGPROBS = 20  # as many as the protocol allows
_FEW_LOGPROBS = 5  # as many as some endpoints allow
_LETTER_TOKENS = 4
_OBJECT_TOKENS = 24
_ROUNDING = 1e-3  # above 0, where no log-probability can be


@dataclass(frozen=True)
class ChoiceMethod:
    """How an endpoint is asked for a choice.

    Attributes:
        top: how many tokens to score; 0 asks for no scores.
        is_bound: a JSON schema restricts the answer to the options.
    """

    top: int = 0
    is_bound: bool = False

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
)


def parse_option(answer: str, options: Sequence[str]) -> Choice | None:
    """Reads an answer without scores; None if it names no option."""
    with suppress(ValueError, AttributeError):
        answer = str(json.loads(answer).get("choice", ""))
    letter = answer.strip().strip(".()[]*\"'").upper()
    if letter not in (option.upper() for option in options):
        return None
    return Choice(tuple(float(option.upper() == letter) for option in options), 1.0)


def parse_scores(entries: Sequence[object] | None) -> list[tuple[str, float]]:
    """Reads tokens with their log-probabilities; the client library does not check what an endpoint sends.

    Raises:
        ValueError: an entry is not a log-probability.
    """
    found = [(getattr(each, "token", None), getattr(each, "logprob", None)) for each in entries or ()]
    scores = [(token, score) for token, score in found if isinstance(token, str) and isinstance(score, int | float)]
    if len(scores) < len(found) or not all(score <= _ROUNDING for _, score in scores):  # nan fails, too
        raise ValueError("not log-probabilities")
    return scores


def option_weights(scores: Sequence[tuple[str, float]], options: Sequence[str]) -> list[float]:
    """Returns the probability of each option over all its spellings among the tokens."""
    return [
        sum(math.exp(logprob) for token, logprob in scores if token.strip().upper() == option.upper())
        for option in options
    ]
