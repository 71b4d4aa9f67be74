"""A ModelScope on loopback: lists the files of folders and hands them out, under the addresses of its public client."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests import loopback

OLD, COMMIT = "0123" + 36 * "0", "abcdef" + 34 * "1"
REVISIONS = ("master", COMMIT)
_LIST = re.compile(r"/api/v1/models/(?P<repository>[^/]+/[^/]+)/repo/files")
_FILE = re.compile(r"/models/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@contextmanager
def serving(repositories: Mapping[str, Path], *, asked: list[str] | None = None, lies: bool = False) -> Iterator[str]:
    """Serves repositories by name; yields the address for MODELSCOPE_ENDPOINT.

    `asked` collects the paths that were asked for; with `lies`, contents differ from what is listed.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class calls it so
            url = urlsplit(self.path)
            if asked is not None:
                asked.append(url.path)
            content = self._listed(url.path, url.query) or self._content(url.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _listed(self, path: str, query: str) -> bytes | None:
            said, wanted = _LIST.fullmatch(path), parse_qs(query)
            folder = repositories.get(said["repository"]) if said else None
            if folder is None or wanted["Revision"][0] not in REVISIONS or wanted["Recursive"] != ["true"]:
                return None
            files = [{"Type": "tree", "Path": "folder", "Name": "folder", "Size": 0, "Sha256": "", "Revision": COMMIT}]
            files += [_entry(file, newest=not at) for at, file in enumerate(sorted(folder.iterdir()))]
            return json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode()

        def _content(self, path: str) -> bytes | None:
            said = _FILE.fullmatch(path)
            folder = repositories.get(said["repository"]) if said and said["revision"] in REVISIONS else None
            file = folder / said["name"] if folder and said else None
            if file is None or not file.is_file():
                return None
            return file.read_bytes() + (b"!" if lies else b"")

    with loopback.serving(Handler) as url:
        yield url


def _entry(file: Path, *, newest: bool) -> dict[str, object]:
    content = file.read_bytes()
    return {
        "Type": "blob",
        "Path": file.name,
        "Name": file.name,
        "Size": len(content),
        "Sha256": hashlib.sha256(content).hexdigest(),
        "Revision": COMMIT if newest else OLD,  # the last commit that changed this file
        "CommittedDate": 1_700_000_000 + newest,
    }
