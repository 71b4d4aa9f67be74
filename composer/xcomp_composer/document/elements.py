"""Elements of HTML: containers, headings, images, those without an end, and those that are hidden or a note."""

import re

CONTAINERS = frozenset({"html", "body", "main", "article", "section", "div"})
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
IMAGES = frozenset({"figure", "picture", "img"})
VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"
})  # fmt: skip  # https://html.spec.whatwg.org, 13.1.2
RAW = frozenset(
    {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "noscript", "plaintext"}
)
# Tags that end a paragraph without an end tag (13.1.2.4), except tables: old pages have them inside paragraphs.
ENDS_P = HEADINGS | {
    "address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset", "figcaption", "figure", "footer",
    "form", "header", "hgroup", "hr", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "ul",
}  # fmt: skip
NEVER_ENDS_P = frozenset({"a", "audio", "del", "ins", "map", "noscript", "video"})
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
