"""An illustrator that sees: the model decides, every decision is recorded, and an undecided spot stays empty."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest

from tests.actor import Actor
from tests.toy_indexer import IMAGES, PatientCallContext, ToyImage, ToyIndexer, serving
from xcomp_composer.article.events import Event, Spot, SpotCandidates, SpotIllustration, SpotQuery
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import CandidateImage, IllustrationOptions, SelectionRequest
from xcomp_composer.illustrate.pipeline import Setting, Source
from xcomp_composer.illustrate.vlm import illustrator
from xcomp_composer.illustrate.vlm.illustrator import VlmIllustrator
from xcomp_composer.illustrate.vlm.images import MAX_PX
from xcomp_composer.illustrate.vlm.placement import MAX_NAMED, WINDOW
from xcomp_composer.illustrate.vlm.selection import needed_probability, pick_clear
from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.model_pool.session import CHARACTERS_PER_TOKEN, LoadedModel, ModelSession
from xcomp_model.base import Choice, EndpointUnavailable, ImagePart, ModelFailure
from xcomp_protos import errors
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import Cancelled, Denied, InvalidRequest, NotFound, Unavailable

ARTICLE = """# A week

A cup of espresso stood on the wooden table.

## The garage

In the garage stood the red motorcycle.

```
code of no interest
```

The ginger cat slept in the grass.
"""
COFFEE, MOTORCYCLE, CAT = 1, 3, 5  # segments
SURE = (0.9, 0.05, 0.03, 0.02)


class CancellableCall(PatientCallContext):
    """A call that a test can cancel."""

    is_over = False

    def remaining_s(self) -> float:
        if self.is_over:
            raise Cancelled("the caller went away")
        return 600.0

    def is_cancelled(self) -> bool:
        return self.is_over


def open_toy(stub: rpc.IndexerStub, call: CallContext, *, language: str = "en") -> RepositoryClient:
    return RepositoryClient.open(IndexerConnection(stub, "toy", call), Conditions("toy", language=language))


@dataclass
class Stage:
    """A toy repository, an actor, and a call."""

    toy: ToyIndexer
    stub: rpc.IndexerStub
    actor: Actor
    call: CancellableCall

    def setting(self) -> Setting:
        repository = open_toy(self.stub, self.call)
        illustrator = VlmIllustrator(ModelSession(LoadedModel(self.actor, FairQueue(width=1, waiting=1)), self.call))
        return Setting(repository, illustrator)

    def events(
        self, text: str = ARTICLE, options: IllustrationOptions | None = None, *, writer: str = ""
    ) -> list[Event]:
        return list(pipeline.illustrate(Source(text, writer=writer), options or IllustrationOptions(), self.setting()))

    def article(self, text: str = ARTICLE, options: IllustrationOptions | None = None, *, writer: str = "") -> Article:
        *_, article = self.events(text, options, writer=writer)
        assert isinstance(article, Article)
        return article


def shown(article: Article) -> dict[int, str]:
    return {number: image.image_id for number, image in article.illustrations}


def reasons(article: Article) -> dict[int, str]:
    return {unfilled.segment: unfilled.reason for unfilled in article.unfilled}


@pytest.fixture
def stage() -> Iterator[Stage]:
    toy = ToyIndexer()
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        yield Stage(toy, rpc.IndexerStub(channel), Actor(), CancellableCall())


def test_a_model_names_spots_describes_images_and_chooses(stage: Stage) -> None:
    stage.actor.lines = {"spot": ["2 0"], "query": ["espresso cup", "ginger cat"]}
    stage.actor.choices = [SURE, (0.1, 0.8, 0.05, 0.05)]
    article = stage.article(options=IllustrationOptions(images=2))
    assert stage.actor.stages()[:5] == ["spot", "query", "query", "choose", "choose"]
    assert set(shown(article)) == {COFFEE, CAT}
    first, second = (image for _, image in article.illustrations)
    assert (first.image_id, first.query, first.probability, first.chosen_by) == ("coffee", "espresso cup", 0.9, "actor")
    assert second.image_id == second.candidates[0].image_id != "cat"
    assert [candidate.probability for candidate in second.candidates] == [0.8, 0.1, 0.05, 0.05]
    assert "mass 0.90" in first.reason
    assert "actor/1" in first.reason
    assert article.text == ARTICLE


def test_spots_come_first_then_the_choice_for_each(stage: Stage) -> None:
    kinds = [type(event) for event in stage.events(options=IllustrationOptions(images=2))]
    course = [SpotCandidates, SpotIllustration]
    assert kinds == [Spot, Spot, SpotQuery, SpotQuery, *course, *course, Article]


def test_an_article_asks_the_indexer_twice_and_fetches_images(stage: Stage) -> None:
    article = stage.article(options=IllustrationOptions(images=3))
    assert len(article.illustrations) == 3
    assert [call for call in stage.toy.calls if call != "Fetch"] == ["Describe", "Search"]


def test_the_model_reads_headings_with_their_paragraphs_and_no_code(stage: Stage) -> None:
    stage.events(options=IllustrationOptions(images=3))
    queries = [
        "".join(getattr(part, "text", "") for part in prompt) for name, prompt in stage.actor.asked if name == "query"
    ]
    assert queries[0].startswith("queryA week\nA cup")
    assert queries[1].startswith("queryThe garage\nIn the garage")
    assert "code" not in "".join(queries)


def test_earlier_text_and_images_stand_before_the_candidates(stage: Stage) -> None:
    stage.events(options=IllustrationOptions(images=2))
    first, second = [prompt for name, prompt in stage.actor.asked if name == "choose"]
    assert sum(isinstance(part, ImagePart) for part in first) == 4
    assert sum(isinstance(part, ImagePart) for part in second) == 5
    images = [part for part in second if isinstance(part, ImagePart)]
    assert images[0] not in images[1:]


def test_no_image_and_none_like_it_is_shown_twice(stage: Stage) -> None:
    twin = ToyImage("coffee-2", "cup coffee espresso table 咖啡 杯子", content_hash="other bytes")
    with serving(ToyIndexer([*IMAGES, twin])) as address, grpc.insecure_channel(address) as channel:
        stage.stub = rpc.IndexerStub(channel)
        stage.actor.lines = {"query": ["espresso cup"] * 3}
        article = stage.article(options=IllustrationOptions(images=3))
    assert len(set(shown(article).values())) == 3
    assert sum(name.startswith("coffee") for name in shown(article).values()) == 1


def test_more_candidates_than_the_model_takes_meet_in_rounds(stage: Stage) -> None:
    article = stage.article(options=IllustrationOptions(images=1, k=8))
    ((_, image),) = article.illustrations
    assert len(image.candidates) == 8
    assert stage.actor.stages().count("choose") == 3
    assert sum(candidate.probability or 0.0 for candidate in image.candidates) == pytest.approx(1, abs=0.001)


def test_a_model_without_a_preference_leaves_the_spot_empty(stage: Stage) -> None:
    stage.actor.choices = [(0.28, 0.25, 0.24, 0.23)]
    article = stage.article(options=IllustrationOptions(images=1))
    assert not shown(article)
    (spot,) = article.unfilled
    assert "prefers none of 4 candidates: the best has 28%" in spot.reason
    assert [candidate.probability for candidate in spot.candidates] == [0.28, 0.25, 0.24, 0.23]


@pytest.mark.parametrize("count", [1, 2, 4, 64])
def test_the_threshold_lies_between_chance_and_certainty(count: int) -> None:
    even = Choice((1 / count,) * count, 1.0)
    assert 1 / count <= needed_probability(count) <= 1
    assert (pick_clear(even) is None) is (count > 1)
    assert pick_clear(Choice((1.0, *[0.0] * (count - 1)), 1.0)) == 0


@pytest.mark.parametrize("answer", ["none", "77 -1 1e9 <Seg99>", "² ½", "9" * 500])
def test_an_answer_without_a_place_is_reported_and_not_replaced(stage: Stage, answer: str) -> None:
    stage.actor.lines = {"spot": [answer]}
    article = stage.article()
    assert not shown(article)
    assert list(reasons(article).values()) == ["actor named no place for an image (prompt actor/1)"]


def test_missing_places_are_reported_as_many_as_they_are(stage: Stage) -> None:
    stage.actor.lines = {"spot": ["1 1 1"]}
    article = stage.article(options=IllustrationOptions(images=3))
    assert set(shown(article)) == {MOTORCYCLE}
    assert set(reasons(article)) == {COFFEE, CAT}
    assert "named 1 of 3 places" in reasons(article)[CAT]


def test_more_places_than_wanted_are_thinned_out_evenly(stage: Stage) -> None:
    text = "\n\n".join(f"The ginger cat number {number} slept." for number in range(9))
    stage.actor.lines = {"spot": [" ".join(map(str, range(9)))]}
    spots = [event.segment for event in stage.events(text, IllustrationOptions(images=3)) if isinstance(event, Spot)]
    assert spots == [0, 3, 6]


def test_nothing_is_asked_where_no_image_is_wanted(stage: Stage) -> None:
    assert stage.article(options=IllustrationOptions(images=0)).unfilled == ()
    assert stage.article("# Only a heading\n").unfilled == ()
    assert stage.actor.asked == []


def test_a_long_article_is_asked_about_in_parts(stage: Stage) -> None:
    count = 2 * WINDOW + 10
    text = "\n\n".join(f"The ginger cat number {number} slept." for number in range(count))
    stage.actor.lines = {"spot": ["0", "0", "0"]}
    spots = [event.segment for event in stage.events(text, IllustrationOptions(images=3)) if isinstance(event, Spot)]
    assert spots == [0, count // 3, 2 * count // 3]


def test_many_places_are_asked_for_in_parts_so_that_no_answer_is_cut(stage: Stage) -> None:
    text = "\n\n".join(f"The ginger cat number {number} slept." for number in range(WINDOW))
    stage.actor.lines = {"spot": [" ".join(map(str, range(WINDOW)))] * WINDOW}
    spots = [event for event in stage.events(text, IllustrationOptions(images=WINDOW - 3)) if isinstance(event, Spot)]
    assert stage.actor.stages().count("spot") == -(-(WINDOW - 3) // MAX_NAMED) > 1
    assert [event.score for event in spots] == [1.0] * (WINDOW - 3)


def test_a_description_that_is_missing_or_failed_leaves_its_spot_empty(stage: Stage) -> None:
    stage.actor.lines = {"query": [" \n ", ModelFailure("out of memory on cpu"), "ginger cat"]}
    article = stage.article(options=IllustrationOptions(images=3))
    assert set(shown(article)) == {CAT}
    assert reasons(article) == {
        COFFEE: "actor described no image for this place (prompt actor/1)", MOTORCYCLE: "out of memory on cpu"
    }  # fmt: skip


def test_a_failed_choice_leaves_its_spot_empty_and_the_others_alone(stage: Stage) -> None:
    stage.actor.choices = [ModelFailure("only 3% of its probability"), SURE]
    article = stage.article(options=IllustrationOptions(images=2))
    assert set(shown(article)) == {MOTORCYCLE}
    assert reasons(article) == {COFFEE: "only 3% of its probability"}
    assert article.unfilled[0].candidates


def test_an_endpoint_that_goes_away_leaves_the_rest_empty_with_the_reason(stage: Stage) -> None:
    stage.actor.choices = [SURE, EndpointUnavailable("the endpoint does not answer")]
    article = stage.article(options=IllustrationOptions(images=3))
    assert set(shown(article)) == {COFFEE}
    assert reasons(article) == dict.fromkeys((MOTORCYCLE, CAT), "the endpoint does not answer")


def test_an_endpoint_that_is_away_from_the_start_is_an_error(stage: Stage) -> None:
    stage.actor.lines = {"spot": [EndpointUnavailable("the endpoint does not answer")]}
    with pytest.raises(Unavailable, match="does not answer"):
        stage.events()


def test_descriptions_are_delivered_although_the_indexer_leaves_before_the_search(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object) -> None:
        raise Unavailable("the indexer is away")

    stage.actor.lines = {"spot": ["0 1"], "query": ["espresso cup", "ginger cat"]}
    monkeypatch.setattr(illustrator, "group_similar", leave)
    article = stage.article(options=IllustrationOptions(images=2))
    assert [(spot.query, spot.reason, spot.interrupted) for spot in article.unfilled] == [
        ("espresso cup", "the indexer is away", True), ("ginger cat", "the indexer is away", True)
    ]  # fmt: skip


def test_a_written_article_is_delivered_although_the_model_fails_to_place(stage: Stage) -> None:
    stage.actor.lines = {"spot": [ModelFailure("no memory")]}
    article = stage.article(writer="actor")
    assert set(reasons(article).values()) == {"no memory"}
    stage.actor.lines = {"spot": [ModelFailure("no memory")]}
    with pytest.raises(errors.ModelError, match="no memory"):
        stage.events()


def test_an_indexer_that_goes_away_in_the_middle_leaves_what_is_chosen(stage: Stage) -> None:
    stage.actor.on_choice = lambda: setattr(stage.toy, "away_from", len(stage.toy.calls) + 1)
    stage.actor.lines = {"query": ["ginger cat", "snow mountain peak", "steam train"]}
    article = stage.article(options=IllustrationOptions(images=3))
    assert set(shown(article)) == {COFFEE}
    assert reasons(article)[CAT] == "the indexer is away"


def test_images_that_are_gone_make_room_for_the_next(stage: Stage) -> None:
    kind, missing = stage.toy.fetch, {"cat"}

    def fetch(image_id: str, max_px: int) -> tuple[bytes, str]:
        assert max_px == MAX_PX
        if image_id in missing:
            raise NotFound(f"{image_id} is gone")
        return kind(image_id, max_px) if image_id != "coffee" else (b"no picture", ".jpg")

    stage.toy.fetch = fetch  # type: ignore[method-assign]  # the indexer's files change
    stage.actor.lines = {"spot": ["0"], "query": ["ginger cat coffee cup"]}
    ((_, image),) = stage.article(options=IllustrationOptions(images=1, k=3)).illustrations
    assert len(image.candidates) == 3
    assert not {"cat", "coffee"} & {candidate.image_id for candidate in image.candidates}
    missing |= set(stage.toy.images)
    assert "can be read: " in next(iter(reasons(stage.article(options=IllustrationOptions(images=1))).values()))


def test_restricted_images_are_fetched_by_requests_that_allow_them(stage: Stage) -> None:
    stage.toy.restricted = {"cat"}
    repository = open_toy(stage.stub, stage.call)
    with pytest.raises(Denied, match="internal"):
        repository.fetch("cat", max_px=64)
    assert repository.with_conditions(Conditions("toy", allow_restricted=True)).fetch("cat", max_px=64)


def test_a_image_is_fetched_once_for_all_spots(stage: Stage) -> None:
    stage.actor.lines = {"query": ["ginger cat"] * 3}
    stage.events(options=IllustrationOptions(images=3))
    assert stage.toy.calls.count("Fetch") == 6  # four, and one more for each taken


def test_an_empty_repository_has_nothing_to_offer(stage: Stage) -> None:
    with serving(ToyIndexer([])) as address, grpc.insecure_channel(address) as channel:
        stage.stub = rpc.IndexerStub(channel)
        article = stage.article(options=IllustrationOptions(images=1))
    assert list(reasons(article).values()) == ["the repository has no image to offer"]


def test_captions_are_the_images_own_words_else_what_the_model_sees(stage: Stage) -> None:
    stage.actor.lines = {"query": ["cup coffee espresso", "stone bridge"], "describe": ["A bridge\x1b[2J\nof stone."]}
    coffee, bridge = (image for _, image in stage.article(options=IllustrationOptions(images=2)).illustrations)
    assert coffee.caption == "A cup of espresso"
    assert (bridge.caption, bridge.alt) == ("A bridge[2J of stone.",) * 2


def test_an_endless_answer_is_cut(stage: Stage) -> None:
    stage.actor.lines = {"spot": ["0 " * 10**6]}
    session = ModelSession(LoadedModel(stage.actor, FairQueue(width=1, waiting=0)), stage.call)
    said = session.say(lambda prompts: prompts.spot(["a"]), "spot")
    assert len(said) == 64 * CHARACTERS_PER_TOKEN


def test_a_caller_who_leaves_ends_the_work_at_once(stage: Stage) -> None:
    stage.actor.on_choice = lambda: setattr(stage.call, "is_over", True)
    with pytest.raises(Cancelled):
        stage.events(options=IllustrationOptions(images=3))
    assert stage.actor.stages().count("choose") == 1


def test_an_answer_ends_within_one_token_after_a_cancellation(stage: Stage) -> None:
    session = ModelSession(LoadedModel(stage.actor, FairQueue(width=1, waiting=0)), stage.call)
    stream = session.stream(lambda prompts: prompts.query(["word " * 60], 0), "query")
    assert next(stream)
    stage.call.is_over = True
    with pytest.raises(Cancelled):
        next(stream)


def test_a_cancelled_call_gets_no_answer(stage: Stage) -> None:
    stage.call.is_over = True
    with pytest.raises(Cancelled):
        stage.events()


def test_the_queue_is_free_again_after_a_stream_is_dropped(stage: Stage) -> None:
    session = ModelSession(LoadedModel(stage.actor, FairQueue(width=1, waiting=0)), stage.call)
    stream = session.stream(lambda prompts: prompts.query(["one two three"], 0), "query")
    assert next(stream)
    del stream
    assert session.say(lambda prompts: prompts.query(["free"], 0), "query") == "free"


def test_select_asks_the_model(stage: Stage) -> None:
    setting = stage.setting()
    data, _ = stage.toy.fetch("cat", 64)
    stage.actor.choices = [(0.1, 0.9)]
    made = setting.illustrator.select(
        SelectionRequest("Words.", (CandidateImage("coffee"), CandidateImage(image=data))), setting.repository
    )
    assert (made.choice, made.probabilities, made.mass) == (1, (0.1, 0.9), 0.9)


def test_select_refuses_what_it_cannot_see(stage: Stage) -> None:
    setting = stage.setting()
    with pytest.raises(NotFound, match="nobody"):
        setting.illustrator.select(SelectionRequest("Words.", (CandidateImage("nobody"),)), setting.repository)
    with pytest.raises(InvalidRequest, match="number 0 is not a readable image"):
        setting.illustrator.select(SelectionRequest("Words.", (CandidateImage(image=b"x"),)), setting.repository)


def test_reasons_are_in_the_articles_language(stage: Stage) -> None:
    stage.actor.lines = {"spot": [""]}
    repository = open_toy(stage.stub, stage.call, language="zh")
    setting = Setting(repository, stage.setting().illustrator)
    *_, article = pipeline.illustrate(Source("桌上放着一杯咖啡，很香。"), IllustrationOptions(), setting)
    assert isinstance(article, Article)
    assert "没有指出" in article.unfilled[0].reason


def test_a_short_article_is_done_before_the_long_ones_that_came_first(stage: Stage) -> None:
    long = "\n\n".join(f"The ginger cat number {number} slept." for number in range(8))
    served = LoadedModel(stage.actor, lane := FairQueue(width=1, waiting=8))
    have_come = threading.Event()

    def work() -> None:
        while not have_come.is_set() and len(lane._queue) < 2:  # both others wait: what was first has not ended
            time.sleep(0.001)
        have_come.set()
        time.sleep(0.02)

    stage.actor.on_choice = work
    done: list[str] = []

    def make(name: str, text: str, images: int) -> None:
        call = CancellableCall()
        repository = open_toy(stage.stub, call)
        setting = Setting(repository, VlmIllustrator(ModelSession(served, call)))
        list(pipeline.illustrate(Source(text), IllustrationOptions(images=images), setting))
        done.append(name)

    orders = [("long", long, 8), ("other long", long, 8), ("short", "A cup of espresso stood on the table.", 1)]
    makers = [threading.Thread(target=make, args=order) for order in orders]
    for maker in makers:
        maker.start()
        while not stage.actor.asked:
            time.sleep(0.001)
    for maker in makers:
        maker.join(timeout=30)
    assert sorted(done) == ["long", "other long", "short"]
    assert done[0] == "short"
