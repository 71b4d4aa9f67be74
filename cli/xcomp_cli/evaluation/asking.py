"""Asks the composer all questions of an evaluation: each item by each procedure, in several orders, and controls.

Items are asked one after the other, so that a model with a prefix cache reuses the context of the item.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from xcomp_cli.evaluation.items import Item, ItemImage
from xcomp_cli.requests.attachments import attach
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.client import ComposerClient
from xcomp_protos.errors import Denied, InvalidRequest, ModelError, NotFound

TURNS = 4  # most orders of letters: each of four candidates has each letter once
RETRIEVAL = "retrieval"  # the model that answers without letters


@dataclass(frozen=True)
class SelectionAnswer:
    """An answer of the composer; probabilities are in the order of the item's candidates.

    Attributes:
        mass: share of all probability on the candidates; 0 if an answer of the released procedure has no letter.
        needed: probability from which the best is chosen; 0 if another measure decides.
    """

    choice: int | None
    probabilities: tuple[float, ...]
    mass: float
    needed: float = 0.0

    @property
    def best(self) -> int:
        """The preferred candidate, even if its probability is too low to be chosen."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def certainty(self) -> float:
        """The best probability, scaled so that 0 is chance and 1 is certain."""
        return _from_chance(max(self.probabilities), len(self.probabilities))

    @property
    def margin(self) -> float:
        """The certainty from which a candidate is chosen."""
        return _from_chance(self.needed, len(self.probabilities))


@dataclass(frozen=True)
class AnswerInOrder:
    """An answer, and the order of letters in the question."""

    order: tuple[int, ...]
    answer: SelectionAnswer | None


@dataclass(frozen=True)
class ItemAnswers:
    """All answers to one item; None where the model failed.

    Attributes:
        by_order: answers in several orders, by procedure: `ours`, `released`.
        controls: `shuffled` with images of another item, `without_pixels`, `none_fits` without the person's pick.
    """

    item: Item
    similar: SelectionAnswer | None
    ours: SelectionAnswer | None
    released: SelectionAnswer | None = None
    by_order: dict[str, tuple[AnswerInOrder, ...]] = field(default_factory=dict)
    controls: dict[str, SelectionAnswer | None] = field(default_factory=dict)


@dataclass
class Asker:
    """Asks one composer, always with the same options.

    Attributes:
        model: the model that answered; empty before the first answer.
        failures: how often the model failed, by reason.
    """

    client: ComposerClient
    options: pb.Options
    has_controls: bool = True
    model: str = ""
    space: str = ""
    failures: dict[str, int] = field(default_factory=dict)

    def ask(self, items: Sequence[Item], done: Callable[[int], None]) -> Iterator[ItemAnswers]:
        """Yields the answers to each item.

        Raises:
            XcompError: an item cannot be asked; the message names the item.
        """
        for number, item in enumerate(items):
            yield self._ask_item(item, items[(number + 1) % len(items)])
            done(number + 1)

    def _ask_item(self, item: Item, other: Item) -> ItemAnswers:
        similar = self._answer(item, procedure=pb.PROCEDURE_SIMILARITY)
        ours = self._answer_ours(item)
        if self.model == RETRIEVAL:
            return ItemAnswers(item, similar, ours, controls=self._answer_controls(item, other, sees=False))
        by_order = {
            "ours": tuple(self._answer_in_orders(item)),
            "released": tuple(self._answer_in_orders(item, pb.PROCEDURE_REFERENCE)),
        }
        released = by_order["released"][0].answer
        return ItemAnswers(item, similar, ours, released, by_order, self._answer_controls(item, other, sees=True))

    def _answer_ours(self, item: Item) -> SelectionAnswer | None:
        """Asks as for an article, where a close choice is asked twice; a question with a fixed order is asked once."""
        answer = self._answer(item, candidates=[item.candidates[number] for number in item.order])
        if answer is None:
            return None
        shares = dict(zip(item.order, answer.probabilities, strict=True))
        return replace(
            answer,
            choice=None if answer.choice is None else item.order[answer.choice],
            probabilities=tuple(shares[number] for number in range(len(shares))),
        )

    def _answer_in_orders(
        self, item: Item, procedure: pb.Procedure.ValueType = pb.PROCEDURE_UNSPECIFIED
    ) -> Iterator[AnswerInOrder]:
        count = len(item.order)
        turns = min(count, TURNS) if self.has_controls else 1
        for turn in range(turns):
            first = turn * count // turns
            order = item.order[first:] + item.order[:first]
            yield AnswerInOrder(order, self._answer(item, procedure=procedure, order=order))

    def _answer_controls(self, item: Item, other: Item, *, sees: bool) -> dict[str, SelectionAnswer | None]:
        if not self.has_controls:
            return {}
        found: dict[str, SelectionAnswer | None] = {}
        if other is not item:
            images = self._shuffle_images(other, len(item.candidates))
            found["shuffled"] = self._answer(item, candidates=images, owner=other)
        if item.pick is not None and len(item.candidates) > 2:  # two must be left to choose from
            left = tuple(each for number, each in enumerate(item.candidates) if number != item.pick)
            found["none_fits"] = self._answer(item, candidates=left)
        if sees:
            found["without_pixels"] = self._answer(item, order=item.order, without_pixels=True)
        return found

    def _shuffle_images(self, other: Item, count: int) -> list[ItemImage]:
        """Returns `count` images of another item, shuffled, because items may share images."""
        images = [other.candidates[number % len(other.candidates)] for number in range(count)]
        random.Random(f"{self.options.seed} {other.id}").shuffle(images)  # noqa: S311  # no secret
        return images

    def _answer(
        self,
        item: Item,
        *,
        candidates: Sequence[ItemImage] = (),
        procedure: pb.Procedure.ValueType = pb.PROCEDURE_UNSPECIFIED,
        order: Sequence[int] = (),
        without_pixels: bool = False,
        owner: Item | None = None,
    ) -> SelectionAnswer | None:
        candidates = candidates or item.candidates
        share = len(candidates) + len(item.shown)
        request = pb.SelectRequest(
            context=item.context,
            query=item.query,
            candidates=[_message(each, share) for each in candidates],
            shown=[pb.ShownPicture(after=each.after, picture=_message(each.image, share)) for each in item.shown],
            options=self.options,
            procedure=procedure,
            order=order,
            without_pixels=without_pixels,
        )
        try:
            response = self.client.select(request)
        except ModelError as error:
            self.failures[str(error)] = self.failures.get(str(error), 0) + 1
            return None
        except (InvalidRequest, NotFound, Denied) as error:
            raise type(error)(f"item {(owner or item).id!r}: {error}") from None
        if procedure == pb.PROCEDURE_SIMILARITY:
            self.space = response.model
        else:
            self.model = response.model
        choice = response.choice if response.HasField("choice") else None
        return SelectionAnswer(choice, tuple(response.probabilities), response.mass, response.needed)


def _from_chance(probability: float, count: int) -> float:
    return (probability - 1 / count) / (1 - 1 / count)


def _message(image: ItemImage, share: int) -> pb.SelectCandidate:
    if image.file is None:
        return pb.SelectCandidate(image_id=image.image_id)
    return pb.SelectCandidate(image=_bytes(image.file, share))


@lru_cache(maxsize=64)
def _bytes(file: Path, share: int) -> bytes:
    return attach(file, share=share)
