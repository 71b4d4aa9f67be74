"""Prompts that were read before: what they save, what they take, and which of them leave."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from tests.checkpoints import write_checkpoint
from tests.images import plain
from tests.nearness import ROUNDING
from xcomp_composer.server import main
from xcomp_model import load
from xcomp_model.base import Choice, ModelError, Picture, Runtime, Sampling, Section, never
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.runtime.kv_cache import GenerationCancelled, Prefix, PrefixCache
from xcomp_model.xcomposer.runtime.memory_plan import MemoryPlan, kv_bytes, prompts_room

POSITION = 2 * 2 * 4 * 4  # bytes of `read` below: keys and values, two heads, four numbers
PICTURES = [Picture(f"p{i}", plain((20 * i, 200 - 9 * i, 40))) for i in range(12)]


def read(prefixes: PrefixCache, units: Sequence[int]) -> int:
    """Reads a prompt into a cache of one layer; returns how many positions were new."""
    with prefixes.reading(units, more=0, rows_of=lambda _: 1, cancelled=never) as prefix:
        new = units[len(prefix.units) :]
        rows = torch.tensor(new, dtype=torch.float32).view(1, 1, -1, 1).expand(1, 2, -1, 4)
        prefix.values.update(rows, -rows, 0)
        prefix.units += new
        ((_, keys, _),) = prefix.layers()
        assert keys[0, 0, :, 0].tolist() == list(units)
    return len(new)


def stored_bytes(values: DynamicCache) -> int:
    layers = Prefix(values=values).layers()
    return sum(tensor.untyped_storage().nbytes() for _, *tensors in layers for tensor in tensors)


def room_for(positions: int) -> PrefixCache:
    return PrefixCache(budget_bytes=positions * POSITION, position_bytes=POSITION)


def test_a_prompt_reads_only_what_none_before_it_began_with() -> None:
    prefixes = room_for(1000)
    assert read(prefixes, [1, 2, 3, 4, 5, 6]) == 6
    assert read(prefixes, [1, 2, 9]) == 1
    assert read(prefixes, [1, 2, 3, 4, 7]) == 1  # the first is still there
    assert read(prefixes, [1, 2, 3, 4, 7]) == 1  # the last position is read for its scores
    assert read(prefixes, [8]) == 1


def test_the_least_recently_used_leaves_first() -> None:
    prefixes = room_for(9)
    for start in (10, 20, 30):
        read(prefixes, [start, start + 1, start + 2])
    read(prefixes, [10, 11, 12])  # used again
    read(prefixes, [40, 41, 42])
    assert read(prefixes, [10, 11, 12]) == 1
    assert read(prefixes, [20, 21, 22]) == 3


def test_a_prompt_that_was_outgrown_leaves_before_all_others() -> None:
    prefixes = room_for(11)
    read(prefixes, [20, 21, 22])
    read(prefixes, [10, 11, 12])
    read(prefixes, [10, 11, 12, 13])
    read(prefixes, [30])
    assert prefixes.size_bytes == 11 * POSITION
    read(prefixes, [40])
    assert prefixes.size_bytes == 9 * POSITION  # the three
    assert read(prefixes, [20, 21, 22]) == 1
    assert read(prefixes, [10, 11, 12, 13]) == 1


def test_where_both_find_no_room_the_old_one_becomes_the_new_one() -> None:
    prefixes = room_for(5)
    read(prefixes, [1, 2, 3, 4])
    assert read(prefixes, [1, 2, 3, 5]) == 1
    assert prefixes.size_bytes == 4 * POSITION


def test_what_is_kept_takes_as_many_bytes_as_are_counted() -> None:
    prefixes = room_for(40)
    for number in range(30):
        units = [number % 5, *range(number, number + 12)]
        read(prefixes, units)
        assert prefixes.size_bytes == sum(stored_bytes(each.values) for each in prefixes._kept)
        assert prefixes.size_bytes <= 40 * POSITION


def test_a_cropped_prefix_gives_its_memory_back() -> None:
    prefix = Prefix([1, 2, 3, 4])
    prefix.values.update(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4), 0)
    prefix.crop(1, rows_of=lambda _: 1)
    prefix.compact()
    assert (prefix.rows, prefix.units, stored_bytes(prefix.values)) == (1, [1], POSITION)


def test_who_finds_no_room_beside_those_who_read_waits_while_somebody_waits_for_it() -> None:
    prefixes = room_for(11)
    wait = partial(prefixes.reading, [9], more=4, rows_of=lambda _: 1)
    with prefixes.reading([1, 2], more=4, rows_of=lambda _: 1, cancelled=never):
        with wait(cancelled=never), pytest.raises(GenerationCancelled), wait(cancelled=lambda: True):
            pass
        with wait(cancelled=never):  # one of two has gone
            pass


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(request.param, tmp_path_factory.mktemp("tiny"), is_fair=True)


def opened(folder: Path, prompts_bytes: int | None = None) -> XComposer:
    model = load(str(folder), Runtime(device="cpu", precision="fp32", prompts_bytes=prompts_bytes))
    assert isinstance(model, XComposer)
    return model


def calls(model: XComposer, article: int) -> Iterator[Callable[[], Choice | str]]:
    """What an article asks, call by call: places, descriptions, choices, and what a picture shows."""
    lines = [f"article {article}, section {i} of a cat on a mat and a dog" for i in range(8)]
    prompts = model.prompts
    first = PICTURES[article]

    def said(*, picture: bool = False, place: int = 0) -> str:
        prompt = prompts.describe(first, language="en") if picture else prompts.query(lines, place)
        return "".join(model.stream(prompt, Sampling(max_new_tokens=6)))

    def choose(count: int, shown: Picture | None) -> Choice:
        sections = [Section(line, shown if i == 1 else None) for i, line in enumerate(lines[:count])]
        return model.choose(prompts.choose(sections, [PICTURES[(article + i) % 12] for i in range(1, 5)]), "ABCD")

    yield lambda: "".join(model.stream(prompts.spot(lines, count=2), Sampling(max_new_tokens=6)))
    yield lambda: said(place=1)
    yield lambda: said(place=5)
    yield lambda: choose(2, None)
    yield lambda: said(picture=True)
    yield lambda: choose(6, first)


def tightened(model: XComposer) -> XComposer:
    """Leaves it room for one article's prompts, but not for two."""
    model._reader._prefixes._positions = 700
    return model


def assert_alike(one: Sequence[Choice | str], other: Sequence[Choice | str]) -> None:
    """The same words, and probabilities within rounding: a product of other lengths may add up in another order."""
    assert [each for each in one if isinstance(each, str)] == [each for each in other if isinstance(each, str)]
    for a, b in zip(one, other, strict=True):
        if isinstance(a, Choice) and isinstance(b, Choice):
            assert a.probabilities == pytest.approx(b.probabilities, abs=ROUNDING)
            assert a.mass == pytest.approx(b.mass, abs=ROUNDING)


def test_eight_articles_in_turns_get_what_each_gets_alone_and_read_no_more(folder: Path) -> None:
    together = opened(folder)
    articles = [calls(together, number) for number in range(8)]
    in_turns = [[call() for call in turn] for turn in zip(*articles, strict=True)]
    positions = 0
    for number in range(8):
        alone = opened(folder)
        assert_alike([call() for call in calls(alone, number)], [turn[number] for turn in in_turns])
        positions += alone.positions_read
    assert together.positions_read <= positions


def test_what_was_evicted_is_read_again_to_the_same_end(folder: Path) -> None:
    tight, roomy = tightened(opened(folder)), opened(folder)
    for number in (*range(4), *range(4)):
        assert_alike([call() for call in calls(tight, number)], [call() for call in calls(roomy, number)])
    assert tight.positions_read > roomy.positions_read


def test_no_moment_takes_more_than_the_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tightened(opened(folder))
    budget = 700 * model._reader._prefixes._position_bytes
    reader, llm = model._reader, model._reader._network.llm
    forward, seen = llm.forward, list[int]()

    def watched(*, cache: DynamicCache, **given: object) -> object:
        out = forward(cache=cache, **given)
        seen.append(sum(stored_bytes(each.values) for each in reader._prefixes._kept) + stored_bytes(cache))
        return out

    monkeypatch.setattr(llm, "forward", watched)
    for number in range(4):
        for call in calls(model, number):
            call()
    assert 0.8 * budget < max(seen) <= budget


def test_what_broke_off_is_not_kept(folder: Path) -> None:
    model = opened(folder)
    kept = model._reader._prefixes
    with pytest.raises(ModelError, match="broken off"):
        model.choose(model.prompts.choose([Section("a cat")], PICTURES[:4]), "ABCD", cancelled=lambda: True)
    assert kept.size_bytes == 0
    asked = iter((False, False, False))
    list(model.stream(model.prompts.query(["a cat"] * 3, 1), Sampling(), cancelled=lambda: next(asked, True)))
    assert kept.size_bytes == sum(stored_bytes(each.values) for each in kept._kept) > 0


def test_kept_prompts_go_where_a_new_one_finds_no_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(folder)
    llm = model._reader._network.llm
    *_, last = calls(model, 1)
    for call in calls(model, 0):
        call()
    failures = iter((torch.OutOfMemoryError("CUDA out of memory"),))
    forward = llm.forward

    def fail_once(**given: object) -> object:
        if (failure := next(failures, None)) is not None:
            raise failure
        return forward(**given)

    wanted = [call() for call in calls(opened(folder), 1)][-1:]
    monkeypatch.setattr(llm, "forward", fail_once)
    assert_alike([last()], wanted)
    assert len(model._reader._prefixes._kept) == 1


def least(folder: Path) -> int:
    model = opened(folder)
    return 2 * model.capabilities.context_tokens * kv_bytes(model._reader._network.llm.config, torch.float32)


def test_a_budget_below_two_prompts_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"GiB for two prompts.*--prompt-memory"):
        opened(folder, least(folder) - 1)


GIB = 1 << 30
PLAN = MemoryPlan("m", "cuda:0", "float16", {}, kv_per_token=1, kv=GIB, free=0, workspace=GIB)
GPU, OTHER, CPU = torch.device("cuda:0"), torch.device("cuda:1"), torch.device("cpu")


@pytest.mark.parametrize(
    ("layers", "free", "room"),
    [
        ([GPU] * 4, {GPU: 11}, 10),
        ([GPU] * 4, {GPU: 1}, 1),  # the least
        ([GPU] + [OTHER] * 3, {GPU: 2, OTHER: 16}, 4),  # a quarter of the layers on a GPU with one GiB to give
        ([CPU] * 4, {CPU: 100}, 2),
        ([CPU] * 4, {CPU: 2.5}, 1.5),
    ],
)
def test_prompts_take_what_is_free_where_their_layers_are(
    layers: Sequence[torch.device], free: dict[torch.device, float], room: float
) -> None:
    assert prompts_room(PLAN, layers, lambda device: int(free[device] * GIB)) == room * GIB


def test_the_composer_reads_the_budget_in_gib() -> None:
    assert main._parser().parse_args(["--prompt-memory", "1.5"]).prompt_memory == 1.5 * GIB
    assert main._parser().parse_args([]).prompt_memory is None


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "much"])
def test_a_budget_that_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main._parser().parse_args(["--prompt-memory", text])
    assert caught.value.code == 2
