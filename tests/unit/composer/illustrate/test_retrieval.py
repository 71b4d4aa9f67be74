"""The model `retrieval` places and chooses by what a repository says, and prefers no image to a wrong one."""

from collections.abc import Iterator

import grpc
import pytest

from tests.toy_indexer import IMAGES, PatientCallContext, ToyImage, ToyIndexer, serving
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import CandidateImage, IllustrationOptions, SelectionRequest
from xcomp_composer.illustrate.pipeline import Setting, Source
from xcomp_composer.illustrate.retrieval.illustrator import RetrievalIllustrator
from xcomp_composer.illustrate.retrieval.paragraphs import (
    MAX_TEXTS,
    query_texts,
)
from xcomp_composer.illustrate.retrieval.scoring import HITS
from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound, Unavailable

ARTICLE = """# A week

It began with an argument about nothing, and no one could say why it had mattered.

A cup of espresso stood on the wooden table.

We agreed that freedom is a habit, and that habits are hard to question in practice.

In the garage stood the red motorcycle.

The ginger cat with its whiskers slept in the grass.

There was no reason to decide, so the decision was postponed.
"""
CHINESE = """# 一周

我们讨论了自由是什么，谁也没有得到答案。

一只咖啡杯子，一杯咖啡。

决定被推迟了，因为谁也不同意。

车库里停着红色的摩托车。
"""


@pytest.fixture(scope="module")
def toy() -> ToyIndexer:
    return ToyIndexer()


@pytest.fixture(scope="module")
def stub(toy: ToyIndexer) -> Iterator[rpc.IndexerStub]:
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        yield rpc.IndexerStub(channel)


def open_repository(stub: rpc.IndexerStub, conditions: Conditions) -> RepositoryClient:
    return RepositoryClient.open(IndexerConnection(stub, "toy", PatientCallContext()), conditions)


def setting(stub: rpc.IndexerStub, *, language: str = "en", **conditions: object) -> Setting:
    asked = Conditions("toy", language=language, **conditions)  # type: ignore[arg-type]  # of a test's own
    return Setting(open_repository(stub, asked), RetrievalIllustrator())


def illustrated(text: str, where: Setting, options: IllustrationOptions | None = None) -> Article:
    *_, article = pipeline.illustrate(Source(text), options or IllustrationOptions(), where)
    assert isinstance(article, Article)
    return article


def shown(article: Article) -> dict[str, str]:
    """The image of each paragraph, by its first two words."""
    segments = {number: " ".join(segment.text.split()[:2]) for number, segment in enumerate(article.segments)}
    return {segments[number]: image.image_id for number, image in article.illustrations}


def test_visible_paragraphs_get_their_images_and_abstract_ones_none(stub: rpc.IndexerStub) -> None:
    article = illustrated(ARTICLE, setting(stub))
    assert shown(article) == {"A cup": "coffee", "In the": "motorcycle", "The ginger": "cat"}
    assert article.text == ARTICLE


def test_reasons_tell_titles_from_pixels_and_claim_no_more(stub: rpc.IndexerStub) -> None:
    article = illustrated(ARTICLE, setting(stub))
    reasons = {each.image_id: each.reason for _, image in article.illustrations for each in image.candidates}
    assert reasons["lighthouse"].endswith("sd for “the wooden table”; mostly by its title")
    assert reasons["cat"].endswith("; sees: tabby .80")


def test_a_chinese_article_is_illustrated_too(stub: rpc.IndexerStub) -> None:
    article = illustrated(CHINESE, setting(stub, language="zh"))
    assert set(shown(article).values()) == {"coffee", "motorcycle"}
    image = article.segments[4].illustration
    assert image
    assert image.caption == "红色摩托车"
    assert "标准差" in image.reason


def test_every_image_says_why_and_what_else_was_offered(stub: rpc.IndexerStub) -> None:
    for _, image in illustrated(ARTICLE, setting(stub)).illustrations:
        assert image.chosen_by == "retrieval"
        assert image.query
        assert "stands out by" in image.reason
        assert len(image.candidates) == 4
        assert [c.retrieval_score for c in image.candidates] == sorted(
            (c.retrieval_score for c in image.candidates), reverse=True
        )


def test_captions_come_from_the_image(stub: rpc.IndexerStub) -> None:
    words = {image.image_id: (image.caption, image.credit)
             for _, image in illustrated(ARTICLE, setting(stub)).illustrations}  # fmt: skip
    assert words == {
        "coffee": ("A cup of espresso", "Ada, CC0"),
        "motorcycle": ("Red motorcycle", ""),
        "cat": ("Tabby", ""),
    }


def test_events_come_spot_by_spot_in_the_order_of_the_text(stub: rpc.IndexerStub) -> None:
    *events, article = pipeline.illustrate(Source(ARTICLE), IllustrationOptions(), setting(stub))
    assert isinstance(article, Article)
    names = [type(event).__name__ for event in events]
    spots = names.count("Spot")
    assert spots >= 3
    for start in range(0, len(names), 4):
        assert names[start : start + 3] == ["Spot", "SpotQuery", "SpotCandidates"]
        assert names[start + 3] in ("SpotIllustration", "Unfilled")
    segments = [event.segment for event in events if not isinstance(event, Article) and hasattr(event, "segment")]
    assert segments == sorted(segments)


def test_the_same_request_gives_the_same_article(stub: rpc.IndexerStub) -> None:
    first, second = (illustrated(ARTICLE, setting(stub)) for _ in range(2))
    assert first.segments == second.segments
    assert first.unfilled == second.unfilled


def test_its_own_output_is_replaced_and_nothing_added(stub: rpc.IndexerStub) -> None:
    from dataclasses import replace

    from xcomp_composer.article.markers import insert_image_blocks

    first = illustrated(ARTICLE, setting(stub), IllustrationOptions(images=2))
    named = [
        replace(s, illustration=replace(s.illustration, file="x.jpg")) if s.illustration else s for s in first.segments
    ]
    marked = insert_image_blocks(replace(first, segments=tuple(named)))
    again = illustrated(marked, setting(stub))
    assert again.text == ARTICLE
    assert len(again.illustrations) == len(first.illustrations) == 2


@pytest.mark.parametrize(
    ("options", "count"),
    [(IllustrationOptions(images=2), 2), (IllustrationOptions(max_images=1), 1), (IllustrationOptions(images=0), 0)],
)
def test_the_number_of_images_is_the_one_asked_for(
    stub: rpc.IndexerStub, options: IllustrationOptions, count: int
) -> None:
    article = illustrated(ARTICLE, setting(stub), options)
    assert len(article.illustrations) == count


def test_spots_asked_for_and_not_filled_say_why(stub: rpc.IndexerStub) -> None:
    article = illustrated(ARTICLE, setting(stub), IllustrationOptions(images=5))
    assert len(article.illustrations) + len(article.unfilled) == 5
    assert all("nothing fits" in spot.reason for spot in article.unfilled)
    assert all(spot.candidates for spot in article.unfilled)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (IllustrationOptions(images=100), 100),
        (IllustrationOptions(images=300), 130),
        (IllustrationOptions(images=9), 9),
    ],
)
def test_a_long_text_has_as_many_spots_as_are_asked_for(
    stub: rpc.IndexerStub, options: IllustrationOptions, count: int
) -> None:
    text = "\n\n".join(f"A white lighthouse stood on cliff number {number}." for number in range(130))
    article = illustrated(text, setting(stub), options)
    assert len(article.illustrations) + len(article.unfilled) == count


def test_excluded_images_are_never_candidates(stub: rpc.IndexerStub) -> None:
    article = illustrated(ARTICLE, setting(stub, exclude_ids=("cat",)))
    offered = {c.image_id for _, image in article.illustrations for c in image.candidates}
    assert "cat" not in offered


def test_a_repository_without_fitting_images_leaves_every_spot_empty() -> None:
    others = ToyIndexer([image for image in IMAGES if image.id in ("train", "bridge", "mountain", "lighthouse")])
    with serving(others) as address, grpc.insecure_channel(address) as channel:
        article = illustrated(ARTICLE, setting(rpc.IndexerStub(channel)))
    assert article.illustrations == ()
    assert article.text == ARTICLE


def test_an_empty_repository_leaves_every_spot_empty() -> None:
    with serving(ToyIndexer([])) as address, grpc.insecure_channel(address) as channel:
        asked = illustrated(ARTICLE, setting(rpc.IndexerStub(channel)), IllustrationOptions(images=1))
        unasked = illustrated(ARTICLE, setting(rpc.IndexerStub(channel)))
    assert [spot.reason for spot in asked.unfilled] == ["the repository has no image to offer"]
    assert {spot.reason for spot in unasked.unfilled} == {"the repository has no image to offer"}
    assert all(spot.query and spot.query in ARTICLE.replace("\n", " ") for spot in unasked.shots)
    assert len(unasked.shots) == len(unasked.unfilled) > 1


@pytest.mark.parametrize("content_hash", ["", "same"])
def test_a_image_and_its_copy_are_not_both_shown(content_hash: str) -> None:
    cups = [ToyImage(f"cup{n}", "cup coffee espresso table", content_hash=content_hash) for n in range(2)]
    text = "A cup of espresso on the table.\n\nWords between.\n\nAnother cup of coffee on the table.\n"
    with serving(ToyIndexer([*cups, *IMAGES[2:]])) as address, grpc.insecure_channel(address) as channel:
        article = illustrated(text, setting(rpc.IndexerStub(channel)))
    assert len(article.illustrations) == 1


def test_a_long_text_is_illustrated_within_reason(stub: rpc.IndexerStub, toy: ToyIndexer) -> None:
    text = "\n\n".join([f"Words of no weight, number {n}, are said." for n in range(150)] + ["The red motorcycle."])
    before = len(toy.calls)
    article = illustrated(text, setting(stub))
    assert "motorcycle" in [image.image_id for _, image in article.illustrations]
    assert len(toy.calls) - before < 20


def test_an_article_with_several_spots_asks_the_indexer_three_times() -> None:
    toy = ToyIndexer()
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        article = illustrated(ARTICLE, setting(rpc.IndexerStub(channel)))
    assert len(article.illustrations) == 3
    assert toy.calls == ["Describe", "Search", "Embed"]  # the titles of what was found are embedded last


def test_more_texts_than_fit_into_one_search_are_compared_afterwards() -> None:
    cups = [ToyImage(f"cup{n}", "cup coffee espresso table") for n in range(2)]
    noise = "Nobody could say why, and it did not matter, or so they said, but it went on, and on, for a while."
    text = "\n\n".join(["A cup of espresso on the table.", *[noise] * 20, "Another cup of coffee on the table."])
    toy = ToyIndexer([*cups, *IMAGES[2:]])
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        article = illustrated(text, setting(rpc.IndexerStub(channel)))
    assert toy.calls.count("Search") == 3  # two for the texts, one to compare images
    assert len(article.illustrations) == 1


def test_nothing_but_space_is_refused(stub: rpc.IndexerStub) -> None:
    with pytest.raises(InvalidRequest, match="text"):
        illustrated(" \n\ufeff\n", setting(stub))


def test_a_text_without_paragraphs_stays_as_it_is(stub: rpc.IndexerStub) -> None:
    assert illustrated("# Only a heading\n", setting(stub)).illustrations == ()


def test_an_unknown_repository_is_not_found(stub: rpc.IndexerStub) -> None:
    with pytest.raises(NotFound):
        open_repository(stub, Conditions("other"))


def test_a_contradicting_profile_is_a_conflict(stub: rpc.IndexerStub) -> None:
    with pytest.raises(Conflict):
        open_repository(stub, Conditions("toy", profile="clip"))


def test_the_choice_alone_gives_probabilities(stub: rpc.IndexerStub) -> None:
    where = setting(stub)
    offered = (CandidateImage("train"), CandidateImage("coffee"), CandidateImage("cat"))
    asked = SelectionRequest("Some words before.\n\nA cup of espresso stood on the table.", offered)
    made = RetrievalIllustrator().select(asked, where.repository)
    assert made.choice == 1
    assert sum(made.probabilities) == pytest.approx(1)
    assert made.mass > 0.5


def test_the_choice_alone_weighs_images_from_elsewhere(stub: rpc.IndexerStub) -> None:
    offered = (CandidateImage("train"), CandidateImage(image=b"cup coffee espresso table"))
    made = RetrievalIllustrator().select(
        SelectionRequest("A cup of espresso stood on the table.", offered), setting(stub).repository
    )
    assert made.choice == 1


def test_the_choice_alone_weighs_candidates_that_the_whole_repository_beats() -> None:
    better = [ToyImage(f"cup{number}", "cup coffee espresso table") for number in range(2 * HITS)]
    offered = (
        CandidateImage(image=b"white lighthouse cliff"),
        CandidateImage("train"),
        CandidateImage(image=b"cup coffee espresso table"),
    )
    asked = SelectionRequest("A cup of espresso stood on the table.", offered)
    with serving(ToyIndexer([*IMAGES, *better])) as address, grpc.insecure_channel(address) as channel:
        made = RetrievalIllustrator().select(asked, setting(rpc.IndexerStub(channel)).repository)
    assert len(made.probabilities) == 3
    assert max(range(3), key=made.probabilities.__getitem__) == 2


def test_the_choice_alone_needs_images_to_weigh_those_from_elsewhere_against() -> None:
    asked = SelectionRequest("A cup.", (CandidateImage(image=b"cup"), CandidateImage(image=b"cat")))
    with serving(ToyIndexer([])) as address, grpc.insecure_channel(address) as channel:
        where = setting(rpc.IndexerStub(channel)).repository
        with pytest.raises(NotFound, match="'toy' has no image to compare them with"):
            RetrievalIllustrator().select(asked, where)


def test_the_choice_alone_may_be_none(stub: rpc.IndexerStub) -> None:
    asked = SelectionRequest("Freedom is a habit of doubt.", (CandidateImage("train"), CandidateImage("cat")))
    made = RetrievalIllustrator().select(asked, setting(stub).repository)
    assert made.choice is None
    assert made.mass < 0.5


def test_an_unknown_candidate_is_not_found(stub: rpc.IndexerStub) -> None:
    with pytest.raises(NotFound, match="nobody"):
        RetrievalIllustrator().select(SelectionRequest("A cup.", (CandidateImage("nobody"),)), setting(stub).repository)


def test_an_indexer_that_is_away_is_unavailable() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(Unavailable):
        illustrated(ARTICLE, setting(rpc.IndexerStub(channel)))


def test_a_written_article_is_delivered_even_when_the_indexer_went_away() -> None:
    toy = ToyIndexer()
    toy.away_from = 2
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        *_, article = pipeline.illustrate(
            Source(ARTICLE, writer="echo"), IllustrationOptions(), setting(rpc.IndexerStub(channel))
        )
    assert isinstance(article, Article)
    assert article.text == ARTICLE
    assert article.unfilled
    assert all(spot.reason == "the indexer is away" for spot in article.unfilled)


def test_a_paragraph_asks_as_a_whole_by_sentence_and_by_clause() -> None:
    texts = query_texts("The boat lay in the harbour. Gulls circled, and the sun set behind the pier.", "en")
    assert texts[0].startswith("The boat lay in the harbour. Gulls")
    assert "The boat lay in the harbour" in texts
    assert "the pier" in texts
    assert query_texts("船停在港口，海鸥盘旋。太阳落山了。", "zh")[1:] == [
        "船停在港口，海鸥盘旋",
        "太阳落山了",
        "船停在港口",
        "海鸥盘旋",
    ]


def test_a_very_long_paragraph_asks_a_bounded_number_of_times() -> None:
    assert len(query_texts("Some words, more words, other words. " * 500, "en")) <= MAX_TEXTS
