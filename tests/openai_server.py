"""An OpenAI-compatible endpoint for tests; a function decides its answers, valid or not."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests import loopback

Reply = tuple[int, bytes]  # status, body
Answer = Callable[[dict[str, object]], Reply]


def message(text: str, *, scores: dict[str, float] | None = None) -> Reply:
    """Returns a whole answer, with the log-probabilities of its first token if given."""
    choice: dict[str, object] = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    if scores is not None:
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in scores.items()]
        choice["logprobs"] = {"content": [{"token": text, "logprob": 0.0, "bytes": None, "top_logprobs": top}]}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return 200, json.dumps(body).encode()


def pieces(*texts: str) -> Reply:
    """Returns a streamed answer."""
    lines = []
    for text in texts:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        body = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
        lines.append(f"data: {json.dumps(body)}\n\n")
    return 200, "".join([*lines, "data: [DONE]\n\n"]).encode()


def composing(
    *, spots: str = "1", query: str = "a ginger cat", choice: Reply | None = None, other: str = "Words of a model."
) -> Answer:
    """Returns an endpoint that recognises the stages by their questions."""
    scored = message("B", scores={"A": math.log(0.1), " B": math.log(0.7), "C": math.log(0.1)})

    def answer(body: dict[str, object]) -> Reply:
        asked = json.dumps(body["messages"], ensure_ascii=False)
        if "Which candidate fits" in asked or "哪一张最适合" in asked:
            return choice or scored
        if "would a photograph help" in asked or "适合放一张照片" in asked:
            return pieces(spots)
        return pieces(query) if "the photograph that fits best" in asked else pieces(*other.partition(" "))

    return answer


def failure(status: int, text: str = "no") -> Reply:
    """Returns a refusal."""
    return status, json.dumps({"error": {"message": text}}).encode()


@contextmanager
def serving(answer: Answer, *, kind: str = "") -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Serves on loopback; yields the base URL and the received requests.

    Args:
        answer: returns the reply to a request.
        kind: content type of the replies; that of the protocol by default.
    """
    requests: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({**body, "authorization": self.headers.get("Authorization")})
            status, content = answer(body)
            self.send_response(status)
            usual = "text/event-stream" if body.get("stream") else "application/json"
            self.send_header("Content-Type", kind or usual)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Writes no log."""

    with loopback.serving(Handler) as url:
        yield f"{url}/v1", requests
