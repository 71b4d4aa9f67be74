"""Two articles of twenty segments, English and Chinese: by real photographs, by models, by an endpoint."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import openai_server
from tests.checkpoints import write_checkpoint
from tests.e2e.test_models import server
from tests.openai_server import composing
from tests.service.test_composer_models import serving
from tests.toy_indexer import ToyIndexer
from tests.toy_indexer import serving as toy_serving
from xcomp_composer.article import proto
from xcomp_composer.article.model import Article
from xcomp_composer.document.splitting import split_blocks
from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import indexer_pb2
from xcomp_protos.client import ComposerClient, IndexerClient

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh")
TEXTS = {name: (ROOT / "tests" / "articles" / f"twenty.{name}.md").read_text(encoding="utf-8") for name in LANGUAGES}
PHOTOS = ("coffee", "chelsea", "motorcycle", "rocket", "flowers1", "church")  # words in the names of the files


def illustrated(client: ComposerClient, text: str, options: pb.Options) -> Article:
    *_, last = client.illustrate(pb.IllustrateRequest(text=text, options=options))
    return proto.from_proto(last.article)


def check(article: Article, text: str, *, spots: int) -> None:
    """Every word is there, every spot is accounted for, and no image stands twice."""
    assert article.text == text
    assert len(article.segments) == 20
    ids = [image.image_id for _, image in article.illustrations]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(article.unfilled) == spots
    assert all(image.evidence and image.candidates for _, image in article.illustrations)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposerClient]:
    """A composer on a repository of real photographs, with the models of the profile `lite`."""
    folder = tmp_path_factory.mktemp("lite")
    subprocess.run([sys.executable, ROOT / "demo" / "collect.py", folder / "all"], check=True, capture_output=True)
    (folder / "photos").mkdir()
    for file in sorted((folder / "all").rglob("*")):
        if any(word in file.name.lower() for word in PHOTOS):
            shutil.copy2(file, folder / "photos" / file.name)
    options = ("--profile", "lite", "--home", str(folder / "home"), "--allow-root", str(folder))
    with ExitStack() as stack:
        indexer = stack.enter_context(server("xcomp_indexer.server.main", *options))
        with IndexerClient(indexer, timeout_s=120) as client:
            request = indexer_pb2.IngestRequest(repository="photos", paths=[str(folder / "photos")], profile="lite")
            *_, last = client.ingest(request)
            assert last.summary.added >= len(PHOTOS)
        composer = stack.enter_context(server("xcomp_composer.server.main", "--indexer", indexer))
        yield stack.enter_context(ComposerClient(composer, timeout_s=120))


@pytest.mark.parametrize("language", LANGUAGES)
def test_real_photographs_find_their_paragraphs(lite: ComposerClient, language: str) -> None:
    article = illustrated(lite, TEXTS[language], pb.Options(repository="photos", images=6))
    check(article, TEXTS[language], spots=6)
    assert article.language == language
    segments = article.segments
    shown = {Path(image.path).stem.lower(): segments[number].text for number, image in article.illustrations}
    words = {"en": {"motorcycle": "motorcycle", "coffee": "coffee"}, "zh": {"motorcycle": "摩托车", "coffee": "咖啡"}}
    placed = [name for name in words[language] for stem in shown if name in stem]
    assert placed, shown
    for name, word in words[language].items():
        for stem, text in shown.items():
            assert name not in stem or word in text or "espresso" in text


def of_models(models: ModelPool, name: str, texts: Sequence[str]) -> list[Article]:
    with toy_serving(ToyIndexer()) as address, serving(address, models) as client:
        return [illustrated(client, text, pb.Options(repository="toy", model=name, images=6)) for text in texts]


@pytest.mark.parametrize("version", [1, 2])
def test_tiny_models_illustrate_both(tmp_path: Path, version: int) -> None:
    folder = str(write_checkpoint(version, tmp_path))
    for article, text in zip(
        of_models(ModelPool(EndpointConfig(), allowed={"*"}), folder, list(TEXTS.values())), TEXTS.values(), strict=True
    ):
        check(article, text, spots=6)
        assert article.illustrations


def test_an_endpoint_illustrates_both() -> None:
    with openai_server.serving(composing(spots="1, 3, 5, 7, 9, 11")) as (url, _):
        made = of_models(ModelPool(EndpointConfig(url)), "openai:m", list(TEXTS.values()))
    for article, text in zip(made, TEXTS.values(), strict=True):
        check(article, text, spots=6)
        assert len(article.illustrations) >= 1
        assert all("chat-2" in image.evidence.prompt for _, image in article.illustrations if image.evidence)


def test_the_articles_have_twenty_segments() -> None:
    assert [len(split_blocks(text)) for text in TEXTS.values()] == [20, 20]
