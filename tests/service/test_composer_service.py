"""The composer over gRPC, with a small indexer on the other side of another socket."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests import toy_indexer
from tests.toy_indexer import ToyIndexer
from tests.unit.composer.illustrate.test_retrieval import ARTICLE
from xcomp_composer.article import proto
from xcomp_composer.article.model import Article
from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool
from xcomp_composer.server.service import ComposerService, Dependencies
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import composer_pb2_grpc as rpc
from xcomp_protos.client import ComposerClient
from xcomp_protos.client.retry import Retry
from xcomp_protos.errors import Conflict, Exhausted, InvalidRequest, NotFound, Unavailable, Unsupported, XcompError
from xcomp_protos.server.run import ServerEndpoint, ServiceSpec, start_server

TOY = pb.Options(repository="toy")


@contextmanager
def serving(indexer: str) -> Iterator[ComposerClient]:
    service = ComposerService(Dependencies(indexer, ModelPool(EndpointConfig())))
    register = ServiceSpec("xcomp.v1.Composer", lambda server: rpc.add_ComposerServicer_to_server(service, server))
    try:
        with start_server([register], ServerEndpoint("127.0.0.1:0")) as running:
            running.set_health(health_pb2.HealthCheckResponse.SERVING)
            with ComposerClient(running.address, timeout_s=20, retry=Retry(attempts=1)) as client:
                yield client
    finally:
        service.close()


@pytest.fixture
def toy() -> ToyIndexer:
    return ToyIndexer()


@pytest.fixture
def composer(toy: ToyIndexer) -> Iterator[ComposerClient]:
    with toy_indexer.serving(toy) as address, serving(address) as client:
        yield client


def illustrated(composer: ComposerClient, text: str = ARTICLE, **options: object) -> Article:
    asked = pb.Options(repository="toy", **options)  # type: ignore[arg-type]
    *_, last = composer.illustrate(pb.IllustrateRequest(text=text, options=asked))
    return proto.from_proto(last.article)


def edited(composer: ComposerClient, article: Article, operation: pb.EditOperation) -> Article:
    request = pb.EditRequest(article=proto.to_proto(article), operation=operation, options=TOY)
    return proto.from_proto(composer.edit(request))


def test_illustrate_streams_every_step_and_the_article_last(composer: ComposerClient) -> None:
    events = list(composer.illustrate(pb.IllustrateRequest(text=ARTICLE, options=TOY)))
    kinds = [str(event.WhichOneof("event")) for event in events]
    assert kinds[:4] == ["spot", "query", "candidates", "illustration"]
    assert kinds[-1] == "article"
    article = proto.from_proto(events[-1].article)
    assert article.text == ARTICLE
    assert {image.image_id for _, image in article.illustrations} == {"coffee", "motorcycle", "cat"}
    assert (article.model, article.profile, article.repository) == ("retrieval", "lite", "toy")


@pytest.mark.parametrize(
    "text", ["Words.\r\nA cup of espresso on the table.", "\ufeff# T\n\nWords \u2028 and \x0b words."]
)
def test_every_word_comes_back_as_it_was(composer: ComposerClient, text: str) -> None:
    assert illustrated(composer, text).text == text


def test_plain_text_is_illustrated(composer: ComposerClient) -> None:
    request = pb.IllustrateRequest(text="The red motorcycle stood in the garage.\n", format="text", options=TOY)
    *_, last = composer.illustrate(request)
    assert [segment.illustration.image_id for segment in last.article.segments] == ["motorcycle"]


def test_a_page_is_illustrated(composer: ComposerClient) -> None:
    text = "<!doctype html>\n<p>The red motorcycle stood in the garage.</p>\n<ul><li>The red motorcycle.</li></ul>\n"
    *_, last = composer.illustrate(pb.IllustrateRequest(text=text, format="html", options=TOY))
    article = proto.from_proto(last.article)
    assert [(number, image.image_id) for number, image in article.illustrations] == [(1, "motorcycle")]
    assert (article.text, article.format) == (text, "html")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.IllustrateRequest(text="", options=TOY), "text"),
        (pb.IllustrateRequest(text=" \n\ufeff", options=TOY), "text"),
        (pb.IllustrateRequest(text="Words."), "repository"),
        (pb.IllustrateRequest(text="Words.", format="docx", options=TOY), "format"),
        (pb.IllustrateRequest(text="Words.", options=pb.Options(repository="toy", k=65)), "k"),
        (pb.IllustrateRequest(text="Words.", options=pb.Options(repository="toy", k=8, pool=7)), "pool"),
        (pb.IllustrateRequest(text="Words.", options=pb.Options(repository="toy", model="gpt")), "model"),
        (pb.IllustrateRequest(text="Words.", options=pb.Options(repository="toy", language=99)), "language"),  # type: ignore[arg-type]  # of another version
        (
            pb.IllustrateRequest(
                text="Words.", options=pb.Options(repository="toy", must_use_ids=["cat"], exclude_ids=["cat"])
            ),
            "must_use_ids",
        ),
    ],
)
def test_bad_input_names_its_field(composer: ComposerClient, request_: pb.IllustrateRequest, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        list(composer.illustrate(request_))


def test_an_unknown_repository_is_not_found(composer: ComposerClient) -> None:
    request = pb.IllustrateRequest(text="Words.", options=pb.Options(repository="nowhere"))
    with pytest.raises(NotFound, match="nowhere"):
        list(composer.illustrate(request))


def test_a_contradicting_profile_is_a_conflict(composer: ComposerClient) -> None:
    request = pb.IllustrateRequest(text="Words.", options=pb.Options(repository="toy", profile="clip"))
    with pytest.raises(Conflict, match="lite"):
        list(composer.illustrate(request))


def test_an_indexer_that_is_away_is_unavailable() -> None:
    with serving("127.0.0.1:1") as composer, pytest.raises(Unavailable, match="indexer"):
        list(composer.illustrate(pb.IllustrateRequest(text=ARTICLE, options=TOY)))


def test_an_indexer_that_leaves_before_anything_was_made_is_unavailable(
    composer: ComposerClient, toy: ToyIndexer
) -> None:
    toy.away_from = 2
    with pytest.raises(Unavailable, match="away"):
        list(composer.illustrate(pb.IllustrateRequest(text=ARTICLE, options=TOY)))


@pytest.mark.parametrize(
    ("model", "language", "words"),
    [
        ("retrieval", common.LANGUAGE_EN, "does not write"),
        ("", common.LANGUAGE_ZH, "drafts English only"),
    ],
)
def test_a_model_that_cannot_write_is_refused_with_ways_out(
    composer: ComposerClient, model: str, language: common.Language.ValueType, words: str
) -> None:
    options = pb.Options(repository="toy", model=model, language=language)
    with pytest.raises(Unsupported, match=f"{words}.*--model"):
        list(composer.compose(pb.ComposeRequest(instruction="Write about coffee.", options=options)))


def test_compose_streams_the_words_and_illustrates_them(composer: ComposerClient) -> None:
    request = pb.ComposeRequest(instruction=ARTICLE, options=pb.Options(repository="toy", model="echo"))
    events = list(composer.compose(request))
    article = proto.from_proto(events[-1].article)
    assert "".join(event.text.text for event in events if event.HasField("text")) == article.text
    assert article.model == "echo"
    assert article.illustrations
    assert set(article.seconds) == {"write", "illustrate"}


def test_a_written_article_is_delivered_when_the_indexer_leaves(composer: ComposerClient, toy: ToyIndexer) -> None:
    toy.away_from = 2
    request = pb.ComposeRequest(instruction=ARTICLE, options=pb.Options(repository="toy", model="echo"))
    article = proto.from_proto(list(composer.compose(request))[-1].article)
    assert article.illustrations == ()
    assert {spot.reason for spot in article.unfilled} == {"the indexer is away"}


def test_chat_is_refused_with_a_way_out(composer: ComposerClient) -> None:
    request = pb.ChatRequest(turns=[pb.ChatTurn(text="What is this?")], options=TOY)
    with pytest.raises(Unsupported, match=r"retrieval cannot chat.*openai"):
        list(composer.chat(request))


def test_a_model_that_can_chat_answers(composer: ComposerClient) -> None:
    request = pb.ChatRequest(turns=[pb.ChatTurn(text="hello there")], options=pb.Options(model="echo"))
    assert "".join(event.text for event in composer.chat(request)) == "hello there"


def test_select_chooses_and_says_how_sure(composer: ComposerClient) -> None:
    candidates = [pb.SelectCandidate(image_id=name) for name in ("train", "coffee")]
    request = pb.SelectRequest(context="A cup of espresso stood on the table.", candidates=candidates, options=TOY)
    made = composer.select(request)
    assert made.choice == 1
    assert sum(made.probabilities) == pytest.approx(1)
    assert made.model == "retrieval"


def test_select_may_find_nothing_fitting(composer: ComposerClient) -> None:
    request = pb.SelectRequest(
        context="Freedom is a habit of doubt.", candidates=[pb.SelectCandidate(image_id="train")], options=TOY
    )
    assert not composer.select(request).HasField("choice")


def choice(context: str, *candidates: str) -> pb.SelectRequest:
    named = [pb.SelectCandidate(image_id=name) for name in candidates]
    return pb.SelectRequest(context=context, candidates=named, options=TOY)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (choice("", "cat"), InvalidRequest, "context"),
        (choice("Words."), InvalidRequest, "candidates"),
        (choice("Words.", ""), InvalidRequest, "candidates"),
        (choice("Words.", "nobody"), NotFound, "nobody"),
        (
            pb.SelectRequest(context="Words.", candidates=[pb.SelectCandidate(image=b"\xff")], options=TOY),
            InvalidRequest,
            "^candidates: an image cannot be used",
        ),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(
    composer: ComposerClient, request_: pb.SelectRequest, error: type[XcompError], words: str
) -> None:
    with pytest.raises(error, match=words):
        composer.select(request_)


def test_edits_change_the_article_and_can_be_taken_back(composer: ComposerClient) -> None:
    article = illustrated(composer)
    number = article.illustrations[0][0]
    for operation in (
        pb.EditOperation(pick=pb.PickCandidate(spot=number, candidate=1)),
        pb.EditOperation(search=pb.SearchSpot(spot=number, query="steam train at the station")),
        pb.EditOperation(search=pb.SearchSpot(spot=0, query="stone bridge")),
        pb.EditOperation(remove=number),
        pb.EditOperation(lock=number),
        pb.EditOperation(segment=pb.EditSegment(segment=number, kind=pb.EditSegment.KIND_REWRITE, text="Other words.")),
    ):
        changed = edited(composer, article, operation)
        assert changed != article
        assert edited(composer, changed, pb.EditOperation(undo=True)) == article


def test_a_search_shows_the_best_image_that_is_not_shown_elsewhere(composer: ComposerClient) -> None:
    article = illustrated(composer)
    search = pb.EditOperation(search=pb.SearchSpot(spot=1, query="the steam train at the station"))
    image = edited(composer, article, search).segments[1].illustration
    assert image
    assert image.image_id == "train"
    again = pb.EditOperation(search=pb.SearchSpot(spot=1, query="the ginger cat with whiskers"))
    other = edited(composer, article, again).segments[1].illustration
    assert other
    assert other.image_id != "cat"


def test_every_change_of_a_image_goes_over_the_wire(composer: ComposerClient) -> None:
    article = illustrated(composer, images=3)
    number = article.illustrations[0][0]
    first = article.illustrations[0][1].image_id
    for operation in (
        pb.EditOperation(show=pb.ShowImage(spot=number, image_id="train")),
        pb.EditOperation(recaption=pb.Recaption(spot=number, caption="My own words", alt="")),
        pb.EditOperation(exclude=number),
    ):
        changed = edited(composer, article, operation)
        assert changed != article
        assert edited(composer, changed, pb.EditOperation(undo=True)) == article
    banned = edited(composer, article, pb.EditOperation(exclude=number))
    search = pb.EditOperation(search=pb.SearchSpot(spot=number, query="a cup of espresso on the table"))
    image = edited(composer, banned, search).segments[number].illustration
    assert image
    assert image.image_id != first == "coffee"
    with pytest.raises(NotFound, match="'nobody'"):
        edited(composer, article, pb.EditOperation(show=pb.ShowImage(spot=number, image_id="nobody")))


def test_an_article_that_broke_off_is_filled_later(composer: ComposerClient, toy: ToyIndexer) -> None:
    toy.away_from = 2
    request = pb.ComposeRequest(instruction=ARTICLE, options=pb.Options(repository="toy", model="echo"))
    article = proto.from_proto(list(composer.compose(request))[-1].article)
    toy.away_from = 10**9
    filled = edited(composer, article, pb.EditOperation(fill=True))
    assert {image.image_id for _, image in filled.illustrations} == {"coffee", "motorcycle", "cat"}
    assert edited(composer, filled, pb.EditOperation(undo=True)) == article


def test_compose_takes_title_requirements_and_material(composer: ComposerClient) -> None:
    request = pb.ComposeRequest(
        title="# A week", requirements="Short.", material="The red motorcycle stood in the garage.",
        options=pb.Options(repository="toy", model="retrieval", writer_model="echo"),
    )  # fmt: skip
    article = proto.from_proto(list(composer.compose(request))[-1].article)
    assert all(words in article.text for words in ("A week", "Short.", "garage"))
    assert article.model == "echo"
    assert article.choosers in (("retrieval",), ("echo",))
    with pytest.raises(InvalidRequest, match="instruction"):
        list(composer.compose(pb.ComposeRequest(material="x", options=TOY)))


def test_words_that_a_model_would_have_to_write_are_refused(composer: ComposerClient) -> None:
    operation = pb.EditOperation(segment=pb.EditSegment(segment=1, kind=pb.EditSegment.KIND_EXPAND))
    with pytest.raises(Unsupported, match="give the new text yourself"):
        edited(composer, illustrated(composer), operation)


@pytest.mark.parametrize(
    "operation",
    [
        pb.EditOperation(),
        pb.EditOperation(remove=99),
        pb.EditOperation(search=pb.SearchSpot(spot=1)),
        pb.EditOperation(segment=pb.EditSegment(segment=0, text="x")),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(composer: ComposerClient, operation: pb.EditOperation) -> None:
    with pytest.raises(InvalidRequest):
        edited(composer, illustrated(composer), operation)


def test_an_edit_of_no_article_is_refused(composer: ComposerClient) -> None:
    with pytest.raises(InvalidRequest, match="article"):
        composer.edit(pb.EditRequest(operation=pb.EditOperation(undo=True)))
    docx = pb.Article(segments=[pb.Segment(text="Words.")], format="docx")
    with pytest.raises(InvalidRequest, match=r"^article.format"):
        composer.edit(pb.EditRequest(article=docx, operation=pb.EditOperation(remove=0)))


def test_describe_says_what_the_composer_can_and_who_it_works_with(composer: ComposerClient) -> None:
    described = composer.describe()
    assert described.model == "retrieval"
    assert list(described.can) == ["illustrate", "select", "edit"]
    assert described.indexer_status == "SERVING"
    assert described.build


def test_describe_notices_that_the_indexer_is_away() -> None:
    with serving("127.0.0.1:1") as composer:
        assert composer.describe().indexer_status == "UNREACHABLE"


def test_a_full_queue_is_exhausted(composer: ComposerClient, toy: ToyIndexer) -> None:
    toy.held.clear()
    errors: list[XcompError] = []

    def call() -> None:
        try:
            list(composer.illustrate(pb.IllustrateRequest(text="The red motorcycle.", options=TOY)))
        except XcompError as error:
            errors.append(error)

    callers = [threading.Thread(target=call) for _ in range(36)]
    for caller in callers:
        caller.start()
    deadline = time.monotonic() + 50  # the others are held a little longer
    while len(errors) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    toy.held.set()
    for caller in callers:
        caller.join()
    assert len(errors) == 4
    assert all(isinstance(error, Exhausted) and "try again in" in str(error) for error in errors)


def test_a_caller_who_leaves_ends_the_work(composer: ComposerClient, toy: ToyIndexer) -> None:
    toy.held.clear()
    with grpc.insecure_channel(composer.address) as channel:
        stream = rpc.ComposerStub(channel).Illustrate(pb.IllustrateRequest(text=ARTICLE, options=TOY))
        assert toy.searching.wait(timeout=60)
        stream.cancel()  # type: ignore[no-untyped-call]  # the stubs know no types here
    toy.held.set()
    time.sleep(0.3)
    assert "Embed" not in toy.calls


def test_a_deadline_ends_the_work(composer: ComposerClient, toy: ToyIndexer) -> None:
    toy.held.clear()
    try:
        with grpc.insecure_channel(composer.address) as channel, pytest.raises(grpc.RpcError) as caught:
            list(rpc.ComposerStub(channel).Illustrate(pb.IllustrateRequest(text=ARTICLE, options=TOY), timeout=0.5))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        toy.held.set()
    time.sleep(0.3)
    assert "Embed" not in toy.calls
