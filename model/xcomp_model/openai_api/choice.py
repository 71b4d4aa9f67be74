"""The ways to ask an OpenAI-compatible endpoint for a choice, best first, and how an answer without scores is read."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xcomp_model.base import Choice

TOP_LOGPROBS = 20  # as many as the protocol allows
_FEW_LOGPROBS = 5  # as many as some endpoints allow
_LETTER_TOKENS = 4
_OBJECT_TOKENS = 24


@dataclass(frozen=True)
class ChoiceMethod:
    """How an endpoint is asked for a choice.

    Attributes:
        top: scores of so many tokens; 0 asks for none.
        is_bound: the answer has to obey a schema.
    """

    top: int = 0
    is_bound: bool = False

    def parameters(self, options: Sequence[str]) -> "dict[str, Any]":
        """Returns what the request says of it."""
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


WAYS = (ChoiceMethod(top=TOP_LOGPROBS), ChoiceMethod(top=_FEW_LOGPROBS), ChoiceMethod(is_bound=True), ChoiceMethod())


def read(answer: str, options: Sequence[str]) -> Choice | None:
    """Reads an answer without scores; one that names no option is none, never a choice."""
    with suppress(ValueError, AttributeError):
        answer = str(json.loads(answer).get("choice", ""))
    wanted = answer.strip().strip(".()[]*\"'").upper()
    if wanted not in (option.upper() for option in options):
        return None
    return Choice(tuple(float(option.upper() == wanted) for option in options), 1.0)
