"""What an endpoint was found to accept: learned from its refusals and its answers, and remembered per model.

Parameters that a server refuses are renamed or left out. A model that thinks until its tokens are used up is asked not
to think; if it still does, it gets room to finish.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import openai

REFUSALS = (openai.BadRequestError, openai.UnprocessableEntityError)
ROOM_TOKENS = 4096  # for the thoughts of a model that cannot be asked not to think
QUIET, ROOM = 1, 2  # how a model is asked: without thoughts, and with room for those that it still has
_LEFT_OUT = (  # parameters without which an answer is still useful
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "chat_template_kwargs", "reasoning_effort",
)  # fmt: skip
_EFFORTS = ("none", "minimal", "low")  # of reasoning, least first
_NEUTRAL = {"top_p": 1.0, "seed": 0}  # values that need not be sent

Parameters = dict[str, Any]


class Dialect:
    """The parameters that one model of one endpoint accepts.

    Attributes:
        level: 0, QUIET or ROOM.
        thinks_first: whether answers may begin with thoughts without an opening tag; None until one was read.
    """

    def __init__(self, *, thinks_first: bool | None = None) -> None:
        self.level = 0
        self.thinks_first = thinks_first
        self._refused: frozenset[str] = frozenset()
        self._effort = 0

    def adapt(self, parameters: Mapping[str, Any], *, level: int | None = None) -> Parameters:
        """Returns the parameters in the words that the endpoint accepts, those of the client library beside others."""
        level = self.level if level is None else level
        sent = {name: value for name, value in parameters.items() if _NEUTRAL.get(name) != value}
        if level >= QUIET:
            sent["chat_template_kwargs"] = {"enable_thinking": False, "thinking": False}
            sent["reasoning_effort"] = _EFFORTS[self._effort]
        if "max_tokens" in sent:
            sent["max_tokens"] += ROOM_TOKENS if level >= ROOM else 0
        if "max_tokens" in self._refused and "max_tokens" in sent:
            sent["max_completion_tokens"] = sent.pop("max_tokens")
        sent = {name: value for name, value in sent.items() if name not in self._refused}
        extra = {name: sent.pop(name) for name in ("chat_template_kwargs",) if name in sent}
        return {**sent, "extra_body": extra} if extra else sent

    def learn(self, error: openai.APIStatusError, sent: Mapping[str, Any]) -> bool:
        """Remembers which parameter a refusal names; returns False if it names none that can be changed."""
        names = {*sent, *sent.get("extra_body", {})}
        refused = _named_parameter(error, [name for name in _LEFT_OUT if name in names])
        if refused == "reasoning_effort" and self._effort + 1 < len(_EFFORTS) and _refuses_value(error):
            self._effort += 1
        elif refused:
            self._refused |= {refused}
        return bool(refused)

    def raise_level(self, level: int) -> None:
        """Asks for fewer thoughts, or leaves more room for them, than a request of this level did."""
        self.level = max(self.level, min(level + 1, ROOM))


def _refuses_value(error: openai.APIStatusError) -> bool:
    return bool(re.search(r"\bvalues?\b|does not support|invalid_value|unsupported_value|enum", _words(error)))


def _named_parameter(error: openai.APIStatusError, names: list[str]) -> str:
    named = getattr(error, "param", None)
    if named in names:
        return str(named)
    words = _words(error)
    return next((name for name in names if re.search(_mention(name), words)), "")


def _mention(name: str) -> str:
    if name == "seed":  # a word that other sentences contain
        return r"""["'`.]seed["'`]|parameters?:? seed\b|\bseed (?:is|parameter|does)\b"""
    return rf"(?<!\w){name}(?!\w)"


def _words(error: openai.APIStatusError) -> str:
    try:
        body = json.dumps(error.body)
    except (TypeError, ValueError):
        body = str(error.body)
    return f"{error.message} {body}"
