"""The HTML of an illustration: a figure with image, caption and credit."""

import re
from html import escape

from xcomp_composer.article.model import Illustration

_LANDSCAPE = 1.25  # width over height from which an image may reach into the margins
_PORTRAIT = 0.85


def render_figure(illustration: Illustration, *, style: str = "") -> str:
    """Returns a figure with the image and under it its caption and credit; `style` is the inline style of the image."""
    width, height = illustration.width, illustration.height
    size = f' width="{width}" height="{height}"' if width and height else ""
    inline_style = f' style="{style}"' if style else ""
    image = f'<img src="{encode_url(illustration.file)}" alt="{_escape(illustration.alt)}"{size}{inline_style} />'
    texts = [
        f'<span class="{name}"><bdi>{_escape(text)}</bdi></span>'
        for name, text in (("caption", illustration.caption), ("credit", illustration.credit))
        if text
    ]
    caption = f"<figcaption>{''.join(texts)}</figcaption>" if texts else ""
    return f'<figure class="{_shape_class(illustration)}">{image}{caption}</figure>\n'


def encode_url(path: str) -> str:
    """Returns a relative path as the value of a URL attribute."""
    encoded = re.sub(r"[^\w./~:-]", lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), path)
    return escape(encoded)


def _escape(text: str) -> str:
    """Returns a text for HTML, in which a site generator finds no expression of a template either."""
    return escape(text).replace("{", "&#123;").replace("}", "&#125;")


def _shape_class(illustration: Illustration) -> str:
    ratio = illustration.width / illustration.height if illustration.height else 1.0
    return "wide" if ratio >= _LANDSCAPE else "tall" if ratio <= _PORTRAIT else "even"
