"""Which images in a site's folder are ours, and for which articles: so that those no longer shown can go.

The one idea: a list beside the images, `.xcomp.json`, says which articles link to which of them. An image goes when
the last of them lets it go; a file that the list does not know is never touched.
"""

import json
from collections.abc import Iterable
from os.path import relpath
from pathlib import Path

USAGE_FILE = ".xcomp.json"

ImageUsage = dict[str, set[str]]  # names of images: articles that show them, relative to the list


def read_usage(assets: Path) -> ImageUsage:
    """Returns what the list says; nothing where there is none or it makes no sense."""
    try:
        found = json.loads((assets / USAGE_FILE).read_text(encoding="utf-8"))
        return {str(name): set(map(str, users)) for name, users in found["pictures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def update_usage(
    users: ImageUsage, article: Path, names: Iterable[str], *, assets: Path
) -> tuple[ImageUsage, set[str]]:
    """Returns the list after an article shows these images, and those that no article shows any more.

    An article that is gone, or whose words do not name an image any more, shows it no more either.
    """
    names, own = set(names), relpath(article, assets)
    after: ImageUsage = {name: {own} for name in names}
    for name, others in users.items():
        kept = {other for other in others - {own} if _mentions(assets / other, name)}
        if kept:
            after[name] = after.get(name, set()) | kept
    return after, set(users) - set(after)


def format_usage(users: ImageUsage) -> str:
    """Returns the text of the list."""
    images = {name: sorted(users[name]) for name in sorted(users)}
    return json.dumps({"made by": "xcomp", "pictures": images}, ensure_ascii=False, indent=1) + "\n"


def is_image_name(name: str) -> bool:
    """Whether a name in the list can be one that we gave: a file in the folder itself."""
    return Path(name).name == name and not name.startswith(".")


def _mentions(article: Path, name: str) -> bool:
    try:
        return name in article.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
