"""Checks the address of the model hub before the hub's client reads it: the client parses it at its import."""

from collections.abc import Mapping
from urllib.parse import urlsplit


def check_endpoint(environment: Mapping[str, str]) -> None:
    """Raises `InvalidRequest` if `HF_ENDPOINT` is set and cannot be parsed as an address."""
    address = environment.get("HF_ENDPOINT", "")
    try:
        urlsplit(address)
    except ValueError as error:
        from xcomp_protos.errors import InvalidRequest  # here, since it imports gRPC

        raise InvalidRequest(
            f"HF_ENDPOINT {address!r} is no address ({error}): write https://host, or unset it"
        ) from None
