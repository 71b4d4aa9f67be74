"""Which names of models a caller may use: the known ones, models of the endpoint, and what the operator allowed.

A name is compared as a whole, so that each spelling of it is not a model of its own, and nothing that a caller sends
becomes a path or a revision.
"""

from collections.abc import Collection

from xcomp_protos.errors import InvalidRequest

MAX_CHARACTERS = 200
ANY = "*"  # allows local folders too; for a server of one user
RELEASES = frozenset(
    f"{owner}internlm-xcomposer{kind}"
    for owner in ("internlm/", "")
    for kind in ("-7b", "-vl-7b", "-7b-4bit", "2-7b", "2-vl-7b")
)
_EXACT = RELEASES | {"retrieval", "draft", "echo"}
_ENDPOINT = ("openai:", "openai-text:")


def check_model(name: str, allowed: Collection[str]) -> None:
    """Raises `InvalidRequest` unless callers may use a model of this name."""
    if len(name) > MAX_CHARACTERS or not name.isprintable():
        raise InvalidRequest(f"a name has up to {MAX_CHARACTERS} printable characters", field="model")
    if name in _EXACT or name in allowed or ANY in allowed or _is_endpoint(name):
        return
    raise InvalidRequest(
        f"unknown composer model {name!r}: use internlm/internlm-xcomposer2-7b or openai:MODEL, or let the server's "
        "operator allow it with --allow-model",
        field="model",
    )


def _is_endpoint(name: str) -> bool:
    return any(name.startswith(prefix) and len(name) > len(prefix) for prefix in _ENDPOINT)
