"""What a request asks for, checked: messages in, the pipeline's values out, or an error that names the field."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xcomp_composer.illustrate.base import CANDIDATES, CandidateImage, IllustrationOptions, Procedure, SelectionRequest
from xcomp_composer.illustrate.pipeline import language_in
from xcomp_composer.indexer_client.repository import Conditions
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import ImageError, InvalidRequest

if TYPE_CHECKING:
    from xcomp_model.base import Brief, Picture

MAX_BYTES = 3 * 1024 * 1024  # of text, or of pictures together
MAX_CANDIDATES = 64
MAX_POOL = 100
FORMATS = ("markdown", "html", "text")
_LANGUAGES = {common.LANGUAGE_EN: "en", common.LANGUAGE_ZH: "zh"}
_PROCEDURES: dict[int, Procedure] = {
    pb.PROCEDURE_UNSPECIFIED: "native",
    pb.PROCEDURE_REFERENCE: "reference",
    pb.PROCEDURE_SIMILARITY: "similarity",
}


def text_of(request: pb.IllustrateRequest) -> tuple[str, str]:
    """Returns text and format."""
    if request.format and request.format not in FORMATS:
        raise InvalidRequest(f"format: {request.format!r} is unknown: use markdown, html or text")
    words(request.text, "text")
    return request.text, request.format or "markdown"


def words(text: str, field: str) -> str:
    """Returns a text that must say something."""
    if not text.strip("\ufeff \t\r\n"):
        raise InvalidRequest(f"{field}: is empty")
    if len(text.encode()) > MAX_BYTES:
        raise InvalidRequest(f"{field}: is larger than {MAX_BYTES // 2**20} MiB")
    return text


def instruction_of(request: pb.ComposeRequest) -> str:
    """Returns the words that say what the article is about: its title and the instruction."""
    return words("\n".join(filter(None, (request.title.strip(), request.instruction.strip()))), "instruction")


def brief_of(request: pb.ComposeRequest, *, language: str) -> "Brief":
    """Returns what the article is to be written from."""
    from xcomp_model.base import Brief

    for field in ("title", "instruction", "outline", "requirements", "material"):
        if len(getattr(request, field).encode()) > MAX_BYTES:
            raise InvalidRequest(f"{field}: is larger than {MAX_BYTES // 2**20} MiB")
    return Brief(
        request.instruction.strip(),
        title=request.title.strip(),
        outline=request.outline,
        keywords=tuple(request.keywords),
        requirements=request.requirements,
        material=request.material,
        references=pictures_of(request.reference_images, "reference_images"),
        language=language,
    )


def wish_of(options: pb.Options) -> IllustrationOptions:
    """Returns how many pictures are wanted."""
    if options.k > MAX_CANDIDATES:
        raise InvalidRequest(f"options.k: must be 1 to {MAX_CANDIDATES}, not {options.k}")
    if options.pool and not (options.k or CANDIDATES) <= options.pool <= MAX_POOL:
        raise InvalidRequest(f"options.pool: must be {options.k or CANDIDATES} to {MAX_POOL}, not {options.pool}")
    both = sorted({*options.must_use_ids} & {*options.exclude_ids})
    if both:
        raise InvalidRequest(f"options.must_use_ids: {both[0]!r} is among exclude_ids as well: name it in one of them")
    return IllustrationOptions(
        images=options.images if options.HasField("images") else None,
        max_images=options.max_images if options.HasField("max_images") else None,
        k=options.k or CANDIDATES,
        pool=options.pool,
        must_use=tuple(options.must_use_ids),
    )


def conditions_of(options: pb.Options, *, text: str, format_: str = "markdown", language: str = "") -> Conditions:
    """Returns which pictures are wanted; the language is the request's, else the article's, else the text's."""
    if not options.repository:
        raise InvalidRequest("options.repository: is empty: name the repository that holds the pictures")
    if options.language not in common.Language.values():
        raise InvalidRequest(f"options.language: {options.language} is none of the enum's values")
    return Conditions(
        repository=options.repository,
        profile=options.profile,
        language=_LANGUAGES.get(options.language) or language or language_in(text, format_),
        where=tuple(options.where),
        allow_restricted=options.allow_restricted,
        exclude_ids=tuple(options.exclude_ids),
    )


def question_of(request: pb.SelectRequest) -> SelectionRequest:
    """Returns what is to be chosen, among what, and how."""
    if not 1 <= len(request.candidates) <= MAX_CANDIDATES:
        raise InvalidRequest(f"candidates: send 1 to {MAX_CANDIDATES} of them, not {len(request.candidates)}")
    if request.order and sorted(request.order) != list(range(len(request.candidates))):
        raise InvalidRequest(f"order: name each of the {len(request.candidates)} candidates once, from 0")
    if request.procedure not in _PROCEDURES:
        raise InvalidRequest(f"procedure: {request.procedure} is unknown")
    shown = tuple(
        (each.after if each.HasField("after") else None, _offered(each.picture, "shown: a picture"))
        for each in request.shown
    )
    candidates = tuple(_offered(each, f"candidates: number {n}") for n, each in enumerate(request.candidates))
    _check_size([each.image for each in (*candidates, *(picture for _, picture in shown))], "candidates")
    return SelectionRequest(
        context=words(request.context, "context"),
        candidates=candidates,
        shown=shown,
        query=request.query,
        procedure=_PROCEDURES[request.procedure],
        order=tuple(request.order),
        has_pixels=not request.without_pixels,
    )


def _offered(candidate: pb.SelectCandidate, what: str) -> CandidateImage:
    if not (candidate.image_id or candidate.image):
        raise InvalidRequest(f"{what} is empty: give it an image_id or an image")
    return CandidateImage(candidate.image_id, candidate.image)


def pictures_of(images: Sequence[bytes], field: str) -> tuple["Picture", ...]:
    """Decodes pictures for a model that sees; raises InvalidRequest for one that is none."""
    from xcomp_composer.illustrate.vlm.images import decoded

    _check_size(images, field)
    pictures = []
    for number, content in enumerate(images):
        try:
            pictures.append(decoded(content))
        except ImageError as error:
            raise InvalidRequest(f"{field}: number {number} {error}") from None
    return tuple(pictures)


def _check_size(images: Sequence[bytes], field: str) -> None:
    if sum(map(len, images)) > MAX_BYTES:
        raise InvalidRequest(f"{field}: the pictures are together larger than {MAX_BYTES // 2**20} MiB")
