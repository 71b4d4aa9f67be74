"""The shim over REST: bodies are parsed by the client's own models, which forbid unknown fields."""

import json
import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pydantic
import pydantic_core
from qdrant_client.http import models

from tests.shim.backend import Backend, Request

Route = Callable[[Backend, str, str, Any], object]
_ROUTES: list[tuple[str, str, Any, Route]] = [
    ("GET", r"", None, lambda on, name, rest, body: on.client.get_collections()),
    ("GET", r"/exists", None, lambda on, name, rest, body: {"exists": on.client.collection_exists(name)}),
    ("GET", r"/", None, lambda on, name, rest, body: on.info(name)),
    ("PUT", r"/", models.CreateCollection, lambda on, name, rest, body: on.create(name, body)),
    ("PATCH", r"/", models.UpdateCollection,
     lambda on, name, rest, body: on.client.update_collection(name, metadata=body.metadata)),
    ("DELETE", r"/", None, lambda on, name, rest, body: on.client.delete_collection(name)),
    ("PUT", r"/index", models.CreateFieldIndex,
     lambda on, name, rest, body: on.index(name, body.field_name, body.field_schema)),
    ("PUT", r"/vectors/([^/]+)", models.DenseVectorNameConfig,
     lambda on, name, rest, body: on.add_vector(name, rest, body)),
    ("DELETE", r"/vectors/([^/]+)", None, lambda on, name, rest, body: on.drop_vector(name, rest)),
    ("POST", r"/snapshots", None, lambda on, name, rest, body: on.snapshot(name)),
    ("GET", r"/snapshots", None, lambda on, name, rest, body: on.snapshots.get(name, [])),
    ("PUT", r"/points", models.PointsList, lambda on, name, rest, body: on.client.upsert(name, body.points)),
    ("POST", r"/points", models.PointRequest,
     lambda on, name, rest, body: on.client.retrieve(name, body.ids, body.with_payload, body.with_vector or False)),
    ("POST", r"/points/payload", models.SetPayload, lambda on, name, rest, body: on.set_payload(name, body)),
    ("POST", r"/points/payload/delete", models.DeletePayload,
     lambda on, name, rest, body: on.delete_payload(name, body)),
    ("PUT", r"/points/vectors", models.UpdateVectors,
     lambda on, name, rest, body: on.client.update_vectors(name, body.points)),
    ("POST", r"/points/delete", models.PointsSelector, lambda on, name, rest, body: on.client.delete(name, body)),
    ("POST", r"/points/scroll", models.ScrollRequest, lambda on, name, rest, body: on.scroll(name, body)),
    ("POST", r"/points/count", models.CountRequest,
     lambda on, name, rest, body: on.count(name, body.filter, body.exact)),
    ("POST", r"/points/query/batch", models.QueryRequestBatch,
     lambda on, name, rest, body: on.query(name, body.searches)),
]  # fmt: skip


class _Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend: Backend

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # a test's client gave up
            self.close_connection = True

    def log_message(self, *_: object) -> None:  # tests print nothing
        pass

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        key = self.headers.get("api-key")
        self.backend.seen.append(Request(f"{self.command} {parts.path}", query, json.loads(raw or "{}"), key))
        fault = self.backend.next_fault(key)
        if fault.status:
            self._answer(fault.status, {"status": {"error": "injected"}}, fault.retry_after_s)
            return
        status, result = self._result(parts.path, raw)
        if fault.unapplied and isinstance(result, models.UpdateResult):
            result = models.UpdateResult(operation_id=0, status=models.UpdateStatus.WAIT_TIMEOUT)
        said = "ok" if status == 200 else {"error": result}
        self._answer(status, {"result": result, "status": said, "time": 0.0}, drop=fault.drop)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _result(self, path: str, raw: bytes) -> tuple[int, object]:
        found = re.fullmatch(r"/collections(?:/([^/]+)(/.*)?)?", path)
        name, rest = (unquote(found[1] or ""), found[2] or "/") if found else ("", "")
        for method, pattern, model, route in _ROUTES:
            match = re.fullmatch(pattern, rest if name else "")
            if method == self.command and match and bool(name) == bool(pattern):
                try:
                    body = pydantic.TypeAdapter(model).validate_json(raw) if model else None
                    with self.backend.lock:
                        return 200, route(self.backend, name, match[1] if match.groups() else "", body)
                except ValueError as error:
                    return (404 if str(error).startswith("Collection") else 400), str(error)
        return 404, f"the shim has no {self.command} {path}"

    def _answer(self, status: int, content: object, retry_after_s: int | None = None, drop: bool = False) -> None:
        body = pydantic_core.to_json(content, by_alias=True)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if drop else body)
        self.close_connection = self.close_connection or drop


def serve(backend: Backend, port: int, pem: Path | None = None) -> tuple[int, Callable[[], None]]:
    """Starts a server and returns its port and what stops it."""
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Rest,), {"backend": backend}))
    server.daemon_threads = True
    if pem:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_address[1], stop
