"""A single choice, in every way that an evaluation compares."""

from collections.abc import Iterator

import grpc
import pytest

from tests.actor import Actor
from tests.toy_indexer import ToyIndexer, serving
from tests.unit.composer.illustrate.test_vlm import CancellableCall, Stage
from xcomp_composer.illustrate.base import CandidateImage, SelectionRequest
from xcomp_composer.illustrate.vlm.select import select_nearest
from xcomp_model.base import ImagePart
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import InvalidRequest, NotFound

NAMES = ("coffee", "cat", "train")
OFFERED = tuple(map(CandidateImage, NAMES))
CONTEXT = "A cup of espresso.\n\nThen it rained.\n\nThe ginger cat slept."


@pytest.fixture
def stage() -> Iterator[Stage]:
    toy = ToyIndexer()
    with serving(toy) as address, grpc.insecure_channel(address) as channel:
        yield Stage(toy, rpc.IndexerStub(channel), Actor(), CancellableCall())


def keys(stage: Stage, number: int = -1) -> list[str]:
    """The images that the model was last shown, in order."""
    return [part.key for part in stage.actor.asked[number][1] if isinstance(part, ImagePart)]


def test_a_choice_reads_its_images_by_id_and_searches_for_nothing(stage: Stage) -> None:
    setting = stage.setting()
    setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED), setting.repository)
    assert stage.toy.calls == ["Describe", "GetImages", "Fetch", "Fetch", "Fetch"]


def test_letters_follow_the_order_and_probabilities_the_candidates(stage: Stage) -> None:
    setting = stage.setting()
    stage.actor.choices = [(0.8, 0.15, 0.05)]
    made = setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED, order=(2, 0, 1)), setting.repository)
    assert (made.choice, made.probabilities) == (2, (0.15, 0.05, 0.8))
    turned = keys(stage)
    setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED, order=(0, 1, 2)), setting.repository)
    assert turned == [keys(stage)[number] for number in (2, 0, 1)]


def test_a_close_choice_is_looked_at_twice_unless_an_order_is_given(stage: Stage) -> None:
    setting = stage.setting()
    for order, looks in (((), 2), ((0, 1, 2), 1)):
        stage.actor.asked.clear()
        stage.actor.choices = [(0.4, 0.35, 0.25), (0.2, 0.2, 0.6)]
        setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED, order=order), setting.repository)
        assert stage.actor.stages() == ["choose"] * looks


def test_images_so_far_stand_after_their_paragraphs(stage: Stage) -> None:
    setting = stage.setting()
    asked = SelectionRequest(
        CONTEXT, OFFERED[:2], shown=((0, CandidateImage("bridge")), (1, CandidateImage("mountain")))
    )
    setting.illustrator.select(asked, setting.repository)
    prompt = stage.actor.asked[-1][1]
    kinds = ["picture" if isinstance(part, ImagePart) else part.text.split()[0] for part in prompt[1:]]  # type: ignore[union-attr]
    assert kinds[:7] == ["A", "choose", "picture", "Then", "choose", "picture", "The"]
    assert len(set(keys(stage))) == 4


def test_images_without_a_paragraph_follow_the_last_ones(stage: Stage) -> None:
    setting = stage.setting()
    shown = ((None, CandidateImage("bridge")),)
    setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED[:2], shown=shown), setting.repository)
    kinds = ["picture" if isinstance(part, ImagePart) else part.text.split()[0] for part in stage.actor.asked[-1][1]]  # type: ignore[union-attr]
    assert kinds.index("picture") == kinds.index("Then") + 2


@pytest.mark.parametrize("afters", [(2,), (0, 0), (None, None, None)])
def test_no_image_stands_at_the_place_itself_or_beside_another(stage: Stage, afters: tuple[int | None, ...]) -> None:
    setting = stage.setting()
    shown = tuple((after, CandidateImage("bridge")) for after in afters)
    with pytest.raises(InvalidRequest, match="the context has 3"):
        setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED, shown=shown), setting.repository)


def test_without_pixels_all_images_are_one(stage: Stage) -> None:
    setting = stage.setting()
    asked = SelectionRequest(CONTEXT, OFFERED, shown=((0, CandidateImage("bridge")),), has_pixels=False)
    setting.illustrator.select(asked, setting.repository)
    assert len(set(keys(stage))) == 1
    assert len(keys(stage)) == 4


@pytest.mark.parametrize(
    ("answer", "choice", "mass"),
    [("B", 1, 1.0), (" : C", 2, 1.0), ("nothing fits", 0, 0.0), ("", 0, 0.0), ("E, then B", 1, 1.0)],
)
def test_the_released_procedure_reads_the_first_offered_letter(
    stage: Stage, answer: str, choice: int, mass: float
) -> None:
    setting = stage.setting()
    stage.actor.lines = {"choose": [answer]}
    made = setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED, procedure="reference"), setting.repository)
    assert (made.choice, made.mass) == (choice, mass)
    assert made.probabilities == tuple(float(number == choice) for number in range(3))


def test_the_released_procedure_reads_letters_in_their_order(stage: Stage) -> None:
    setting = stage.setting()
    stage.actor.lines = {"choose": ["A"]}
    asked = SelectionRequest(CONTEXT, OFFERED, procedure="reference", order=(2, 1, 0))
    assert setting.illustrator.select(asked, setting.repository).choice == 2


def test_similarity_takes_what_is_nearest_to_the_query(stage: Stage) -> None:
    repository = stage.setting().repository
    assert select_nearest(SelectionRequest("Words.", OFFERED, query="a ginger cat"), repository).choice == 1
    uploaded = (*OFFERED[1:], CandidateImage(image=b"cup coffee espresso table"))
    assert select_nearest(SelectionRequest("Words.", uploaded, query="a cup of espresso"), repository).choice == 2
    assert stage.actor.asked == []


def test_similarity_needs_a_query_and_known_images(stage: Stage) -> None:
    repository = stage.setting().repository
    with pytest.raises(InvalidRequest, match="query: is empty"):
        select_nearest(SelectionRequest("Words.", OFFERED), repository)
    with pytest.raises(NotFound, match="nobody"):
        select_nearest(SelectionRequest("Words.", (CandidateImage("nobody"),), query="a cat"), repository)


def test_the_answer_says_what_a_choice_needs(stage: Stage) -> None:
    setting = stage.setting()
    stage.actor.choices = [(0.35, 0.33, 0.32), (0.32, 0.33, 0.35)]
    made = setting.illustrator.select(SelectionRequest(CONTEXT, OFFERED), setting.repository)
    assert made.choice is None
    assert made.needed > 0.35
