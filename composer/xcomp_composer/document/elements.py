"""Elements of HTML that hold no prose of the page itself: what is hidden, and what is a note beside the text."""

import re

_ASIDE_ATTRIBUTE = re.compile(
    r"""\s(?:hidden|inert)(?=[\s=/>]|\Z) | aria-hidden\s*=\s*["']?true
      | display\s*:\s*none | visibility\s*:\s*hidden
      | (?<![\w:-])(?: note | notes | warning | tip | hint | info | caution | danger | important | attention
          | admonition | alert | callout | aside | sidebar | footnotes? | pullquote | hidden | d-none | sr-only
          | visually-hidden | collapse | modal | tooltip | notecard | messagebox )(?![\w-])
      | (?<![\w:-])(?:admonition|alert|callout|custom-block|markdown-alert)-""",
    re.IGNORECASE | re.VERBOSE,
)


def is_aside(tag: str) -> bool:
    """Whether a start tag, with its attributes, opens something hidden or a note."""
    return bool(_ASIDE_ATTRIBUTE.search(tag))
