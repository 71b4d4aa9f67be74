"""The errors of xcomp, each with its gRPC status.

Both sides use the same table: a server turns an exception into a status, a client turns the status back into the same
class. A message states the fact and the way out in one line.
"""

import sys
from collections.abc import Callable

import grpc

MAX_MESSAGE_CHARACTERS = 600  # a status travels as a header, percent-encoded; clients drop headers over 8 KiB


class XcompError(Exception):
    """An error whose message is meant for the user."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL


class InvalidRequest(XcompError):
    """A request that makes no sense.

    Args:
        message: one line.
        field: name of the field of the request that is wrong. The text of the error begins with it, and it travels with
            the status, so that a caller can put the name of its own field before `problem`.
    """

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.problem = message


class NotFound(XcompError):
    """A repository, an image or a file that does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class Conflict(XcompError):
    """A state that does not allow the call: another profile, a held lock, a model without its weights."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Denied(XcompError):
    """The caller may not do this: a path outside the allowed roots, a restricted image."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(XcompError):
    """A missing or wrong token."""

    code = grpc.StatusCode.UNAUTHENTICATED


class Unavailable(XcompError):
    """A service, a store or a model that does not answer now."""

    code = grpc.StatusCode.UNAVAILABLE


class Exhausted(XcompError):
    """A full queue, a full disk, or a message over the limit.

    Args:
        message: one line.
        retry_after_s: pause after which a repeated call may succeed; None where a repetition is of no use.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(Exhausted):
    """A message over the limit of `MAX_MESSAGE_BYTES`; a smaller request may succeed."""


class DeadlineExceeded(XcompError):
    """The deadline of the call has passed."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(XcompError):
    """The caller left."""

    code = grpc.StatusCode.CANCELLED


class Unsupported(XcompError):
    """Something that this server or this profile cannot do; the message names alternatives."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ModelError(XcompError):
    """A model that cannot be loaded, or that gave no usable answer."""

    code = grpc.StatusCode.INTERNAL


class ImageError(XcompError):
    """A file that is not a readable image.

    Args:
        message: one line, without the path.
        reason: the class of the failure, as `IngestFailure.reason` lists them.
    """

    code = grpc.StatusCode.DATA_LOSS

    def __init__(self, message: str, *, reason: str = "not_an_image") -> None:
        super().__init__(message)
        self.reason = reason


_BY_CODE: dict[grpc.StatusCode, type[XcompError]] = {
    kind.code: kind
    for kind in (
        InvalidRequest, NotFound, Conflict, Denied, Unauthenticated, Unavailable, Exhausted, DeadlineExceeded,
        Cancelled, Unsupported, ImageError,
    )
}  # fmt: skip
_BY_NAME: dict[str, type[XcompError]] = {kind.__name__: kind for kind in (ModelError, TooLarge)}  # they share a code


def from_status(code: grpc.StatusCode, details: str, *, name: str = "", field: str = "") -> XcompError:
    """Returns the error that a status stands for; an unlisted status becomes a plain `XcompError`.

    Args:
        code: of the status.
        details: of the status.
        name: the server's name of the class; it tells classes apart that share a code.
        field: of an `InvalidRequest`.
    """
    named = _BY_NAME.get(name)
    kind = named if named and named.code is code else _BY_CODE.get(code, XcompError)
    if kind is InvalidRequest and field:
        return InvalidRequest(details.removeprefix(f"{field}: "), field=field)
    return kind(details)


def one_line(text: str) -> str:
    """Makes a message printable, one line and short, as a status needs it; it may quote anything that a caller sent."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain if len(plain) <= MAX_MESSAGE_CHARACTERS else f"{plain[: MAX_MESSAGE_CHARACTERS - 1]}…"


def run_main(act: Callable[[], int | None]) -> int:
    """Runs the work of a process; an `XcompError` becomes one line on stderr.

    Returns:
        The exit status: that of `act`, 2 for an `InvalidRequest`, 1 for another error.
    """
    try:
        return act() or 0
    except XcompError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)  # noqa: T201  # the process has no other output
        return 2 if isinstance(error, InvalidRequest) else 1
