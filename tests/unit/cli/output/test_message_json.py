"""The JSON of messages: which keys, in which order, and of which types."""

import json

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from xcomp_cli.output.message_json import to_json
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb


def _struct(text: str) -> Struct:
    return json_format.Parse(text, Struct())


IMAGE = common.Image(
    id="a", repository="trips", path="/p/a.jpg", width=640, height=480, content_hash="ff",
    metadata=_struct('{"year": 2024, "tags": ["sea", 1, {"z": 1.5, "a": null}], "is_public": true}'),
    labels=[common.Label(en="dock", zh="码头", probability=0.5)],
)  # fmt: skip
HIT = common.Hit(
    image=IMAGE, rank=1, score=2.0, standout=3.0, confidence=0.5, folded=2,
    spaces={"zh": common.SpaceScore(rank=2, score=0.25, standout=1.0), "en": common.SpaceScore(rank=1, score=0.5)},
)  # fmt: skip
SPACE = pb.Space(
    name="en", model="m", digest="d", dimension=512, languages=["en"], images=2**40, state="active", source="s",
    templates=["a photo of {}"],
)  # fmt: skip
REPOSITORY = pb.Repository(
    name="trips", profile="lite", images=3, spaces=[SPACE], size_bytes=2**60, last_ingest=_struct('{"added": 3}'),
    failures={"truncated": 2, "empty": 1},
)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            HIT,
            '{"rank": 1, "id": "a", "path": "/p/a.jpg", "score": 2.0, "width": 640, "height": 480, "metadata": '
            '{"is_public": true, "tags": ["sea", 1, {"a": null, "z": 1.5}], "year": 2024}, "spaces": {"en": '
            '{"rank": 1, "score": 0.5}, "zh": {"rank": 2, "score": 0.25}}, "confidence": 0.5, "folded": 2, "labels": '
            '[{"en": "dock", "zh": "码头", "probability": 0.5}]}',
        ),
        (
            REPOSITORY,
            '{"name": "trips", "profile": "lite", "images": 3, "size_bytes": 1152921504606846976, "failures": '
            '{"empty": 1, "truncated": 2}, "spaces": [{"name": "en", "model": "m", "digest": "d", "dimension": 512, '
            '"languages": ["en"], "images": 1099511627776, "state": "active", "source": "s", "templates": '
            '["a photo of {}"]}], "last_ingest": {"added": 3}, "problem": ""}',
        ),
        (
            pb.Repository(name="old", problem="it is damaged"),
            '{"name": "old", "profile": "", "images": 0, "size_bytes": 0, "failures": {}, "spaces": [], '
            '"last_ingest": {}, "problem": "it is damaged"}',
        ),
        (
            pb.Duplicate(image=IMAGE, similarity=1.0, distance=3),
            '{"id": "a", "path": "/p/a.jpg", "width": 640, "height": 480, "similarity": 1.0, "distance": 3}',
        ),
        (
            cpb.SelectResponse(probabilities=[0.5, 0.5], mass=1.0, model="m"),
            '{"choice": null, "probabilities": [0.5, 0.5], "mass": 1.0}',
        ),
        (
            cpb.SelectResponse(choice=0, probabilities=[1.0], mass=1.0),
            '{"choice": 0, "probabilities": [1.0], "mass": 1.0}',
        ),
        (
            pb.IngestFailure(path="/p/b.jpg", reason="empty", message="it has no bytes"),
            '{"path": "/p/b.jpg", "reason": "empty", "message": "it has no bytes"}',
        ),
        (
            pb.StoredSnapshot(name="s", created="2024-01-31T00:00:00Z", size_bytes=2**60),
            '{"name": "s", "created": "2024-01-31T00:00:00Z", "size_bytes": 1152921504606846976}',
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)  # fmt: skip
def test_a_message_has_the_promised_keys_in_their_order(message: Message, text: str) -> None:
    assert json.dumps(to_json(message), ensure_ascii=False) == text


def test_paths_select_the_keys_and_their_order() -> None:
    summary = pb.FillSummary(space=SPACE, filled=1, lacking=2)
    assert json.dumps(to_json(summary, "lacking", "space.state", "filled")) == (
        '{"lacking": 2, "state": "active", "filled": 1}'
    )
