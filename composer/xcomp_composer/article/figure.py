"""The HTML of an illustration: a figure with image, caption and credit."""

import re
from html import escape

from xcomp_composer.article.model import Illustration

_LANDSCAPE = 1.25  # width over height from which a picture may reach into the margins
_PORTRAIT = 0.85


def render_figure(picture: Illustration, *, style: str = "") -> str:
    """Returns the figure of a picture: the image, in a style of its own if any, and under it what is known about it."""
    size = f' width="{picture.width}" height="{picture.height}"' if picture.width and picture.height else ""
    styled = f' style="{style}"' if style else ""
    image = f'<img src="{encode_url(picture.file)}" alt="{escape(picture.alt)}"{size}{styled}>'
    words = [
        f'<span class="{name}"><bdi>{escape(text)}</bdi></span>'
        for name, text in (("caption", picture.caption), ("credit", picture.credit))
        if text
    ]
    caption = f"<figcaption>{''.join(words)}</figcaption>" if words else ""
    return f'<figure class="{_shape_class(picture)}">{image}{caption}</figure>\n'


def encode_url(path: str) -> str:
    """Returns a relative path as a URL attribute."""
    encoded = re.sub(r"[^\w./~:-]", lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), path)
    return escape(encoded)


def _shape_class(picture: Illustration) -> str:
    ratio = picture.width / picture.height if picture.height else 1.0
    return "wide" if ratio >= _LANDSCAPE else "tall" if ratio <= _PORTRAIT else "even"
