"""Who may call what: bearer tokens, each with a role and, where wanted, the repositories it opens.

A token file has one token a line: `ROLE TOKEN`, `ROLE TOKEN REPOSITORY,REPOSITORY`, or a token alone, which may
everything. Empty lines and lines that begin with `#` count for nothing. This file knows names of methods and of fields;
what the methods do is the services' business.
"""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from google.protobuf.message import Message

from xcomp_protos.errors import Denied, InvalidRequest

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may what those before it may

# What a method of either service asks for; one that is not listed asks for `admin`.
NEEDS: Mapping[str, Role] = {
    "Search": "read",
    "Duplicates": "read",
    "Embed": "read",
    "Fetch": "read",
    "List": "read",
    "GetImages": "read",
    "ListRepositories": "read",
    "Describe": "read",
    "Compose": "read",
    "Illustrate": "read",
    "Select": "read",
    "Edit": "read",
    "Chat": "read",
    "Ingest": "write",
    "Upload": "write",
    "Delete": "write",
    "CreateRepository": "admin",
    "DeleteRepository": "admin",
    "AddSpace": "admin",
    "SwitchSpaces": "admin",
    "DropSpace": "admin",
    "Export": "admin",
    "Import": "admin",
    "Optimize": "admin",
    "Snapshot": "admin",
    "ListSnapshots": "admin",
}
# Methods that need not name a repository: their answers are narrowed, or are about none.
_OF_NONE = frozenset(("Describe", "ListRepositories", "Chat"))
# Messages whose field `name` is that of a repository; elsewhere the field is called `repository`.
_NAMING = frozenset(("CreateRepositoryRequest", "DeleteRepositoryRequest", "ExportRequest", "ImportHeader"))


@dataclass(frozen=True)
class Grant:
    """What the bearer of one token may do."""

    role: Role = "admin"
    repositories: frozenset[str] = frozenset()  # empty: all
    token: str = ""

    def check_method(self, method: str) -> None:
        """Raises `Denied` unless the role suffices for a method."""
        needed = NEEDS.get(method, "admin")
        if ROLES.index(self.role) < ROLES.index(needed):
            raise Denied(f"{method} asks for a token of role {needed}, this one has {self.role}")

    def check_request(self, method: str, request: Message) -> None:
        """Raises `Denied` where a request names a repository that the token does not open, or none at all."""
        if not self.repositories:
            return
        named = set(_repositories_in(request))
        if not named and method not in _OF_NONE:
            raise Denied(f"repository: name one of those that this token opens: {self._opens()}")
        for name in sorted(named - self.repositories):
            raise Denied(f"repository: this token does not open {name!r}; it opens {self._opens()}")

    def check_requests(self, method: str, requests: Iterator[Message]) -> Iterator[Message]:
        """Yields the messages of a stream; the first one names the repository."""
        for number, request in enumerate(requests):
            if not number:
                self.check_request(method, request)
            yield request

    def narrow(self, response: object) -> None:
        """Takes repositories out of an answer that the token does not open."""
        if not self.repositories or not hasattr(response, "repositories"):
            return
        kept = [each for each in response.repositories if each.name in self.repositories]
        del response.repositories[:]
        response.repositories.extend(kept)

    def _opens(self) -> str:
        return ", ".join(sorted(self.repositories))


ALL = Grant()


@dataclass(frozen=True)
class Access:
    """The tokens of a server."""

    grants: Sequence[Grant]

    def grant_of(self, authorization: str) -> Grant | None:
        """Returns the grant of an `authorization` header; every token is compared, each in constant time."""
        given = authorization.encode(errors="replace")
        found = None
        for grant in self.grants:
            if hmac.compare_digest(given, f"Bearer {grant.token}".encode()):
                found = grant
        return found


def single(token: str) -> Access:
    """The access of one token that may everything."""
    return Access((Grant(token=token),))


def read(path: str, *, option: str) -> Access:
    """Reads a token file.

    Raises:
        InvalidRequest: it cannot be read, holds no token, or a line is none; the message begins with `option`.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{option} {path} cannot be read: {error}") from None
    grants = [
        _grant(line.split(), f"{option} {path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not grants:
        raise InvalidRequest(f"{option} {path} is empty")
    return Access(tuple(grants))


def secret(path: str, *, option: str) -> str:
    """Returns the token that a client shows: the first one of its file. Raises like `read`."""
    return read(path, option=option).grants[0].token


def _grant(words: Sequence[str], where: str) -> Grant:
    if len(words) == 1:
        return Grant(token=words[0])
    role = next((each for each in ROLES if each == words[0]), None)
    if role is None or len(words) > 3:  # the words may be secret and are not repeated
        raise InvalidRequest(f"{where}: write ROLE TOKEN [REPOSITORY,…], with a role of {', '.join(ROLES)}")
    repositories = frozenset(filter(None, words[2].split(","))) if len(words) == 3 else frozenset[str]()
    return Grant(role, repositories, words[1])


def _repositories_in(message: Message) -> Iterator[str]:
    """Yields the names of repositories that a message holds, at whatever depth."""
    if message.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return  # free-form content
    for field, value in message.ListFields():
        names = "name" if message.DESCRIPTOR.name in _NAMING else "repository"
        if field.name == names and isinstance(value, str):
            yield value
        elif field.message_type and not field.message_type.GetOptions().map_entry:
            for part in [value] if isinstance(value, Message) else value:
                yield from _repositories_in(part)
