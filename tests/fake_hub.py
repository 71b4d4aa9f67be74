"""A hub on loopback: serves the files of folders under the addresses that the hub's own client asks for."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests import loopback

COMMIT = "abcdef" + 34 * "0"
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<name>.+)")


@contextmanager
def serving(repositories: Mapping[str, Path], *, asked: list[str] | None = None) -> Iterator[str]:
    """Serves repositories by name; yields the address for HF_ENDPOINT. What was asked for is added to `asked`."""

    paths = [] if asked is None else asked

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:  # the base class calls it so
            self._answer()

        def do_GET(self) -> None:
            self.wfile.write(self._answer())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _answer(self) -> bytes:
            paths.append(self.path)
            named = _FILE.fullmatch(self.path)
            folder = repositories.get(named["repository"]) if named else None
            file = folder / named["name"] if folder and named else None
            content = file.read_bytes() if file and file.is_file() else b""
            self.send_response(200 if content else 404)
            if not content:
                self.send_header("X-Error-Code", "EntryNotFound" if folder else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

    with loopback.serving(Handler) as url:
        yield url
