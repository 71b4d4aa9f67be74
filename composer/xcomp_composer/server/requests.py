"""Reads the messages of requests once, checks them, and returns our own types; an error names the field."""

from collections.abc import Sequence
from functools import partial

from xcomp_composer.article import edit_images, history, proto
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate.base import CANDIDATES, CandidateImage, IllustrationOptions, Procedure, SelectionRequest
from xcomp_composer.illustrate.pipeline import Source, detect_prose_language
from xcomp_composer.illustrate.vlm.images import decode
from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.indexer_client.repository import Conditions
from xcomp_composer.server.composer import ArticleRequest, ModelOptions
from xcomp_composer.server.editor import (
    ArticleChange,
    FillOperation,
    Operation,
    RewordOperation,
    SearchOperation,
    ShowOperation,
)
from xcomp_model.base import Brief, Change, ImagePart, Turn
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import ImageError, InvalidRequest

MAX_BYTES = 3 * 1024 * 1024  # of a text, and of the images of a request together
MAX_CANDIDATES = 64
MAX_POOL = 100
FORMATS = ("markdown", "html", "text")
_LANGUAGES = {common.LANGUAGE_EN: "en", common.LANGUAGE_ZH: "zh"}
_PROCEDURES: dict[int, Procedure] = {
    pb.PROCEDURE_UNSPECIFIED: "native",
    pb.PROCEDURE_REFERENCE: "reference",
    pb.PROCEDURE_SIMILARITY: "similarity",
}
_CHANGES: dict[int, Change] = {
    pb.EditSegment.KIND_REWRITE: "rewrite",
    pb.EditSegment.KIND_EXPAND: "expand",
    pb.EditSegment.KIND_SHORTEN: "shorten",
    pb.EditSegment.KIND_INSERT_BEFORE: "insert_before",
    pb.EditSegment.KIND_INSERT_AFTER: "insert_after",
}


def read_source(request: pb.IllustrateRequest) -> Source:
    """Returns the text to illustrate."""
    if request.format and request.format not in FORMATS:
        raise InvalidRequest(f"format: {request.format!r} is unknown: use {', '.join(FORMATS)}")
    return Source(_require_text(request.text, "text"), request.format or "markdown", seed=request.options.seed)


def read_topic(request: pb.ComposeRequest) -> str:
    """Returns the text that says what the article is about: title and instruction."""
    lines = filter(None, (request.title.strip(), request.instruction.strip()))
    return _require_text("\n".join(lines), "instruction")


def read_brief(request: pb.ComposeRequest, *, language: str) -> Brief:
    """Returns what the article is written from."""
    for field in ("title", "instruction", "outline", "requirements", "material"):
        _check_length(getattr(request, field), field)
    return Brief(
        request.instruction.strip(),
        title=request.title.strip(),
        outline=request.outline,
        keywords=tuple(request.keywords),
        requirements=request.requirements,
        material=request.material,
        references=_decode_images(request.reference_images, "reference_images"),
        language=language,
    )


def read_options(
    options: pb.Options, context: CallContext, *, text: str = "", format_: str = "markdown"
) -> ArticleRequest:
    """Returns the options of a request; the language is that of the text if the request names none."""
    if options.language not in common.Language.values():
        raise InvalidRequest(f"options.language: {options.language} is not a value of the enum")
    conditions = Conditions(
        repository=options.repository,
        profile=options.profile,
        language=_LANGUAGES.get(options.language) or (detect_prose_language(text, format_) if text else ""),
        where=tuple(options.where),
        allow_restricted=options.allow_restricted,
        exclude_ids=tuple(options.exclude_ids),
    )
    return ArticleRequest(conditions, _read_counts(options), read_models(options), context)


def read_models(options: pb.Options) -> ModelOptions:
    """Returns the models that a request names."""
    return ModelOptions(options.model, options.writer_model, options.profile, options.seed)


def _read_counts(options: pb.Options) -> IllustrationOptions:
    if options.k > MAX_CANDIDATES:
        raise InvalidRequest(f"options.k: must be 1 to {MAX_CANDIDATES}, not {options.k}")
    if options.pool and not (options.k or CANDIDATES) <= options.pool <= MAX_POOL:
        raise InvalidRequest(f"options.pool: must be {options.k or CANDIDATES} to {MAX_POOL}, not {options.pool}")
    both = sorted({*options.must_use_ids} & {*options.exclude_ids})
    if both:
        raise InvalidRequest(f"options.must_use_ids: {both[0]!r} is in exclude_ids as well: name it in one of them")
    return IllustrationOptions(
        images=options.images if options.HasField("images") else None,
        max_images=options.max_images if options.HasField("max_images") else None,
        k=options.k or CANDIDATES,
        pool=options.pool,
        must_use=tuple(options.must_use_ids),
    )


def read_selection(request: pb.SelectRequest) -> SelectionRequest:
    """Returns the candidates, their context, and how to choose."""
    if not 1 <= len(request.candidates) <= MAX_CANDIDATES:
        raise InvalidRequest(f"candidates: send 1 to {MAX_CANDIDATES} of them, not {len(request.candidates)}")
    if request.order and sorted(request.order) != list(range(len(request.candidates))):
        raise InvalidRequest(f"order: name each of the {len(request.candidates)} candidates once, from 0")
    if request.procedure not in _PROCEDURES:
        raise InvalidRequest(f"procedure: {request.procedure} is unknown")
    shown = tuple(
        (each.after if each.HasField("after") else None, _read_candidate(each.picture, "shown: an image"))
        for each in request.shown
    )
    candidates = tuple(_read_candidate(each, f"candidates: number {n}") for n, each in enumerate(request.candidates))
    _check_size([each.image for each in (*candidates, *(image for _, image in shown))], "candidates")
    return SelectionRequest(
        context=_require_text(request.context, "context"),
        candidates=candidates,
        shown=shown,
        query=request.query,
        procedure=_PROCEDURES[request.procedure],
        order=tuple(request.order),
        has_pixels=not request.without_pixels,
    )


def _read_candidate(candidate: pb.SelectCandidate, what: str) -> CandidateImage:
    if not (candidate.image_id or candidate.image):
        raise InvalidRequest(f"{what} is empty: give it an image_id or an image")
    return CandidateImage(candidate.image_id, candidate.image)


def read_turns(request: pb.ChatRequest) -> list[Turn]:
    """Returns the turns of a conversation."""
    if not request.turns or request.turns[-1].assistant:
        raise InvalidRequest("turns: the last one must be the user's")
    _require_text(request.turns[-1].text, "turns")
    return [
        Turn("assistant" if turn.assistant else "user", turn.text, _decode_images(turn.images, "turns"))
        for turn in request.turns
    ]


def read_article(message: pb.Article) -> Article:
    """Returns the article that a request changes."""
    if not message.segments:
        raise InvalidRequest("article: has no segments")
    article = proto.from_proto(message)
    if article.format not in FORMATS:
        raise InvalidRequest(f"article.format: {article.format!r} is unknown: use {', '.join(FORMATS)}")
    return article


def read_operation(operation: pb.EditOperation) -> Operation:
    """Returns the operation of a request to edit."""
    match operation.WhichOneof("operation"):
        case "search":
            return SearchOperation(operation.search.spot, _require_text(operation.search.query, "query"))
        case "show":
            return ShowOperation(operation.show.spot, operation.show.image_id)
        case "segment":
            return _read_reword(operation.segment)
        case "fill":
            return FillOperation()
        case _:
            return _read_change(operation)


def _read_reword(change: pb.EditSegment) -> RewordOperation:
    if change.kind not in _CHANGES:
        raise InvalidRequest("operation.segment.kind: is unspecified or unknown: say what to do with the segment")
    _check_length(change.text, "text")
    text = change.text if change.text.strip("\ufeff \t\r\n") else ""
    return RewordOperation(change.segment, _CHANGES[change.kind], text, change.hint)


def _read_change(operation: pb.EditOperation) -> ArticleChange:
    match operation.WhichOneof("operation"):
        case "pick":
            return partial(edit_images.pick, spot=operation.pick.spot, candidate=operation.pick.candidate)
        case "remove":
            return partial(edit_images.remove, spot=operation.remove)
        case "lock":
            return partial(edit_images.toggle_lock, spot=operation.lock)
        case "recaption":
            words = operation.recaption
            return partial(
                edit_images.recaption,
                spot=words.spot,
                caption=words.caption if words.HasField("caption") else None,
                alt=words.alt if words.HasField("alt") else None,
            )
        case "exclude":
            return partial(edit_images.exclude, spot=operation.exclude)
        case "undo":
            return history.undo
        case _:
            raise InvalidRequest("operation: is empty: say what to change")


def _require_text(text: str, field: str) -> str:
    if not text.strip("\ufeff \t\r\n"):
        raise InvalidRequest(f"{field}: is empty")
    _check_length(text, field)
    return text


def _check_length(text: str, field: str) -> None:
    if len(text.encode()) > MAX_BYTES:
        raise InvalidRequest(f"{field}: is larger than {MAX_BYTES // 2**20} MiB")


def _decode_images(images: Sequence[bytes], field: str) -> tuple[ImagePart, ...]:
    _check_size(images, field)
    decoded = []
    for number, content in enumerate(images):
        try:
            decoded.append(decode(content))
        except ImageError as error:
            raise InvalidRequest(f"{field}: number {number} {error}") from None
    return tuple(decoded)


def _check_size(images: Sequence[bytes], field: str) -> None:
    if sum(map(len, images)) > MAX_BYTES:
        raise InvalidRequest(f"{field}: the images are together larger than {MAX_BYTES // 2**20} MiB")
