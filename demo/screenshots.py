"""Photographs pages for the documentation: `python demo/screenshots.py [PAGE.html…]`; by default those of the demo.

Needs Debian's `chromium` and `fonts-noto-cjk`. The browser is given a window taller than any page and the empty rest
below the page is cut off; each image becomes docs/images/NAME.jpg, small enough for a repository. Whole pages are too
tall for a README, which shows their beginnings in one row, pages.jpg.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGES = [ROOT / "demo/out" / name / "article.html" for name in ("two-days-without-a-plan", "after-the-rain")]
WINDOW = (1100, 14000)  # px; the software renderer ends at 16384
MARGIN_PX = 24  # kept below the page
BEGINNING_PX = 1396  # the demonstration's pages down to the caption of their first image
MAX_BYTES = 400_000
ATTEMPTS = ((1000, 82), (1000, 72), (1000, 60), (800, 70), (800, 55), (640, 55))  # width in px, JPEG quality
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
TIMEOUT_S = 120


def photograph(page: Path) -> Image.Image:
    """Renders a page in full.

    Raises:
        OSError, subprocess.SubprocessError: the browser is missing, fails, or writes no image.
    """
    browser = shutil.which("chromium")
    if browser is None:
        raise FileNotFoundError("chromium is not installed: apt-get install chromium fonts-noto-cjk")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "page.png")
        size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
        places = (f"--user-data-dir={folder}/profile", f"--screenshot={shot}", page.resolve().as_uri())
        subprocess.run([browser, *FLAGS, size, *places], check=True, capture_output=True, timeout=TIMEOUT_S)
        with Image.open(shot) as image:
            return trim(image.convert("RGB"))


def trim(image: Image.Image) -> Image.Image:
    """Cuts off the uniform rest below the content."""
    ground = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    drawn = ImageChops.difference(image, ground).getbbox()
    bottom = min(image.height, drawn[3] + MARGIN_PX) if drawn else image.height
    return image.crop((0, 0, image.width, bottom))


def join_beginnings(pages: Sequence[Image.Image]) -> Image.Image:
    """Joins the upper ends of pages in one row."""
    row = Image.new("RGB", (sum(page.width for page in pages), BEGINNING_PX))
    for number, page in enumerate(pages):
        row.paste(page.crop((0, 0, page.width, BEGINNING_PX)), (sum(each.width for each in pages[:number]), 0))
    return row


def compress(image: Image.Image) -> bytes:
    """Encodes as JPEG, with less width and quality until it is small enough; the last attempt is used in any case."""
    for width, quality in ATTEMPTS:
        height = round(image.height * width / image.width)
        encoded = io.BytesIO()
        image.resize((width, height), Image.Resampling.LANCZOS).save(
            encoded, "JPEG", quality=quality, optimize=True, progressive=True
        )
        if encoded.tell() <= MAX_BYTES:
            break
    return encoded.getvalue()


def page_name(page: Path) -> str:
    """Returns the name of the bundle for an article page, else the name of the file."""
    return page.resolve().parent.name if page.stem == "article" else page.stem


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Photograph pages for the documentation.")
    parser.add_argument("pages", metavar="PAGE", nargs="*", type=Path, default=PAGES)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the images (default: docs/images)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if missing := [page for page in options.pages if not page.is_file()]:
        print(f"error: there is no {missing[0]}; `make demo` makes the pages of the demonstration", file=sys.stderr)
        return 1
    try:
        shots = {page_name(page): photograph(page) for page in options.pages}
    except (OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, shot in {**shots, "pages": join_beginnings(list(shots.values()))}.items():
        target = options.out / f"{name}.jpg"
        target.write_bytes(compress(shot))
        print(f"{target}  {target.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
