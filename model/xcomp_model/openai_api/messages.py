"""Prompts as chat messages: images become data URLs, and control tokens in the words of users are broken."""

import base64
import io
import re
from typing import TYPE_CHECKING

from xcomp_model.base import Control, ImagePart, ModelFailure, Prompt, Text

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

MAX_IMAGE_PX = 1024
_CONTROL_TOKENS = re.compile(r"<(?=[|/]|s>)|\[(?=/?INST\])", re.IGNORECASE)


def build_messages(prompt: Prompt) -> "list[ChatCompletionMessageParam]":
    """Returns the messages of a prompt; raises ModelFailure if it is empty."""
    if not any(isinstance(part, (Text, ImagePart)) for part in prompt):
        raise ModelFailure("the prompt is empty: say something")
    messages: list[dict[str, object]] = []
    for part in prompt:
        if isinstance(part, Control):
            messages.append({"role": part.name, "content": []})
        else:
            content = messages[-1]["content"]
            assert isinstance(content, list)
            content.append(_content(part))
    return [_simplify(message) for message in messages]  # type: ignore[misc]  # the endpoint checks the roles


def _content(part: object) -> dict[str, object]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": _data_url(part)}}
    if isinstance(part, Text):  # an endpoint may parse control tokens in all that it gets: break them
        return {"type": "text", "text": _CONTROL_TOKENS.sub(lambda mark: f"{mark[0]} ", part.text)}
    return {"type": "text", "text": getattr(part, "text", "")}


def _simplify(message: dict[str, object]) -> dict[str, object]:
    """Replaces a list of texts by their text: not every endpoint accepts a list."""
    content = message["content"]
    assert isinstance(content, list)
    if all(item["type"] == "text" for item in content):
        return {"role": message["role"], "content": "".join(item["text"] for item in content)}
    return message


def _data_url(part: ImagePart) -> str:
    image = part.image.convert("RGB")
    image.thumbnail((MAX_IMAGE_PX, MAX_IMAGE_PX))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
