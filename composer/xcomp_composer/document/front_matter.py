"""The front matter of a text: metadata before the first block, as site generators and converters read it.

Metadata in YAML, TOML or JSON may stand before Markdown and before a page; the heads of Pandoc (`% Title`) and of
MultiMarkdown (`Title: …`) stand before Markdown only.
"""

import json
import re
import tomllib
from collections.abc import Callable, Sequence

import yaml

from xcomp_composer.document.blocks import join_lines, normalize, split_lines

_MAX_YAML_CHARACTERS = 16_384  # the library takes up to half a second for that
_MAX_YAML_BRACKETS = 256  # its time grows with their square
_MAX_HEAD_CHARACTERS = 65_536
_KEY = re.compile(r"""[\w"'][\w ."'-]*:(?:\s|$)""")
_JSON_START = re.compile(r'\{[ \t]*\n\s*"[^"\n]*"[ \t]*:')
_JSON_TITLE = re.compile(r'^[ \t]+"title"[ \t]*:[ \t]*"(.*?)"[ \t]*,?[ \t]*$', re.MULTILINE | re.IGNORECASE)
_TITLE_ENTRY = re.compile(r"^title[ \t]*[:=][ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_PANDOC_HEAD = re.compile(r"(?:%(?!%)[ \t]*(?:[^\s%].*)?\n(?:[ \t]+\S.*\n)*){1,3}(?=\n|\Z)")
_MULTIMARKDOWN_HEAD = re.compile(r"(?:[A-Za-z0-9][\w -]{0,40}:(?:[ \t].*)?\n(?:[ \t]+\S.*\n)*)+(?=\n|\Z)")
_MULTIMARKDOWN_KEYS = frozenset({
    "affiliation", "author", "authors", "category", "copyright", "css", "date", "description", "html header",
    "keywords", "lang", "language", "latex config", "layout", "modified", "permalink", "slug", "status", "subtitle",
    "summary", "tags", "template", "title",
})  # fmt: skip


def count_front_matter_lines(text: str, *, with_heads: bool = True) -> int:
    """Returns the number of lines of the front matter with the blank lines before it; 0 where there is none.

    Args:
        text: the whole text.
        with_heads: whether a head of Pandoc or MultiMarkdown counts.
    """
    start = text[:4096].lstrip("\ufeff \t\r\n")
    if not start:
        return 0
    if start[0] in "-+{":
        return _count_fenced_lines(text, start[0])
    return _count_head_lines(text) if with_heads and start[0] not in "#<*>[" else 0


def find_front_matter_title(front_matter: str) -> str:
    """Returns the title in a front matter; empty where it has none."""
    text = normalize(front_matter).strip()
    if text.startswith("%"):
        return join_lines(re.split(r"\n%", text[1:])[0])
    return join_lines(_find_title(text))


def _count_fenced_lines(text: str, mark: str) -> int:
    lines = split_lines(normalize(text))
    first = next(number for number, line in enumerate(lines) if line.strip())
    last = _FENCES[mark](lines, first)
    return last + 1 if last is not None else 0


def _find_yaml_end(lines: Sequence[str], first: int) -> int | None:
    """Returns the line that closes YAML metadata; None where the lines are prose between two rules."""
    if lines[first].rstrip() != "---":
        return None
    last = _find_line(lines, first + 1, ("---", "..."))
    return last if last is not None and _is_yaml_mapping("".join(lines[first + 1 : last])) else None


def _find_toml_end(lines: Sequence[str], first: int) -> int | None:
    return _find_line(lines, first + 1, ("+++",)) if lines[first].rstrip() == "+++" else None


def _find_json_end(lines: Sequence[str], first: int) -> int | None:
    """Returns the last line of a JSON object that ends with its line."""
    text = "".join(lines[first:])
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return _find_line(lines, first + 1, ("}",)) if _JSON_START.match(text) else None
    is_alone = isinstance(value, dict) and not text[end:].partition("\n")[0].strip()
    return first + text.count("\n", 0, end) if is_alone else None


_FENCES: dict[str, Callable[[Sequence[str], int], int | None]] = {
    "-": _find_yaml_end,
    "+": _find_toml_end,
    "{": _find_json_end,
}


def _find_line(lines: Sequence[str], start: int, closings: tuple[str, ...]) -> int | None:
    return next((number for number in range(start, len(lines)) if lines[number].rstrip() in closings), None)


def _count_head_lines(text: str) -> int:
    """Returns the number of lines of a head of Pandoc or MultiMarkdown, which begins on the first line."""
    # A head ends at the first blank line.
    paragraph = re.split(r"\n[ \t]*\n", normalize(text[:_MAX_HEAD_CHARACTERS]), maxsplit=1)[0].rstrip() + "\n"
    if paragraph.startswith("%"):
        head = _PANDOC_HEAD.fullmatch(paragraph)
    else:
        head = _MULTIMARKDOWN_HEAD.fullmatch(paragraph)
        names = {line.partition(":")[0].strip().lower() for line in paragraph.split("\n") if line[:1].strip()}
        head = head if names & _MULTIMARKDOWN_KEYS else None
    return paragraph.count("\n") if head else 0


def _is_yaml_mapping(text: str) -> bool:
    """Whether lines between two rules are metadata: a mapping, nothing but comments, or YAML with a mistake."""
    try:
        node = _read_yaml(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        words = (line for line in text.split("\n") if line.strip() and not line.startswith("#"))
        return bool(_KEY.match(next(words, "")))
    return node is None or isinstance(node, yaml.MappingNode)


def _read_yaml(text: str) -> yaml.Node | None:
    """Returns the nodes of YAML, without objects made of them, so that aliases and tags have no effect."""
    if len(text) > _MAX_YAML_CHARACTERS or text.count("[") + text.count("{") > _MAX_YAML_BRACKETS:
        raise ValueError("too long to be read")
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    return node


def _find_title(text: str) -> str:
    """Returns the title of metadata; where they cannot be read, what its line has."""
    try:
        if text.startswith("---"):
            return _find_yaml_title(_read_yaml("".join(split_lines(text)[1:-1])))
        if text.startswith(("+++", "{")):
            values = json.loads(text) if text.startswith("{") else tomllib.loads(text.strip("+"))
            return next((str(values[key]) for key in values if key.lower() == "title"), "")
    except (yaml.YAMLError, ValueError, RecursionError):
        pass
    entry = (_JSON_TITLE if text.startswith("{") else _TITLE_ENTRY).search(_unfold(text))
    return entry[1].strip("\"', ") if entry else ""


def _unfold(text: str) -> str:
    """Returns a head of MultiMarkdown with each entry on one line."""
    return text if text.startswith(("-", "+", "{")) else re.sub(r"\n[ \t]+", " ", text)


def _find_yaml_title(node: yaml.Node | None) -> str:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        is_title = isinstance(key, yaml.ScalarNode) and key.value.lower() == "title"
        if is_title and isinstance(value, yaml.ScalarNode) and not value.tag.endswith(":null"):
            return str(value.value)
    return ""
