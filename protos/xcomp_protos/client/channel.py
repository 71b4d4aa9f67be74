"""Channels of clients: addresses, limits, token, TLS, and the translation of a status back into an exception."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from xcomp_protos.client.interceptor import RequestContextInterceptor
from xcomp_protos.errors import Exhausted, TooLarge, Unavailable, XcompError, from_status
from xcomp_protos.tls import SCHEME, ClientTls

MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # gRPC's own default; larger content travels in chunks
CHUNK_BYTES = 1024 * 1024

Options = tuple[tuple[str, str | int], ...]

OPTIONS: Options = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
# A client notices within 80 seconds that a server is lost, and within 2 that it is back.
_KEEPALIVE: Options = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # gRPC's own default is 60 seconds
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]  # generic only in the stubs
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
):
    """Adds the token to every call; call credentials would need TLS even on a private socket."""

    def __init__(self, token: str) -> None:
        self._entry = ("authorization", f"Bearer {token}")

    def _intercept(self, continuation, details, request):  # type: ignore[no-untyped-def]
        metadata = [*(details.metadata or ()), self._entry]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept


def dial(
    address: str, *, token: str | None = None, tls: ClientTls | None = None, options: Options = ()
) -> grpc.Channel:
    """Opens a channel to `host:port`, `unix:/path`, or over TLS to `grpcs://host:port`; sends nothing yet."""
    # A proxy of the environment is meant for the web, not for a service that the user named.
    options = (*OPTIONS, *_KEEPALIVE, ("grpc.enable_http_proxy", 0), *options)
    if address.startswith(SCHEME):
        credentials = (tls or ClientTls()).credentials()
        channel = grpc.secure_channel(address.removeprefix(SCHEME), credentials, options=options)
    else:
        channel = grpc.insecure_channel(address, options=options)
    channel = grpc.intercept_channel(channel, RequestContextInterceptor())
    return grpc.intercept_channel(channel, _Bearer(token)) if token else channel


@contextmanager
def translate_errors(service: str, address: str) -> Iterator[None]:
    """Raises the `XcompError` that a failed call stands for; `service` and `address` go into the message."""
    try:
        yield
    except grpc.RpcError as error:
        raise _to_xcomp_error(error, service, address) from None


def _to_xcomp_error(error: grpc.RpcError, service: str, address: str) -> XcompError:
    details = (error.details() or "").splitlines()
    message = details[0] if details else "no details"
    trailing = {entry.key: str(entry.value) for entry in error.trailing_metadata() or ()}
    name = trailing.get("xcomp-error", "")
    if not name and error.code() is grpc.StatusCode.UNAVAILABLE:  # the transport says so, not a server of xcomp
        doubt = ", and do both sides trust each other's certificates" if address.startswith(SCHEME) else ""
        return Unavailable(f"the {service} at {address} does not answer: is it running there{doubt}?")
    if not name and "larger than max" in message:  # gRPC tells its own refusals by their text alone
        name = TooLarge.__name__
    failure = from_status(error.code(), message, name=name, field=trailing.get("xcomp-field", ""))
    if isinstance(failure, Exhausted):
        pause_ms = trailing.get("retry-after-ms", "")
        failure.retry_after_s = int(pause_ms) / 1000 if pause_ms.isascii() and pause_ms.isdecimal() else None
    return failure
