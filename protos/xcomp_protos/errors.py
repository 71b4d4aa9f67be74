"""The errors of xcomp, each with its gRPC status.

One table serves both sides: a server turns an exception into a status, a client turns the status back into the same
class. A message states the fact and the way out in one line.
"""

import grpc

MAX_MESSAGE_CHARACTERS = 600  # a status travels as a header, percent-encoded; clients drop headers over 8 KiB


class XcompError(Exception):
    """An error whose message is meant for the user."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL


class InvalidRequest(XcompError):
    """The caller asked for something that makes no sense; the message names the field."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(XcompError):
    """A repository, an image or a file that is not there."""

    code = grpc.StatusCode.NOT_FOUND


class Conflict(XcompError):
    """Things stand otherwise than the call needs: another profile, a held lock, a model whose weights are missing."""

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
    """A full queue or a message over the limit.

    Args:
        message: one line.
        retry_after_s: trying again after so long helps; None where it does not.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(XcompError):
    """The time the caller granted is over."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(XcompError):
    """The caller went away."""

    code = grpc.StatusCode.CANCELLED


class Unsupported(XcompError):
    """Something this server or this profile cannot do; the message names ways that can."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ModelError(XcompError):
    """A model that cannot be loaded or gave no usable answer."""

    code = grpc.StatusCode.INTERNAL


class ImageError(XcompError):
    """A file that is no readable image.

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
        Cancelled, Unsupported,
    )
}  # fmt: skip


def from_status(code: grpc.StatusCode, details: str, *, name: str = "") -> XcompError:
    """Returns the error that a status stands for; an unlisted status becomes a plain `XcompError`.

    Two classes share INTERNAL: `name`, the server's own word for its error, tells them apart.
    """
    if code is grpc.StatusCode.DATA_LOSS:
        return ImageError(details)
    if code is ModelError.code and name == ModelError.__name__:
        return ModelError(details)
    return _BY_CODE.get(code, XcompError)(details)


def one_line(text: str) -> str:
    """Makes a message fit for a status: printable, on one line, bounded; it may quote whatever a caller sent."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain if len(plain) <= MAX_MESSAGE_CHARACTERS else f"{plain[: MAX_MESSAGE_CHARACTERS - 1]}…"
