"""Pictures that stand already: those a request insists on, and an article whose empty spots are filled."""

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from tests.actor import Actor
from tests.toy_indexer import PICTURES, ToyIndexer, serving
from tests.unit.composer.illustrate.test_retrieval import ARTICLE as LONG
from tests.unit.composer.illustrate.test_retrieval import illustrated, setting
from tests.unit.composer.illustrate.test_vlm import ARTICLE, CAT, COFFEE, MOTORCYCLE, SURE, Reader, Stage, shown
from xcomp_composer.article import edit_images, history
from xcomp_composer.article.events import SpotQuery
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import IllustrationOptions
from xcomp_composer.illustrate.pipeline import Source
from xcomp_model.base import ModelError, Picture
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import InvalidRequest, NotFound


@pytest.fixture
def stage() -> Iterator[Stage]:
    toy = ToyIndexer()
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        yield Stage(toy, rpc.IndexerStub(channel), Actor(), Reader())


def filled(stage: Stage, article: Article, wish: IllustrationOptions | None = None) -> Article:
    return edit_images.fill(article, *pipeline.fill(article, wish or IllustrationOptions(), stage.setting()))


def test_pictures_that_must_be_used_stand_where_they_fit_best(stage: Stage) -> None:
    article = illustrated(LONG, setting(stage.stub), IllustrationOptions(images=3, must_use=("bridge", "cat")))
    names = [picture.image_id for _, picture in article.illustrations]
    assert {"bridge", "cat"} <= set(names)
    cat = next((segment, picture) for segment, picture in article.illustrations if picture.image_id == "cat")
    assert "ginger cat" in article.segments[cat[0]].text
    assert (cat[1].chosen_by, cat[1].caption) == ("user", "Tabby")
    assert "asked for" in cat[1].reason
    assert len(set(names)) == len(names) == 3
    assert article.text == LONG


def test_a_model_chooses_around_pictures_that_must_be_used(stage: Stage) -> None:
    article = stage.article(wish=IllustrationOptions(images=2, must_use=("cat",)))
    assert shown(article)[CAT] == "cat"
    choices = [prompt for name, prompt in stage.actor.asked if name == "choose"]
    assert len(choices) == 1
    assert len(article.illustrations) == 2


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (IllustrationOptions(images=1, must_use=("cat", "bridge")), "options.images allows 1"),
        (IllustrationOptions(max_images=0, must_use=("cat",)), "options.max_images allows 0"),
        (IllustrationOptions(must_use=tuple(picture.id for picture in PICTURES)), "the text has places for 3"),
    ],
)
def test_more_pictures_than_can_stand_are_refused(stage: Stage, wish: IllustrationOptions, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        stage.events(wish=wish)


def test_a_picture_that_must_be_used_must_be_there(stage: Stage) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        stage.events(wish=IllustrationOptions(must_use=("nobody",)))


def test_an_article_that_broke_off_is_filled_without_doing_the_rest_again(stage: Stage) -> None:
    stage.actor.choices = [SURE, ModelError("out of memory"), ModelError("out of memory")]
    article = stage.article(wish=IllustrationOptions(images=3))
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
    stage.actor.choices = [SURE, ModelError("out of memory")]
    article = stage.article(wish=IllustrationOptions(images=2))
    stage.actor.asked.clear()
    filled(stage, article)
    ((_, prompt),) = [asked for asked in stage.actor.asked if asked[0] == "choose"]
    assert sum(isinstance(part, Picture) for part in prompt) == 5


def test_an_indexer_that_left_before_the_places_were_known_costs_no_word(stage: Stage) -> None:
    stage.toy.away_from = 2
    *_, article = pipeline.illustrate(Source(LONG, writer="echo"), IllustrationOptions(), setting(stage.stub))
    assert isinstance(article, Article)
    assert not article.illustrations
    stage.toy.away_from = 10**9
    pictures, unfilled = pipeline.fill(article, IllustrationOptions(), setting(stage.stub))
    again = edit_images.fill(article, pictures, unfilled)
    assert {picture.image_id for _, picture in again.illustrations} == {"coffee", "motorcycle", "cat"}


def test_spots_where_nothing_fits_are_the_shot_list_until_a_picture_comes(stage: Stage) -> None:
    few = ToyIndexer([picture for picture in PICTURES if picture.id in ("train", "bridge", "mountain", "lighthouse")])
    with serving(few) as address, grpc.insecure_channel(address) as channel:
        article = illustrated(LONG, setting(rpc.IndexerStub(channel)), IllustrationOptions(images=3))
    assert len(article.shots) == 3
    assert all(shot.query and "nothing fits" in shot.reason for shot in article.shots)
    pictures, unfilled = pipeline.fill(article, IllustrationOptions(), setting(stage.stub))
    assert len(pictures) + len(unfilled) == 3
    assert pictures


def test_an_article_without_empty_spots_has_nothing_to_fill(stage: Stage) -> None:
    article = stage.article(wish=IllustrationOptions(images=1))
    with pytest.raises(InvalidRequest, match="no spot"):
        filled(stage, article)


def test_evidence_of_every_choice_is_on_record(stage: Stage) -> None:
    stage.actor.choices = [SURE]
    ((_, picture),) = stage.article(wish=IllustrationOptions(images=1)).illustrations
    assert picture.evidence
    assert (picture.evidence.prompt, picture.evidence.mass, picture.evidence.orders) == ("actor/1", 0.9, 1)
    assert picture.content_hash == picture.candidates[0].content_hash != ""
    assert all(candidate.spaces["toy"].rank for candidate in picture.candidates)
    ((_, picture),) = illustrated(LONG, setting(stage.stub), IllustrationOptions(images=1)).illustrations
    assert picture.evidence
    assert 0 < (picture.evidence.mass or 0) <= 1
    assert picture.evidence.orders == 0


def test_a_description_is_asked_for_in_a_language_that_the_repository_understands(stage: Stage) -> None:
    stage.actor.lines = {"spot": ["0"], "query": ["一只猫", "ginger cat"]}
    live = stage.setting()
    live.repository.profile()
    live.repository._spoken = frozenset({"en"})  # as of a repository with one English space
    live = replace(live, repository=live.repository.under(replace(live.repository.conditions, language="zh")))
    text = "桌上放着一杯咖啡，很香。\n\n猫睡在草地上，胡须很长。"
    *events, article = pipeline.illustrate(Source(text), IllustrationOptions(images=1), live)
    assert [event.query for event in events if isinstance(event, SpotQuery)] == ["一只猫\nginger cat"]
    assert isinstance(article, Article)
    assert [picture.query for _, picture in article.illustrations] == ["一只猫\nginger cat"]
