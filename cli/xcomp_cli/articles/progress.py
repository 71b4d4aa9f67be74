"""Reads the events of an illustration, shows progress, and returns the article."""

from collections.abc import Iterable
from pathlib import PurePath

from xcomp_cli.output import console, progress
from xcomp_composer.article.events import Event, Spot, SpotIllustration, SpotQuery, TextDelta
from xcomp_composer.article.model import Article, Unfilled
from xcomp_composer.article.proto import event_from_proto
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import Unavailable


def watch(events: Iterable[pb.ComposeEvent]) -> Article:
    """Returns the article that the stream ends with.

    Raises:
        Unavailable: the stream ends without one.
    """
    article: Article | None = None
    state = _ProgressState()
    with progress.show_bar("") as advance:
        advance(0, 0, what="reading the text, looking through the images")
        for message in events:
            event = event_from_proto(message)
            if isinstance(event, Article):
                article = event
            elif event is not None:
                advance(0, 0, what=console.printable(state.describe(event)))
    if article is None:
        raise Unavailable("the composer ended before the article was done: run the command again")
    return article


class _ProgressState:
    """Counts the events so far, to describe the progress in one line."""

    def __init__(self) -> None:
        self._characters = 0
        self._spots = 0
        self._filled = 0

    def describe(self, event: Event) -> str:
        """Returns one line about an event."""
        match event:
            case TextDelta(text):
                self._characters += len(text)
                return f"writing: {self._characters} characters"
            case Spot():
                self._spots += 1
                return f"{console.format_count(self._spots, 'spot')} found"
            case SpotQuery(_, query):
                return f"spot {self._filled + 1} of {self._spots}: looking for “{query[:60]}”"
            case SpotIllustration(_, illustration):
                self._filled += 1
                return f"spot {self._filled} of {self._spots}: {PurePath(illustration.path).name}"
            case Unfilled():
                self._filled += 1
                return f"spot {self._filled} of {self._spots}: nothing fits"
            case _:
                return f"spot {self._filled + 1} of {self._spots}"
