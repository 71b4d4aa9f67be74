"""Applies one operation to an article, and asks the composer for what the operation needs.

The editor keeps nothing: the article that it returns carries the change and the way to undo it. It does not depend on
protobuf.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from xcomp_composer.article import edit_images, edit_text
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate.pipeline import detect_prose_language
from xcomp_composer.model_pool.pool import RETRIEVAL
from xcomp_composer.server.composer import ArticleRequest, Composer
from xcomp_model.base import Change


@dataclass(frozen=True)
class SearchOperation:
    """Shows the best image for a query of the user."""

    spot: int
    query: str


@dataclass(frozen=True)
class ShowOperation:
    """Shows an image that the user names."""

    spot: int
    image_id: str


@dataclass(frozen=True)
class RewordOperation:
    """Changes a segment, or inserts one beside it; a model writes the text if it is empty."""

    segment: int
    change: Change
    text: str = ""
    hint: str = ""


@dataclass(frozen=True)
class FillOperation:
    """Searches again for images for the empty spots."""


ArticleChange: TypeAlias = Callable[[Article], Article]  # an operation that needs neither indexer nor model
Operation: TypeAlias = SearchOperation | ShowOperation | RewordOperation | FillOperation | ArticleChange

_INSERT = {"insert_before": edit_text.insert_before, "insert_after": edit_text.insert_after}


class Editor:
    """Changes articles for one request."""

    def __init__(self, composer: Composer, request: ArticleRequest) -> None:
        self._composer = composer
        self._request = request

    def apply(self, operation: Operation, article: Article) -> Article:
        """Returns the article after the operation.

        Raises:
            InvalidRequest: the operation does not fit this article.
        """
        match operation:
            case SearchOperation():
                return self._search(operation, article)
            case ShowOperation(spot, image_id):
                image = self._composer.get_image(image_id, self._request_for(article))
                return edit_images.show(article, spot, image)
            case RewordOperation():
                return self._reword(operation, article)
            case FillOperation():
                request = self._request_for(article, model=article.chooser)
                return edit_images.fill(article, *self._composer.fill(article, request))
            case change:
                return change(article)

    def _search(self, operation: SearchOperation, article: Article) -> Article:
        spot, query = operation.spot, operation.query
        shown = tuple(image.image_id for number, image in article.illustrations if number != spot)
        # The query may be in another language than the article.
        request = self._request_for(article, language=detect_prose_language(query), exclude=shown)
        candidates = self._composer.find(query, article.language, request)
        return edit_images.show_search_result(article, spot, query, candidates, chosen_by=RETRIEVAL)

    def _reword(self, operation: RewordOperation, article: Article) -> Article:
        segment, change, text = operation.segment, operation.change, operation.text
        if not text:
            request = self._request_for(article)
            text = self._composer.reword(article, segment, change, hint=operation.hint, request=request)
        return _INSERT.get(change, edit_text.rewrite)(article, segment, text)

    def _request_for(
        self, article: Article, *, language: str = "", exclude: tuple[str, ...] = (), model: str = ""
    ) -> ArticleRequest:
        """Returns the request with what the article says where the request says nothing."""
        conditions, models = self._request.conditions, self._request.models
        return replace(
            self._request,
            conditions=replace(
                conditions,
                repository=conditions.repository or article.repository,
                language=conditions.language or language or article.language,
                exclude_ids=(*conditions.exclude_ids, *article.exclude_ids, *exclude),
            ),
            models=replace(models, model=models.model or model),
        )
