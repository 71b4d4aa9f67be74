"""Images that an article has already: those that a request requires, and those of an article to be filled."""

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from tests.actor import Actor
from tests.toy_indexer import IMAGES, ToyIndexer, serving
from tests.unit.composer.illustrate.test_retrieval import ARTICLE as LONG
from tests.unit.composer.illustrate.test_retrieval import illustrated, setting
from tests.unit.composer.illustrate.test_vlm import (
    ARTICLE,
    CAT,
    COFFEE,
    MOTORCYCLE,
    SURE,
    CancellableCall,
    Stage,
    shown,
)
from xcomp_composer.article import edit_images, history
from xcomp_composer.article.events import SpotQuery
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import IllustrationOptions
from xcomp_composer.illustrate.pipeline import Source
from xcomp_composer.indexer_client.repository import SpaceLanguages
from xcomp_model.base import ImagePart, ModelFailure
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import InvalidRequest, NotFound


@pytest.fixture
def stage() -> Iterator[Stage]:
    toy = ToyIndexer()
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        yield Stage(toy, rpc.IndexerStub(channel), Actor(), CancellableCall())


def filled(stage: Stage, article: Article, options: IllustrationOptions | None = None) -> Article:
    return edit_images.fill(article, *pipeline.fill(article, options or IllustrationOptions(), stage.setting()))


def test_images_that_must_be_used_stand_where_they_fit_best(stage: Stage) -> None:
    article = illustrated(LONG, setting(stage.stub), IllustrationOptions(images=3, must_use=("bridge", "cat")))
    names = [image.image_id for _, image in article.illustrations]
    assert {"bridge", "cat"} <= set(names)
    cat = next((segment, image) for segment, image in article.illustrations if image.image_id == "cat")
    assert "ginger cat" in article.segments[cat[0]].text
    assert (cat[1].chosen_by, cat[1].caption) == ("user", "Tabby")
    assert "required by the request" in cat[1].reason
    assert len(set(names)) == len(names) == 3
    assert article.text == LONG


def test_a_model_chooses_around_images_that_must_be_used(stage: Stage) -> None:
    article = stage.article(options=IllustrationOptions(images=2, must_use=("cat",)))
    assert shown(article)[CAT] == "cat"
    choices = [prompt for name, prompt in stage.actor.asked if name == "choose"]
    assert len(choices) == 1
    assert len(article.illustrations) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (IllustrationOptions(images=1, must_use=("cat", "bridge")), "options.images allows 1"),
        (IllustrationOptions(max_images=0, must_use=("cat",)), "options.max_images allows 0"),
        (IllustrationOptions(must_use=tuple(image.id for image in IMAGES)), "the text has places for 3"),
    ],
)
def test_more_images_than_can_stand_are_refused(stage: Stage, options: IllustrationOptions, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        stage.events(options=options)


def test_a_image_that_must_be_used_must_be_there(stage: Stage) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        stage.events(options=IllustrationOptions(must_use=("nobody",)))


def test_filling_an_interrupted_article_repeats_no_finished_step(stage: Stage) -> None:
    stage.actor.choices = [SURE, ModelFailure("out of memory"), ModelFailure("out of memory")]
    article = stage.article(options=IllustrationOptions(images=3))
    assert set(shown(article)) == {COFFEE}
    assert [spot.interrupted for spot in article.unfilled] == [True, True]
    assert article.shots == ()
    stage.actor.asked.clear()
    again = filled(stage, article)
    assert set(stage.actor.stages()) <= {"choose", "describe"}  # places and descriptions are known
    assert shown(again)[COFFEE] == shown(article)[COFFEE]
    assert set(shown(again)) == {COFFEE, MOTORCYCLE, CAT}
    assert len(set(shown(again).values())) == 3
    assert again.unfilled == ()
    assert again.text == ARTICLE
    assert history.undo(again) == article


def test_the_model_sees_what_stands_when_it_fills(stage: Stage) -> None:
    stage.actor.choices = [SURE, ModelFailure("out of memory")]
    article = stage.article(options=IllustrationOptions(images=2))
    stage.actor.asked.clear()
    filled(stage, article)
    ((_, prompt),) = [asked for asked in stage.actor.asked if asked[0] == "choose"]
    assert sum(isinstance(part, ImagePart) for part in prompt) == 5


def test_an_article_is_filled_although_the_indexer_left_before_the_spots_were_known(stage: Stage) -> None:
    stage.toy.away_from = 2
    *_, article = pipeline.illustrate(Source(LONG, writer="echo"), IllustrationOptions(), setting(stage.stub))
    assert isinstance(article, Article)
    assert not article.illustrations
    stage.toy.away_from = 10**9
    images, unfilled = pipeline.fill(article, IllustrationOptions(), setting(stage.stub))
    again = edit_images.fill(article, images, unfilled)
    assert {image.image_id for _, image in again.illustrations} == {"coffee", "motorcycle", "cat"}


def test_spots_where_nothing_fits_are_the_shot_list_until_a_image_comes(stage: Stage) -> None:
    few = ToyIndexer([image for image in IMAGES if image.id in ("train", "bridge", "mountain", "lighthouse")])
    with serving(few) as address, grpc.insecure_channel(address) as channel:
        article = illustrated(LONG, setting(rpc.IndexerStub(channel)), IllustrationOptions(images=3))
    assert len(article.shots) == 3
    assert all(shot.query and "nothing fits" in shot.reason for shot in article.shots)
    images, unfilled = pipeline.fill(article, IllustrationOptions(), setting(stage.stub))
    assert len(images) + len(unfilled) == 3
    assert images


def test_an_article_without_empty_spots_has_nothing_to_fill(stage: Stage) -> None:
    article = stage.article(options=IllustrationOptions(images=1))
    with pytest.raises(InvalidRequest, match="no spot"):
        filled(stage, article)


def test_evidence_of_every_choice_is_on_record(stage: Stage) -> None:
    stage.actor.choices = [SURE]
    ((_, image),) = stage.article(options=IllustrationOptions(images=1)).illustrations
    assert image.evidence
    assert (image.evidence.prompt, image.evidence.mass, image.evidence.orders) == ("actor/1", 0.9, 1)
    assert image.content_hash == image.candidates[0].content_hash != ""
    assert all(candidate.spaces["toy"].rank for candidate in image.candidates)
    ((_, image),) = illustrated(LONG, setting(stage.stub), IllustrationOptions(images=1)).illustrations
    assert image.evidence
    assert 0 < (image.evidence.mass or 0) <= 1
    assert image.evidence.orders == 0


def test_a_description_is_asked_for_in_a_language_that_the_repository_understands(stage: Stage) -> None:
    stage.actor.lines = {"spot": ["0"], "query": ["一只猫", "ginger cat"]}
    live = stage.setting()
    english = (SpaceLanguages("toy", frozenset({"en"})),)
    conditions = replace(live.repository.conditions, language="zh")
    live = replace(live, repository=replace(live.repository, spaces=english, conditions=conditions))
    text = "桌上放着一杯咖啡，很香。\n\n猫睡在草地上，胡须很长。"
    *events, article = pipeline.illustrate(Source(text), IllustrationOptions(images=1), live)
    assert [event.query for event in events if isinstance(event, SpotQuery)] == ["一只猫\nginger cat"]
    assert isinstance(article, Article)
    assert [image.query for _, image in article.illustrations] == ["一只猫\nginger cat"]
