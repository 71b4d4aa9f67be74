"""Background texts: queries that ask a repository for nothing it is likely to hold, the scale of a hit's confidence.

The best image for such a text is a chance find, so the standouts of these best hits show what chance alone reaches in a
repository. There are three kinds, because requests miss in three ways: statements with nothing to see, everyday
narration whose objects are beside the point, and clear scenes that few repositories hold. Each text exists in both
languages, since chance finds stand out differently in the two. A repository that does hold some of the scenes loses
little: a confidence is a share of many texts.
"""

import tomllib
from collections.abc import Collection
from functools import cache
from importlib import resources


def texts(languages: Collection[str]) -> list[str]:
    """Return the background texts in these languages, `en` before `zh`."""
    return [text for language, group in _read().items() if language in languages for text in group]


@cache
def _read() -> dict[str, tuple[str, ...]]:
    content = resources.files(__package__).joinpath("background.toml").read_text(encoding="utf-8")
    return {
        language: tuple(text for group in groups.values() for text in group)
        for language, groups in tomllib.loads(content).items()
    }
