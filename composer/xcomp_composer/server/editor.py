"""One change of an article, as a request asks for it: what it needs from the workshop is fetched, then it is made.

Nothing is kept: the article that comes back carries the change and how to take it back.
"""

from dataclasses import replace

from xcomp_composer.article import edit_images, edit_text, history
from xcomp_composer.article.model import Article
from xcomp_composer.model_pool.pool import (
    NAME as RETRIEVAL,
)
from xcomp_composer.server import requests as asked
from xcomp_composer.server.composer import Caller, Composer, WritingRequest
from xcomp_model.base import Change
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

_CHANGES: dict[int, Change] = {
    pb.EditSegment.KIND_REWRITE: "rewrite",
    pb.EditSegment.KIND_EXPAND: "expand",
    pb.EditSegment.KIND_SHORTEN: "shorten",
    pb.EditSegment.KIND_INSERT_BEFORE: "insert_before",
    pb.EditSegment.KIND_INSERT_AFTER: "insert_after",
}
_PUT = {"insert_before": edit_text.insert_before, "insert_after": edit_text.insert_after}


class Editor:
    """Changes one article for one request."""

    def __init__(self, workshop: Composer, options: pb.Options, caller: Caller) -> None:
        self._workshop = workshop
        self._options = options
        self._caller = caller

    def changed(self, article: Article, operation: pb.EditOperation) -> Article:
        """Returns the article after the operation.

        Raises:
            InvalidRequest: the operation is empty, or makes no sense for this article.
        """
        if not article.segments:
            raise InvalidRequest("article: has no segments")
        if article.format not in asked.FORMATS:
            raise InvalidRequest(f"article.format: {article.format!r} is unknown: use {', '.join(asked.FORMATS)}")
        match operation.WhichOneof("operation"):
            case "search":
                return self._searched(article, operation.search)
            case "show":
                image = self._workshop.image(operation.show.image_id, self._order(article))
                return edit_images.show(article, operation.show.spot, image)
            case "segment":
                return self._reworded(article, operation.segment)
            case "fill":
                order = self._order(article, model=article.chooser)
                return edit_images.fill(article, *self._workshop.fill(article, order))
            case _:
                return _at_once(article, operation)

    def _searched(self, article: Article, search: pb.SearchSpot) -> Article:
        query = asked.words(search.query, "query")
        shown = tuple(picture.image_id for number, picture in article.illustrations if number != search.spot)
        order = self._order(article, text=query, exclude=shown)
        found = self._workshop.find(query, article.language, order)
        return edit_images.show_search_result(article, search.spot, query, found, chosen_by=RETRIEVAL)

    def _reworded(self, article: Article, change: pb.EditSegment) -> Article:
        if change.kind not in _CHANGES:
            raise InvalidRequest("operation.segment.kind: is unspecified or unknown: say what to do with the segment")
        kind, words = _CHANGES[change.kind], change.text
        if not words.strip():
            order = self._order(article)
            words = self._workshop.reword(article, change.segment, kind, change.hint, order)
        return _PUT.get(kind, edit_text.rewrite)(article, change.segment, asked.words(words, "text"))

    def _order(
        self, article: Article, *, text: str = "", exclude: tuple[str, ...] = (), model: str = ""
    ) -> WritingRequest:
        options = pb.Options()
        options.CopyFrom(self._options)
        options.model = options.model or model
        options.repository = options.repository or article.repository
        language = "" if text else article.language  # a query may be in another one
        conditions = asked.conditions_of(options, text=text, language=language)
        excluded = (*conditions.exclude_ids, *article.exclude_ids, *exclude)
        return WritingRequest(options, replace(conditions, exclude_ids=excluded), asked.wish_of(options), self._caller)


def _at_once(article: Article, operation: pb.EditOperation) -> Article:
    """Changes that need nobody."""
    match operation.WhichOneof("operation"):
        case "pick":
            return edit_images.pick(article, operation.pick.spot, operation.pick.candidate)
        case "remove":
            return edit_images.remove(article, operation.remove)
        case "lock":
            return edit_images.toggle_lock(article, operation.lock)
        case "recaption":
            words = operation.recaption
            return edit_images.recaption(
                article,
                words.spot,
                caption=words.caption if words.HasField("caption") else None,
                alt=words.alt if words.HasField("alt") else None,
            )
        case "exclude":
            return edit_images.exclude(article, operation.exclude)
        case "undo":
            return history.undo(article)
        case _:
            raise InvalidRequest("operation: is empty: say what to change")
