"""The HTTP client of an endpoint: which proxy it uses, how much it reads, and how its errors read in one line.

Redirects are not followed, so that articles, images and the key go to the address that the user named only.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import openai

from xcomp_model.base import EndpointUnavailable, ModelFailure
from xcomp_model.openai_api.calls import CancellableCalls

MAX_ANSWER_BYTES = 16 * 1024**2
MAX_LINE_BYTES = 1024**2  # of a streamed answer
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
_ADDRESS_HINT = "does the address lack /v1?"
NOT_ITS_PROTOCOL = f"answered something that is not its protocol: {_ADDRESS_HINT}"


class Response(Protocol):
    """A response of httpx, or of what openai uses instead of it."""

    status_code: int
    headers: "Headers"
    iter_bytes: Callable[..., Iterator[bytes]]


class Headers(Protocol):
    """The header lines of a response."""

    def get(self, key: str, default: str) -> str:
        """Returns a line's value."""


class UnusableAnswer(openai.OpenAIError):
    """An answer that is not read further; the client does not retry after this type."""


def check_url(url: str) -> None:
    """Raises ModelFailure if an address is not one of HTTP."""
    if not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise ModelFailure(f"the endpoint {url} is no address of HTTP: write http:// or https:// before it")


def open_client(
    base_url: str, api_key: str, calls: CancellableCalls, *, timeout_s: float, retries: int
) -> openai.OpenAI:
    """Returns a client; raises ModelFailure if the proxy of the environment cannot be used."""
    host = urlsplit(base_url).hostname or ""
    proxies = [f"{kind.upper()}_PROXY" for kind in ("all", "https", "http") if kind in getproxies()]

    def open_with(*, trust_env: bool) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(
            event_hooks={"request": [calls.prepare], "response": [check_response]},
            follow_redirects=False,
            trust_env=trust_env,
            timeout=timeout_s,
        )
        return openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=timeout_s, max_retries=retries, http_client=http
        )

    try:
        return open_with(trust_env=not (proxies and _LOOPBACK.fullmatch(host)))
    except (ImportError, ValueError):  # of a proxy, even of one that is not used for this host
        if proxy_bypass(host):
            return open_with(trust_env=False)
        raise ModelFailure(
            f"the proxy in {' or '.join(proxies) or 'the environment'} cannot be used: a SOCKS proxy is written "
            f"socks5://HOST:PORT and needs pip install socksio; or add {host} to NO_PROXY"
        ) from None


def check_response(response: Response) -> None:
    """Refuses a web page, and bounds how much is read of an answer; the client calls this before it reads one."""
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/html") and response.status_code < 300:
        raise UnusableAnswer(NOT_ITS_PROTOCOL)
    read = response.iter_bytes
    most = MAX_LINE_BYTES if "event-stream" in kind else MAX_ANSWER_BYTES

    def read_within_limit(chunk_size: int | None = None) -> Iterator[bytes]:
        total = line = 0
        for chunk in read(chunk_size):
            total += len(chunk)
            end = chunk.rfind(b"\n")
            line = line + len(chunk) if end < 0 else len(chunk) - end - 1
            if total > MAX_ANSWER_BYTES or line > most:
                raise UnusableAnswer(f"sent more than {most >> 20} MiB without an end: is it the right address?")
            yield chunk

    response.iter_bytes = read_within_limit


@contextmanager
def translate_errors(
    base_url: str, *, model: str, api_key: str, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turns the errors of a client into ModelFailure with one line, which never shows the key."""
    try:
        yield
    except but:
        raise
    except openai.APIConnectionError:  # a time-out is one of them
        raise EndpointUnavailable(f"the endpoint {base_url} does not answer: is it running?") from None
    except openai.RateLimitError:
        raise EndpointUnavailable(f"the endpoint {base_url} is busy or over its quota: try again later") from None
    except openai.OpenAIError as error:
        raise ModelFailure(f"the endpoint {base_url} {_reason(error, model, api_key)}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ModelFailure(f"the endpoint {base_url} {NOT_ITS_PROTOCOL}") from None


def _reason(error: openai.OpenAIError, model: str, api_key: str) -> str:
    if isinstance(error, UnusableAnswer):
        return str(error)
    if isinstance(error, openai.AuthenticationError):
        return "refuses the key: set OPENAI_API_KEY"
    if isinstance(error, openai.NotFoundError):
        return f"has no model {model!r}" if _names_reason(error) else f"has no page for chats: {_ADDRESS_HINT}"
    if isinstance(error, openai.APIStatusError) and error.status_code < 400:
        return "redirects to another address, which is not followed: set OPENAI_BASE_URL to the right one"
    said = " ".join(str(error).split())
    return f"failed: {said.replace(api_key, '[key]') if api_key else said}"[:200]


def _names_reason(error: openai.NotFoundError) -> bool:
    """Whether a refusal is the answer of an endpoint, not of a web server that has no such page."""
    return isinstance(error.body, dict) and isinstance(error.body.get("message"), str)
