"""TLS on both sides: the certificate that a server or a client shows, and the authorities that it trusts.

Files are read once, when a process starts: a renewed certificate needs a restart.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from xcomp_protos.errors import InvalidRequest

SCHEME = "grpcs://"  # of an address that uses TLS
CLIENT_FILES = ("--tls-ca", "--tls-client-cert", "--tls-client-key")  # options of a client, as its errors name them


@dataclass(frozen=True)
class ServerTls:
    """The certificate of a server; with `client_ca`, callers must show one too (mutual TLS). All in PEM."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Returns the credentials for gRPC."""
        pairs = [(self.key, self.certificate)]
        return grpc.ssl_server_credentials(pairs, self.client_ca, require_client_auth=self.client_ca is not None)


@dataclass(frozen=True)
class ClientTls:
    """The authorities that a client trusts, by default the system's, and its own certificate. All in PEM."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials for gRPC."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


def server_tls(certificate: str, key: str, client_ca: str) -> ServerTls | None:
    """Reads the files of a server; returns None where no certificate is given.

    Raises:
        InvalidRequest: a file is missing or unreadable, or the key belongs to another certificate.
    """
    if not certificate and not key:
        if client_ca:
            raise InvalidRequest("--tls-client-ca needs --tls-cert and --tls-key beside it")
        return None
    content, secret = _pair(certificate, key, options=("--tls-cert", "--tls-key"))
    return ServerTls(content, secret, _authorities(client_ca, "--tls-client-ca") if client_ca else None)


def client_tls(ca: str, certificate: str, key: str, *, options: tuple[str, str, str] = CLIENT_FILES) -> ClientTls:
    """Reads the files of a client, all of them optional; raises like `server_tls`."""
    authorities = _authorities(ca, options[0]) if ca else None
    if not certificate and not key:
        return ClientTls(authorities)
    return ClientTls(authorities, *_pair(certificate, key, options=options[1:]))


def _pair(certificate: str, key: str, *, options: tuple[str, str]) -> tuple[bytes, bytes]:
    if not certificate or not key:
        raise InvalidRequest(f"{options[0]} and {options[1]} go together")
    content, secret = _read(certificate, options[0]), _read(key, options[1])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise InvalidRequest(
            f"{options[0]} {certificate} and {options[1]} {key} are not a pair in PEM: {reason}"
        ) from None
    return content, secret


def _no_password() -> str:
    raise ValueError("the key is encrypted: give one without a passphrase")


def _authorities(path: str, option: str) -> bytes:
    content = _read(path, option)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest(f"{option} {path} has no certificates in PEM: {error}") from None
    return content


def _read(path: str, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{option} {path} cannot be read: {error.strerror}") from None
