"""Pairs of tags of template languages and site generators: what is between them is repeated, hidden or code.

Hugo, Liquid, Jinja, Twig, Nunjucks, Go, Handlebars, Mustache, ERB, EJS; blocks of kramdown and environments of LaTeX.
Only a pair of an opening and a closing encloses a stretch; an opening without a closing does not.
"""

import re
from collections import defaultdict
from collections.abc import Iterator

_TAG = re.compile(
    r"""\{\{(?P<hugo>[<%])-?\s*(?P<hugo_end>/?)\s*(?P<hugo_name>[\w./-]+)(?P<hugo_rest>[^{}\n]*)
      | \{%[-~+]?\s*(?P<liquid>\w+)
      | \{\{[~-]?\s*(?P<bars>[#^/])[>*]?\s*(?P<bars_name>[\w.-]+)
      | \{\{-?\s*(?P<go>if|range|with|define|block|end)\b
      | \{::(?P<kramdown>\w+)(?P<kramdown_rest>[^{}\n]*)\} | \{:/(?P<kramdown_end>\w*)\}
      | \\(?P<latex>begin|end)\{(?P<latex_name>\w+\*?)\}
      | <%(?P<erb>(?:[^%\n]|%(?!>)|\n(?!\n)){0,400}?)%>
      | (?P<open>\{\#[\s-]|\{\{!--) | (?P<close>\#\}|--~?\}\})
      | (?<!%)(?P<percent>%%)(?!%)""",
    re.VERBOSE,
)
_ERB_OPENS = re.compile(r"(?:\bdo(?:\s*\|[^|]*\|)?|\{)\s*-?\Z|\A[-=]?\s*(?:if|unless|for|while|case|begin)\b")
_ERB_CLOSES = re.compile(r"\A[-_]?\s*(?:end\b|\}(?!.*\{\s*-?\Z))", re.DOTALL)
_PAIRS = {"#}": "{#", "--}}": "{{!--", "--~}}": "{{!--"}


def find_template_ranges(text: str) -> Iterator[tuple[int, int]]:
    """Yields the ranges from an opening tag to the tag that closes it, as offsets."""
    open_: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for match in _TAG.finditer(text):
        family, name, is_closing = _READERS[match.lastgroup or ""](match)
        if family == "obsidian":  # the same mark opens and closes
            is_closing = is_closing or bool(open_[family, name])
        starts = open_[family, name]
        if is_closing and starts:
            yield starts.pop(), match.end()
        elif not is_closing and name:
            starts.append(match.start())


def _read_hugo(match: re.Match[str]) -> tuple[str, str, bool]:
    is_single = match["hugo_rest"].rstrip(">%").endswith("/")
    return f"hugo{match['hugo']}", "" if is_single else match["hugo_name"], bool(match["hugo_end"])


def _read_liquid(match: re.Match[str]) -> tuple[str, str, bool]:
    name = match["liquid"]
    return "liquid", name.removeprefix("end"), name.startswith("end") and name != "end"


def _read_bars(match: re.Match[str]) -> tuple[str, str, bool]:
    return "bars", match["bars_name"], match["bars"] == "/"


def _read_go(match: re.Match[str]) -> tuple[str, str, bool]:
    return "go", "block", match["go"] == "end"


def _read_kramdown(match: re.Match[str]) -> tuple[str, str, bool]:
    is_single = match["kramdown_rest"].rstrip().endswith("/")
    return "kramdown", "" if is_single else "block", False


def _read_kramdown_end(match: re.Match[str]) -> tuple[str, str, bool]:  # noqa: ARG001  # as the other readers
    return "kramdown", "block", True


def _read_latex(match: re.Match[str]) -> tuple[str, str, bool]:
    return "latex", match["latex_name"], match["latex"] == "end"


def _read_erb(match: re.Match[str]) -> tuple[str, str, bool]:
    code = match["erb"].strip()
    closes = bool(_ERB_CLOSES.search(code))
    opens = _ERB_OPENS.search(code) and not code.startswith("}")
    return "erb", "block" if closes or opens else "", closes


def _read_open(match: re.Match[str]) -> tuple[str, str, bool]:
    return "comment", match["open"].rstrip("- \t\r\n") if match["open"].startswith("{#") else "{{!--", False


def _read_close(match: re.Match[str]) -> tuple[str, str, bool]:
    return "comment", _PAIRS[match["close"]], True


def _read_percent(match: re.Match[str]) -> tuple[str, str, bool]:
    """After a word or a number, as in 100%%, the mark opens nothing; it may close."""
    is_after_word = match.string[max(0, match.start() - 1) : match.start()].isalnum()
    return "obsidian", "%%", is_after_word


_READERS = {
    "hugo_rest": _read_hugo,
    "liquid": _read_liquid,
    "bars_name": _read_bars,
    "go": _read_go,
    "kramdown_rest": _read_kramdown,
    "kramdown_end": _read_kramdown_end,
    "latex_name": _read_latex,
    "erb": _read_erb,
    "open": _read_open,
    "close": _read_close,
    "percent": _read_percent,
}
