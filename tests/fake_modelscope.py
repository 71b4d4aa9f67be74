"""A ModelScope on loopback: answers what the client of the service asks when it lists and downloads files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests import loopback

COMMIT = "abcdef" + 34 * "1"
REVISIONS = ("master", COMMIT)


@contextmanager
def serving(repositories: Mapping[str, Path], *, asked: list[str] | None = None) -> Iterator[str]:
    """Serves repositories by name; yields the address for MODELSCOPE_ENDPOINT.

    `asked` collects the names of files that were downloaded, and an empty name for each listing.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class calls it so
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            repository, _, request = url.path.removeprefix("/api/v1/models/").partition("/repo")
            folder = repositories.get(repository) if query.get("Revision") in REVISIONS else None
            content = None
            if folder and request == "/files":
                content = json.dumps({"Code": 200, "Success": True, "Data": {"Files": _list(folder)}}).encode()
            elif folder and (folder / query["FilePath"]).is_file():
                content = (folder / query["FilePath"]).read_bytes()
            if asked is not None and content is not None:
                asked.append(query.get("FilePath", ""))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with loopback.serving(Handler) as url:
        yield url


def _list(folder: Path) -> list[dict[str, object]]:
    files = [(file.name, file.read_bytes()) for file in sorted(folder.iterdir())]
    return [
        {"Type": "blob", "Path": name, "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files
    ]
