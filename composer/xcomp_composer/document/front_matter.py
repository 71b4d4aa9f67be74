"""The front matter of a text: metadata in YAML, TOML or JSON before the first block, as site generators read it."""

import re

from xcomp_composer.document.blocks import normalize, split_lines

_FRONT_MATTER = re.compile(
    r"""\ufeff?(?: ---[ \t]*\n (?=[\w"'][\w\ ."'-]*:) (?:.*\n)*? (?:---|\.\.\.)  # YAML
        | \+\+\+[ \t]*\n (?:.*\n)*? \+\+\+                                    # TOML
        | \{[ \t]*\n (?=\s*"[^"\n]*"[ \t]*:) (?:.*\n)*? \} )                   # JSON
        [ \t]* (?:\n|$)""",
    re.VERBOSE,
)
_TITLE_ENTRY = re.compile(r'^(?:title|[ \t]+"title")[ \t]*[:=][ \t]*(.+?)[ \t]*$', re.MULTILINE | re.IGNORECASE)


def count_front_matter_lines(text: str) -> int:
    """Returns the number of lines of the front matter; 0 where there is none."""
    match = _FRONT_MATTER.match(re.sub(r"\r\n?", "\n", text))
    return len(split_lines(match.group())) if match else 0


def find_front_matter_title(front_matter: str) -> str:
    """Returns the title in a front matter; empty where it has none."""
    entry = _TITLE_ENTRY.search(normalize(front_matter))
    return entry[1].strip("\"', ") if entry else ""
