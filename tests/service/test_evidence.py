"""What an article says its choices rest on: scores of every space, as the indexer itself gives them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests import images
from tests.fakes import OtherEmbedder
from tests.indexing import Indexer, serving
from tests.service.test_composer_service import serving as composing
from xcomp_composer.article import proto
from xcomp_composer.article.model import Article, Illustration
from xcomp_composer.bundle import writer
from xcomp_indexer.embed.base import Encoded, Prepared
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import indexer_pb2 as ipb

COLORS = {"red.jpg": images.RED, "green.jpg": images.GREEN, "blue.jpg": images.BLUE, "yellow.jpg": images.YELLOW}
ARTICLES = {
    "en": "The barn was red.\n\nThe meadow behind it was green.\n",
    "zh": "谷仓是红的。\n\n后面的草地是绿的。\n",
}
OTHER = "other:colors"


class Duller(OtherEmbedder):
    """Sees some grey in every image, so that its cosines are other ones."""

    def encode_batch(self, pictures: Sequence[Prepared]) -> Encoded:
        vectors = super().encode_batch(pictures).vectors + 0.2
        return Encoded(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture
def indexer(home: Path, photos: Path) -> Iterator[Indexer]:
    """Four images in two active spaces, of which `new` reads English alone."""
    with serving(home, others={OTHER: Duller()}) as running:
        images.library(photos, COLORS)
        running.ingest(photos)
        list(running.client.add_space(ipb.AddSpaceRequest(repository="default", space="new", model=OTHER)))
        running.client.switch_spaces(ipb.SwitchSpacesRequest(repository="default", spaces=["new", "color"]))
        yield running


def illustrated(indexer: Indexer, text: str) -> Article:
    options = pb.Options(repository="default", images=2, k=3)
    with composing(indexer.address) as composer:
        *_, last = composer.illustrate(pb.IllustrateRequest(text=text, options=options))
    return proto.from_proto(last.article)


def scores(indexer: Indexer, query: str, space: str) -> dict[str, float]:
    """What a space alone gives every image."""
    others = {each.name: 0.0 for each in indexer.library.get("default").held if each.name != space}
    answer = indexer.hits(query, k=4, language=common.LANGUAGE_ALL, space_weights=others)
    assert list(answer.spaces) == [space]
    return {hit.image.id: hit.spaces[space].score for hit in answer.hits}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_candidate_bears_the_scores_of_every_space(indexer: Indexer, language: str, tmp_path: Path) -> None:
    for illustration in illustrations(indexer, ARTICLES[language], tmp_path / "bundle"):
        for space in ("color", "new"):
            assert _of(illustration, space) == pytest.approx(_known(indexer, illustration, space), abs=1e-4)
        assert _of(illustration, "color") != _of(illustration, "new")


def test_with_one_space_candidates_bear_its_scores_for_the_query_of_their_spot(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    with serving(home) as indexer:
        images.library(photos, COLORS)
        indexer.ingest(photos)
        for illustration in illustrations(indexer, ARTICLES["en"], tmp_path / "bundle"):
            assert _of(illustration, "color") == pytest.approx(_known(indexer, illustration, "color"), abs=1e-4)


def illustrations(indexer: Indexer, text: str, folder: Path) -> list[Illustration]:
    """Illustrates two spots of three candidates each; returns what the bundle's article.json says."""
    writer.write_bundle(illustrated(indexer, text), folder, lambda *_: (images.jpeg(), ".jpg"))
    found = [segment.illustration for segment in writer.read_bundle(folder).segments if segment.illustration]
    assert [len(illustration.candidates) for illustration in found] == [3, 3]
    return found


def _of(illustration: Illustration, space: str) -> dict[str, float]:
    return {each.image_id: each.spaces[space].score for each in illustration.candidates}


def _known(indexer: Indexer, illustration: Illustration, space: str) -> dict[str, float]:
    known = scores(indexer, illustration.query, space)
    return {each.image_id: known[each.image_id] for each in illustration.candidates}
