"""Which images in the folder of a static site are ours, and which articles show them, so that unused ones are removed.

A file beside the images, `.xcomp.json`, lists the articles that link to each image. An image is removed when no article
links to it any more; a file that is not in the list is never touched.
"""

import json
from collections.abc import Iterable
from os.path import relpath
from pathlib import Path

USAGE_FILE = ".xcomp.json"

ImageUsage = dict[str, set[str]]  # name of an image to the articles that show it, as paths relative to the file


def read_usage(assets: Path) -> ImageUsage:
    """Returns the usage that the folder records; empty where there is no valid file."""
    try:
        value = json.loads((assets / USAGE_FILE).read_text(encoding="utf-8"))
        return {str(name): set(map(str, users)) for name, users in value["pictures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def update_usage(
    users: ImageUsage, article: Path, names: Iterable[str], *, assets: Path
) -> tuple[ImageUsage, set[str]]:
    """Returns the usage once an article shows these images, and the images that no article shows any more.

    Other articles count only if they still exist and their text still names the image.
    """
    names, own = set(names), relpath(article, assets)
    after: ImageUsage = {name: {own} for name in names}
    for name, others in users.items():
        kept = {other for other in others - {own} if _mentions(assets / other, name)}
        if kept:
            after[name] = after.get(name, set()) | kept
    return after, set(users) - set(after)


def format_usage(users: ImageUsage) -> str:
    """Returns the text of the usage file."""
    images = {name: sorted(users[name]) for name in sorted(users)}
    return json.dumps({"made by": "xcomp", "pictures": images}, ensure_ascii=False, indent=1) + "\n"


def is_image_name(name: str) -> bool:
    """Whether a name can be one that we gave: a file in the folder itself."""
    return Path(name).name == name and not name.startswith(".")


def _mentions(article: Path, name: str) -> bool:
    try:
        return name in article.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
