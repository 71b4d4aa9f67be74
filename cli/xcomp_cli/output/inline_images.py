"""Shows images in terminals that support kitty's graphics protocol or iTerm2's inline images.

Protocols: https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html. The
environment names the terminal; inside a multiplexer nothing is drawn, because it would drop the codes.
"""

import os
import sys
from base64 import standard_b64encode
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from io import BytesIO

ROWS = 8  # height of an image in lines
CHUNK = 4096  # base64 characters of one kitty message

Draw = Callable[[bytes], None]


def choose_draw(environment: Mapping[str, str] = os.environ) -> Draw | None:
    """Returns a function that draws an encoded image on this terminal; None if it cannot show images."""
    sequence = _choose_encoder(environment)
    if sequence is None or not sys.stdout.isatty():
        return None

    def draw(encoded: bytes) -> None:
        sys.stdout.write(sequence(encoded) + "\n")
        sys.stdout.flush()

    return draw


def _choose_encoder(environment: Mapping[str, str]) -> Callable[[bytes], str] | None:
    if environment.get("TMUX") or environment.get("STY"):
        return None
    program = environment.get("TERM_PROGRAM", "")
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return encode_iterm
    if environment.get("TERM") in ("xterm-kitty", "xterm-ghostty") or environment.get("KITTY_WINDOW_ID"):
        return encode_kitty if find_spec("PIL") else None
    return None


def encode_iterm(encoded: bytes) -> str:
    """Returns the codes of an inline image; the terminal decodes JPEG, PNG and WebP itself."""
    data = standard_b64encode(encoded).decode("ascii")
    return f"\x1b]1337;File=inline=1;height={ROWS};size={len(encoded)}:{data}\x07"


def encode_kitty(encoded: bytes) -> str:
    """Returns the codes of an image as PNG, the one format that all such terminals decode."""
    data = standard_b64encode(_png(encoded)).decode("ascii")
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    more = [1] * (len(chunks) - 1) + [0]
    head = [f"a=T,f=100,r={ROWS},q=2,"] + [""] * (len(chunks) - 1)
    return "".join(f"\x1b_G{h}m={m};{chunk}\x1b\\" for h, m, chunk in zip(head, more, chunks, strict=True))


def _png(encoded: bytes) -> bytes:

    from PIL import Image

    out = BytesIO()
    with Image.open(BytesIO(encoded)) as image:
        image.save(out, "PNG")
    return out.getvalue()
