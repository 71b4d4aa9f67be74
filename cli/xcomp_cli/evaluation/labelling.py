"""Makes a page on which a person picks the image for each item, without names, scores, query or original order.

The page is one file and needs no network or server. Texts are inserted as text, so nothing in them is executed. The
person downloads or copies the picks as JSON Lines, which `xcomp eval selection --picks` reads.
"""

import base64
import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from xcomp_cli.evaluation.items import Item, ItemImage
from xcomp_cli.requests.attachments import read_displayable

Source = Callable[[ItemImage], str]  # returns the data URL of an image

_HAN = re.compile(r"[\u4e00-\u9fff]")
_BREAK = re.compile(r"(?:\r?\n[ \t]*){2,}")
_WORDS = {
    "en": {
        "title": "Which image belongs here?",
        "question": "Which of these belongs after the last paragraph?",
        "none": "Nothing fits (N)",
        "back": "← Back",
        "next": "Next →",
        "save": "Download the picks",
        "copy": "Copy the picks",
        "help": "Keys: 1, 2, 3 … choose, N or 0 says that nothing fits, arrows go back and on. "
        "Picks stay in this browser until you download or copy them.",
        "labelled": "picked:",
        "candidate": "Candidate",
        "earlier": "An image that is already in the text",
    },
    "zh": {
        "title": "这里该配哪张图？",
        "question": "哪一张适合放在最后一段之后？",
        "none": "都不合适 (N)",
        "back": "← 上一题",
        "next": "下一题 →",
        "save": "下载选择结果",
        "copy": "复制选择结果",
        "help": "按键：1、2、3……选择图片，N 或 0 表示都不合适，左右方向键切换题目。"
        "下载或复制之前，结果只保存在此浏览器中。",
        "labelled": "已选：",
        "candidate": "候选图片",
        "earlier": "文中已有的图片",
    },
}


def labelling_page(items: Sequence[Item], source: Source, *, name: str, seed: int) -> str:
    """Returns the page; the seed decides the order of the candidates of each item."""
    language = _language(items)
    words = _WORDS[language]
    draw = random.Random(seed)  # noqa: S311  # the order is no secret
    content = {"name": name, "words": words, "items": [_entry(item, source, draw) for item in items]}
    style, script = (files(__package__).joinpath(f"labelling.{kind}").read_text("utf-8") for kind in ("css", "js"))
    page = Template(files(__package__).joinpath("labelling.html").read_text("utf-8"))
    return page.substitute(
        language="zh-CN" if language == "zh" else "en",
        title=escape(words["title"]),
        count=len(items),
        style=style,
        style_digest=_digest(style),
        script=script,
        script_digest=_digest(script),
        items=json.dumps(content, ensure_ascii=False).replace("<", "\\u003c"),
    )


def image_source(fetch: Callable[[str], tuple[str, bytes]]) -> Source:
    """Returns a function that reads an image of a page: a file from the disk, or an id with `fetch`."""

    def source(image: ItemImage) -> str:
        media, data = fetch(image.image_id) if image.file is None else read_displayable(image.file)
        return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"

    return source


def _entry(item: Item, source: Source, draw: random.Random) -> dict[str, object]:
    numbers = list(range(len(item.candidates)))
    draw.shuffle(numbers)
    return {
        "id": item.id,
        "digest": item.digest,
        "context": _context(item, source),
        "candidates": [{"number": number, "source": source(item.candidates[number])} for number in numbers],
    }


def _context(item: Item, source: Source) -> list[dict[str, str]]:
    """Returns texts and images in their order; headings do not count as paragraphs."""
    texts = [text for text in _BREAK.split(item.context.strip()) if text.strip()]
    paragraphs = [number for number, text in enumerate(texts) if not text.startswith("#")]
    first = len(paragraphs) - 1 - len(item.shown)
    after = [shown.after if shown.after is not None else max(first + n, 0) for n, shown in enumerate(item.shown)]
    parts: list[dict[str, str]] = []
    for number, text in enumerate(texts):
        parts.append({"text": text})
        here = [shown for shown, number_before in zip(item.shown, after, strict=True)
                if paragraphs[min(number_before, len(paragraphs) - 1) :][:1] == [number]]  # fmt: skip
        parts += [{"source": source(shown.image)} for shown in here]
    return parts


def _language(items: Sequence[Item]) -> str:
    text = "".join(item.context for item in items)
    return "zh" if len(_HAN.findall(text)) > len(text) / 10 else "en"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
