"""Which caller may call which method: bearer tokens, each with a role and optionally a list of repositories.

A token file has one token on each line: `ROLE TOKEN`, `ROLE TOKEN REPOSITORY,REPOSITORY`, or a token alone, which
allows everything. Empty lines and lines that begin with `#` are ignored. A line that could open more than its author
meant is refused, and so is a file that other users may read or change. This module uses the names of methods and
fields; it does not depend on what the methods do.
"""

import hmac
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from google.protobuf.message import Message

from xcomp_protos.errors import Denied, InvalidRequest

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each includes the ones before it
MIN_SECRET_CHARACTERS = 16
_FOREIGN = stat.S_IRWXO | stat.S_IWGRP  # a group may read it, as where a container's user has the file by its group

# The role that a method of either service needs; a method that is not listed needs `admin`.
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
# Methods that need not name a repository: their answers are narrowed, or concern no repository.
_WITHOUT_REPOSITORY = frozenset(("Describe", "ListRepositories", "Chat"))
# Messages whose field `name` is the name of a repository; other messages have a field `repository`.
_NAMED_BY_NAME = frozenset(("CreateRepositoryRequest", "DeleteRepositoryRequest", "ExportRequest", "ImportHeader"))


@dataclass(frozen=True)
class Grant:
    """The permissions of one token."""

    role: Role = "admin"
    repositories: frozenset[str] = frozenset()  # empty: all
    token: str = ""

    def check_method(self, method: str) -> None:
        """Raises `Denied` unless the role includes a method."""
        needed = NEEDS.get(method, "admin")
        if ROLES.index(self.role) < ROLES.index(needed):
            raise Denied(f"{method} needs a token of role {needed}, this one has {self.role}")

    def check_request(self, method: str, request: Message) -> None:
        """Raises `Denied` where a request names no repository, or one that the token does not open."""
        if not self.repositories:
            return
        named = set(_repositories_in(request))
        if not named and method not in _WITHOUT_REPOSITORY:
            raise Denied(f"repository: name one of those that this token opens: {self._opens()}")
        for name in sorted(named - self.repositories):
            raise Denied(f"repository: this token does not open {name!r}; it opens {self._opens()}")

    def check_requests(self, method: str, requests: Iterator[Message]) -> Iterator[Message]:
        """Yields the messages of a stream, and checks the first one, which names the repository."""
        for number, request in enumerate(requests):
            if not number:
                self.check_request(method, request)
            yield request

    def narrow(self, response: object) -> None:
        """Removes repositories that the token does not open from an answer."""
        if not self.repositories or not hasattr(response, "repositories"):
            return
        if hasattr(response, "models_loaded"):
            del response.models_loaded[:]  # they tell which models other repositories use
        kept = [each for each in response.repositories if each.name in self.repositories]
        del response.repositories[:]
        response.repositories.extend(kept)

    def _opens(self) -> str:
        return ", ".join(sorted(self.repositories))


ALL = Grant()
current_grant: ContextVar[Grant] = ContextVar("current_grant", default=ALL)  # of the call that this thread serves


def check_may_create(repository: str) -> None:
    """Raises `Denied` unless the current call may create a repository."""
    grant = current_grant.get()
    if grant.role != "admin":
        raise Denied(f"repository {repository!r} does not exist, and creating one needs a token of role admin")


def keep_visible(names: Iterable[str]) -> list[str]:
    """Returns the names of repositories that the current call may know of."""
    grant = current_grant.get()
    return [name for name in names if not grant.repositories or name in grant.repositories]


@dataclass(frozen=True)
class Access:
    """The tokens of a server."""

    grants: Sequence[Grant]

    def find_grant(self, authorization: str) -> Grant | None:
        """Returns the grant of an `authorization` header; compares every token, each in constant time."""
        given = authorization.encode(errors="replace")
        found = None
        for grant in self.grants:
            if hmac.compare_digest(given, f"Bearer {grant.token}".encode()):
                found = grant
        return found


def allow_token(token: str) -> Access:
    """Returns the access of one token that allows everything."""
    return Access((Grant(token=token),))


def read_tokens(path: str, *, option: str) -> Access:
    """Reads a token file.

    Raises:
        InvalidRequest: it cannot be read, other users may read it, it has no token, or it has a wrong line; the message
            begins with `option`.
    """
    lines = _read_private(path, option).splitlines()
    grants = [
        _grant(line.split(), f"{option} {path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not grants:
        raise InvalidRequest(f"{option} {path} is empty")
    return Access(tuple(grants))


def read_secret(path: str, *, option: str) -> str:
    """Returns the token of a client: the first one of its file. Raises like `read_tokens`."""
    return read_tokens(path, option=option).grants[0].token


def check_secret(secret: str, where: str) -> str:
    """Returns a secret that is hard to guess; raises `InvalidRequest` for a short one and for the name of a role."""
    if secret.lower() in ROLES or len(secret) < MIN_SECRET_CHARACTERS:  # the message does not repeat it
        raise InvalidRequest(
            f"{where}: a token has {MIN_SECRET_CHARACTERS} characters or more, and this one has {len(secret)}: "
            "make one with xcomp token"
        )
    return secret


def check_private(mode: int, where: str) -> None:
    """Raises `InvalidRequest` if a file of this mode is open to all users, or to changes by a group."""
    if os.name == "posix" and mode & _FOREIGN:
        raise InvalidRequest(f"{where} is open to other users (mode {mode & 0o777:04o}): run chmod 600 on it")


def _read_private(path: str, option: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            check_private(os.fstat(file.fileno()).st_mode, f"{option} {path}")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{option} {path} cannot be read: {error}") from None


def _grant(words: Sequence[str], where: str) -> Grant:
    if len(words) == 1:
        return Grant(token=check_secret(words[0], where))
    role = next((each for each in ROLES if each == words[0]), None)
    if role is None or len(words) > 3:  # the words may be secret, so the message does not repeat them
        raise InvalidRequest(f"{where}: write ROLE TOKEN [REPOSITORY,…], with a role of {', '.join(ROLES)}")
    names = words[2].split(",") if len(words) == 3 else []
    if not all(names):
        raise InvalidRequest(f"{where}: the list of repositories has an empty name: name them, or leave the list out")
    return Grant(role, frozenset(names), check_secret(words[1], where))


def _repositories_in(message: Message) -> Iterator[str]:
    """Yields the names of repositories in a message, at any depth."""
    if message.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return  # free-form content
    for field, value in message.ListFields():
        names = "name" if message.DESCRIPTOR.name in _NAMED_BY_NAME else "repository"
        if field.name == names and isinstance(value, str):
            yield value
        elif field.message_type and not field.message_type.GetOptions().map_entry:
            for part in [value] if isinstance(value, Message) else value:
                yield from _repositories_in(part)
