"""Protobuf messages as JSON values, with the keys and their order that the commands promise.

`json_format.MessageToDict` is not used, since it turns 64-bit integers into strings.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from xcomp_cli.output.console import Json

# Message: its keys, where they are not all of its fields as declared. The last part of a path is the key.
_KEYS: Mapping[str, Sequence[str]] = {
    "Duplicate": ("image.id", "image.path", "image.width", "image.height", "similarity", "distance"),
    "Hit": (
        "rank", "image.id", "image.path", "score", "image.width", "image.height", "image.metadata", "spaces",
        "confidence", "folded", "image.labels",
    ),
    "Repository": ("name", "profile", "images", "size_bytes", "failures", "spaces", "last_ingest", "problem"),
    "SelectResponse": ("choice", "probabilities", "mass"),
    "SpaceScore": ("rank", "score"),
}  # fmt: skip


def to_json(message: Message, *paths: str) -> dict[str, Json]:
    """Returns a message as a JSON object: all keys, or those of some paths such as `image.id`; maps by their keys."""
    keys = paths or _KEYS.get(message.DESCRIPTOR.name) or message.DESCRIPTOR.fields_by_name
    return {path.rpartition(".")[2]: _follow(message, path) for path in keys}


def _follow(message: Message, path: str) -> Json:
    name, _, rest = path.partition(".")
    if rest:
        return _follow(getattr(message, name), rest)
    is_absent = message.DESCRIPTOR.fields_by_name[name].containing_oneof and not message.HasField(name)
    return None if is_absent else _value(getattr(message, name))


def _value(value: object, *, in_struct: bool = False) -> Json:
    if isinstance(value, Mapping):  # a map, or a Struct, whose numbers are all doubles: whole ones become integers
        is_struct = in_struct or isinstance(value, Struct)
        return {key: _value(each, in_struct=is_struct) for key, each in sorted(value.items())}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(each, in_struct=in_struct) for each in value]
    if isinstance(value, Message):
        return to_json(value)
    if in_struct and isinstance(value, float) and value.is_integer():
        return int(value)
    assert value is None or isinstance(value, bool | int | float | str)
    return value
