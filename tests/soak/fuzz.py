"""Random messages for every method of a service, built from its descriptors: structurally valid, and unreasonable.

What is drawn depends on the seed and the number of the message alone. Half of the values are such that a request gets
past the first check; the others are what has broken servers before. Every free text holds `MARK`, so that a log can be
searched for what was sent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

Json = bool | float | str | list["Json"] | dict[str, "Json"] | None

MARK = "qzx7"
DEEPEST = 6  # messages within messages

_TEXTS = (
    "", " ", "\n", "\0", "\x1b[2J", "\ufeff", "\u202e", "\u2028", "\x7f\x80", "%s%n{0}", "${HOME}", "'; DROP TABLE--",
    "<b>&amp;", "<ImageHere>", "[UNUSED_TOKEN_146]", "../../etc/passwd", "/proc/self/mem", "/dev/zero", "C:\\x",
    "file:///etc/passwd", "http://169.254.169.254/", "~root", ".", "..", "-rf", "a/" * 400, "[", "**/*", "(" * 500,
    "((a+)+)+$", "港口的红色小船", "e\u0301" * 50, "\U0001f600", "null", "NaN", "{}", "[[[[", "1e999",
    "# T\n\nA red boat.\n\n![x](y)\n\n```\n", "> " * 300, "<!-- xcomp:begin -->", "<!-- xcomp:end -->",
    "|a|b|\n|-|-|\n", "* " * 200, "`" * 999, "&#0;", "x" * 10_000,
)  # fmt: skip
_INTEGERS = (0, 1, 2, 3, 7, 64, 100, 255, 256, 1000, 1001, 65_536)
_FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_BYTES = (
    b"", b"\0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\xff\xff\xff\xffWEBP", b"{", b"\xff" * 3000,
)  # fmt: skip
_SELDOM = frozenset({"where", "order", "shown", "reference_images", "diversity"})  # what is wrong there ends the call
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Fuzz:
    """Draws messages.

    Args:
        known: by field name, values that lead on: names of repositories, ids of images, encoded images.
        closed: fields that take nothing else, lest a test write where it should not, or load a real model.
    """

    def __init__(self, known: Mapping[str, Sequence[object]], *, closed: frozenset[str] = frozenset()) -> None:
        self._known = known
        self._closed = closed

    def message(self, random: Random, descriptor: Descriptor, depth: int = 0) -> Message:
        """Draws a message of a type."""
        drawn = GetMessageClass(descriptor)()
        if isinstance(drawn, Struct):
            drawn.update({self._text(random, "key"): self._json(random) for _ in range(random.randrange(4))})
            return drawn
        chosen = {each.name: random.choice([None, *8 * list(each.fields)]) for each in descriptor.oneofs}
        for field in descriptor.fields:
            one = field.containing_oneof
            is_one = one is not None and len(one.fields) > 1
            wanted = chosen[one.name] is field if one and is_one else random.random() < self._likely(field)
            if wanted and depth < DEEPEST:
                self._fill(random, drawn, field, depth)
        return drawn

    def stream(self, random: Random, descriptor: Descriptor) -> Iterator[Message]:
        """Draws the messages of a stream; most begin as they should, with a header."""
        header = descriptor.fields_by_name["header"].message_type
        assert header
        for number in range(random.choice((0, 1, 2, 3, 5))):
            drawn = self.message(random, descriptor)
            if not number and random.random() < 0.8:
                drawn.header.CopyFrom(self.message(random, header))  # type: ignore[attr-defined]  # of either stream
            yield drawn

    def _likely(self, field: FieldDescriptor) -> float:
        if field.name in _SELDOM:
            return 0.1
        return 0.97 if field.message_type or field.name in self._known else 0.6

    def _fill(self, random: Random, drawn: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type and field.message_type.GetOptions().map_entry:
            return  # no request of ours reads a map
        if field.is_repeated:
            values = getattr(drawn, field.name)
            for _ in range(random.choice((1, 1, 1, 1, 2, 5))):
                if field.message_type:
                    values.add().CopyFrom(self.message(random, field.message_type, depth + 1))
                else:
                    values.append(self._value(random, field))
        elif field.message_type:
            getattr(drawn, field.name).CopyFrom(self.message(random, field.message_type, depth + 1))
        else:
            setattr(drawn, field.name, self._value(random, field))

    def _value(self, random: Random, field: FieldDescriptor) -> object:
        known = self._known.get(field.name, [])
        if known and (field.name in self._closed or random.random() < 0.9):
            return random.choice(known)
        draw: dict[int, Callable[[], object]] = {
            FieldDescriptor.CPPTYPE_STRING: lambda: self._string(random, field),
            FieldDescriptor.CPPTYPE_BOOL: lambda: random.random() < 0.5,
            FieldDescriptor.CPPTYPE_ENUM: lambda: random.choice((0, 1, 2, 3, 4, 5, 99, -1)),
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: random.choice((random.random(), random.choice(_FLOATS))),
            FieldDescriptor.CPPTYPE_FLOAT: lambda: random.choice((0.0, 1.0, float("nan"), float("inf"))),
        }
        return draw.get(field.cpp_type, lambda: self._integer(random, field))()

    def _integer(self, random: Random, field: FieldDescriptor) -> int:
        low, high = _BITS[field.cpp_type]
        return random.choice((*_INTEGERS, random.randrange(8), random.randrange(8), low, high))

    def _string(self, random: Random, field: FieldDescriptor) -> str | bytes:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return random.choice((*_BYTES, random.randbytes(200)))
        return self._text(random, field.name)

    def _text(self, random: Random, name: str) -> str:
        text = "".join(random.choice(_TEXTS) for _ in range(random.choice((1, 1, 2, 3))))
        if random.random() < 0.01:
            text *= 1 + 300_000 // (len(text) + 1)
        return f"{MARK}{name}{text}" if text.strip() and random.random() < 0.9 else text

    def _json(self, random: Random) -> Json:
        plain: tuple[Json, ...] = (None, True, False, 0, -1, 1e308, "", self._text(random, "value"))
        if random.random() < 0.7:
            return random.choice(plain)
        return [random.choice(plain), [random.choice(plain)], {"a": random.choice(plain), "b": {"c": "d"}}]
