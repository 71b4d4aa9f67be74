"""Cached prompts: what they save, how much memory they take, and which ones are evicted."""

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
from xcomp_model.base import Choice, ImagePart, ModelFailure, Runtime, Sampling, Section, never
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.runtime.kv_cache import GenerationCancelled, Prefix, PrefixCache
from xcomp_model.xcomposer.runtime.memory_plan import MemoryPlan, kv_bytes_per_position, prompt_cache_bytes

POSITION = 2 * 2 * 4 * 4  # bytes of `read` below: keys and values, two heads, four numbers
IMAGES = [ImagePart(f"p{i}", plain((20 * i, 200 - 9 * i, 40))) for i in range(12)]


def read(prefixes: PrefixCache, units: Sequence[int]) -> int:
    """Reads a prompt into a cache of one layer; returns how many positions were new."""
    with prefixes.reserve(units, more=0, count_rows=lambda _: 1, is_cancelled=never) as prefix:
        new = units[len(prefix.units) :]
        rows = torch.tensor(new, dtype=torch.float32).view(1, 1, -1, 1).expand(1, 2, -1, 4)
        prefix.kv.update(rows, -rows, 0)
        prefix.units += new
        ((_, keys, _),) = prefix.layers()
        assert keys[0, 0, :, 0].tolist() == list(units)
    return len(new)


def stored_bytes(values: DynamicCache) -> int:
    layers = Prefix(kv=values).layers()
    return sum(tensor.untyped_storage().nbytes() for _, *tensors in layers for tensor in tensors)


def cache_of(positions: int) -> PrefixCache:
    return PrefixCache(budget_bytes=positions * POSITION, position_bytes=POSITION)


def test_a_prompt_reads_only_what_no_cached_prompt_starts_with() -> None:
    prefixes = cache_of(1000)
    assert read(prefixes, [1, 2, 3, 4, 5, 6]) == 6
    assert read(prefixes, [1, 2, 9]) == 1
    assert read(prefixes, [1, 2, 3, 4, 7]) == 1  # the first prompt is still cached
    assert read(prefixes, [1, 2, 3, 4, 7]) == 1  # the last position is read for its scores
    assert read(prefixes, [8]) == 1


def test_the_least_recently_used_prompt_is_evicted_first() -> None:
    prefixes = cache_of(9)
    for start in (10, 20, 30):
        read(prefixes, [start, start + 1, start + 2])
    read(prefixes, [10, 11, 12])  # used again
    read(prefixes, [40, 41, 42])
    assert read(prefixes, [10, 11, 12]) == 1
    assert read(prefixes, [20, 21, 22]) == 3


def test_an_outgrown_prompt_is_evicted_before_all_others() -> None:
    prefixes = cache_of(11)
    read(prefixes, [20, 21, 22])
    read(prefixes, [10, 11, 12])
    read(prefixes, [10, 11, 12, 13])
    read(prefixes, [30])
    assert prefixes.size_bytes == 11 * POSITION
    read(prefixes, [40])
    assert prefixes.size_bytes == 9 * POSITION  # the three positions of [10, 11, 12]
    assert read(prefixes, [20, 21, 22]) == 1
    assert read(prefixes, [10, 11, 12, 13]) == 1


def test_without_room_for_both_the_cached_prompt_is_reused_in_place() -> None:
    prefixes = cache_of(5)
    read(prefixes, [1, 2, 3, 4])
    assert read(prefixes, [1, 2, 3, 5]) == 1
    assert prefixes.size_bytes == 4 * POSITION


def test_cached_prompts_take_as_many_bytes_as_are_counted() -> None:
    prefixes = cache_of(40)
    for number in range(30):
        units = [number % 5, *range(number, number + 12)]
        read(prefixes, units)
        assert prefixes.size_bytes == sum(stored_bytes(each.kv) for each in prefixes._cached)
        assert prefixes.size_bytes <= 40 * POSITION


def test_a_cropped_prefix_frees_its_memory() -> None:
    prefix = Prefix([1, 2, 3, 4])
    prefix.kv.update(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4), 0)
    prefix.crop(1, count_rows=lambda _: 1)
    prefix.compact()
    assert (prefix.rows, prefix.units, stored_bytes(prefix.kv)) == (1, [1], POSITION)


def test_a_call_waits_for_room_until_it_is_cancelled() -> None:
    prefixes = cache_of(11)
    wait = partial(prefixes.reserve, [9], more=4, count_rows=lambda _: 1)
    with prefixes.reserve([1, 2], more=4, count_rows=lambda _: 1, is_cancelled=never):
        with wait(is_cancelled=never), pytest.raises(GenerationCancelled), wait(is_cancelled=lambda: True):
            pass
        with wait(is_cancelled=never):  # one of the two calls has left
            pass


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(request.param, tmp_path_factory.mktemp("tiny"), is_fair=True)


def open_model(folder: Path, prompts_bytes: int | None = None) -> XComposer:
    model = load(str(folder), Runtime(device="cpu", precision="fp32", prompts_bytes=prompts_bytes))
    assert isinstance(model, XComposer)
    return model


def article_calls(model: XComposer, article: int) -> Iterator[Callable[[], Choice | str]]:
    """Yields the calls of an article: spots, descriptions, choices, and the caption of an image."""
    lines = [f"article {article}, section {i} of a cat on a mat and a dog" for i in range(8)]
    prompts = model.prompts
    first = IMAGES[article]

    def answer(*, image: bool = False, spot: int = 0) -> str:
        prompt = prompts.describe(first, language="en") if image else prompts.query(lines, spot)
        return "".join(model.stream(prompt, Sampling(max_new_tokens=6)))

    def choose(count: int, shown: ImagePart | None) -> Choice:
        sections = [Section(line, shown if i == 1 else None) for i, line in enumerate(lines[:count])]
        return model.choose(prompts.choose(sections, [IMAGES[(article + i) % 12] for i in range(1, 5)]), "ABCD")

    yield lambda: "".join(model.stream(prompts.spot(lines, count=2), Sampling(max_new_tokens=6)))
    yield lambda: answer(spot=1)
    yield lambda: answer(spot=5)
    yield lambda: choose(2, None)
    yield lambda: answer(image=True)
    yield lambda: choose(6, first)


def tighten(model: XComposer) -> XComposer:
    """Limits the cache to the prompts of one article."""
    model._runner._prefixes._capacity = 700
    return model


def assert_equal_answers(one: Sequence[Choice | str], other: Sequence[Choice | str]) -> None:
    """Compares words exactly, and probabilities up to rounding: products of other lengths add up in another order."""
    assert [each for each in one if isinstance(each, str)] == [each for each in other if isinstance(each, str)]
    for a, b in zip(one, other, strict=True):
        if isinstance(a, Choice) and isinstance(b, Choice):
            assert a.probabilities == pytest.approx(b.probabilities, abs=ROUNDING)
            assert a.mass == pytest.approx(b.mass, abs=ROUNDING)


def test_eight_interleaved_articles_get_the_answers_of_each_alone_and_read_no_more(folder: Path) -> None:
    together = open_model(folder)
    articles = [article_calls(together, number) for number in range(8)]
    interleaved = [[call() for call in turn] for turn in zip(*articles, strict=True)]
    positions = 0
    for number in range(8):
        alone = open_model(folder)
        assert_equal_answers([call() for call in article_calls(alone, number)], [turn[number] for turn in interleaved])
        positions += alone.positions_read
    assert together.positions_read <= positions


def test_an_evicted_prompt_is_read_again_with_the_same_answer(folder: Path) -> None:
    tight, roomy = tighten(open_model(folder)), open_model(folder)
    for number in (*range(4), *range(4)):
        assert_equal_answers(
            [call() for call in article_calls(tight, number)], [call() for call in article_calls(roomy, number)]
        )
    assert tight.positions_read > roomy.positions_read


def test_the_budget_is_never_exceeded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tighten(open_model(folder))
    budget = 700 * model._runner._prefixes._position_bytes
    runner, llm = model._runner, model._runner._network.llm
    forward, seen = llm.forward, list[int]()

    def watch(*, cache: DynamicCache, **given: object) -> object:
        out = forward(cache=cache, **given)
        seen.append(sum(stored_bytes(each.kv) for each in runner._prefixes._cached) + stored_bytes(cache))
        return out

    monkeypatch.setattr(llm, "forward", watch)
    for number in range(4):
        for call in article_calls(model, number):
            call()
    assert 0.8 * budget < max(seen) <= budget


def test_a_cancelled_prompt_is_not_cached(folder: Path) -> None:
    model = open_model(folder)
    cache = model._runner._prefixes
    with pytest.raises(ModelFailure, match="cancelled"):
        model.choose(model.prompts.choose([Section("a cat")], IMAGES[:4]), "ABCD", is_cancelled=lambda: True)
    assert cache.size_bytes == 0
    asked = iter((False, False, False))
    list(model.stream(model.prompts.query(["a cat"] * 3, 1), Sampling(), is_cancelled=lambda: next(asked, True)))
    assert cache.size_bytes == sum(stored_bytes(each.kv) for each in cache._cached) > 0


def test_cached_prompts_are_evicted_when_memory_runs_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(folder)
    llm = model._runner._network.llm
    *_, last = article_calls(model, 1)
    for call in article_calls(model, 0):
        call()
    failures = iter((torch.OutOfMemoryError("CUDA out of memory"),))
    forward = llm.forward

    def fail_once(**given: object) -> object:
        if (failure := next(failures, None)) is not None:
            raise failure
        return forward(**given)

    expected = [call() for call in article_calls(open_model(folder), 1)][-1:]
    monkeypatch.setattr(llm, "forward", fail_once)
    assert_equal_answers([last()], expected)
    assert len(model._runner._prefixes._cached) == 1


def minimum_budget(folder: Path) -> int:
    model = open_model(folder)
    return (
        2 * model.capabilities.context_tokens * kv_bytes_per_position(model._runner._network.llm.config, torch.float32)
    )


def test_a_budget_below_two_prompts_is_refused(folder: Path) -> None:
    with pytest.raises(ModelFailure, match=r"GiB for two prompts.*--prompt-memory"):
        open_model(folder, minimum_budget(folder) - 1)


GIB = 1 << 30
PLAN = MemoryPlan("m", "cuda:0", "float16", {}, kv_per_token=1, kv=GIB, free=0, workspace=GIB)
GPU, OTHER, CPU = torch.device("cuda:0"), torch.device("cuda:1"), torch.device("cpu")


@pytest.mark.parametrize(
    ("layers", "free", "available"),
    [
        ([GPU] * 4, {GPU: 11}, 10),
        ([GPU] * 4, {GPU: 1}, 1),  # the minimum
        ([GPU] + [OTHER] * 3, {GPU: 2, OTHER: 16}, 4),  # a quarter of the layers is on a GPU with one free GiB
        ([CPU] * 4, {CPU: 100}, 2),
        ([CPU] * 4, {CPU: 2.5}, 1.5),
    ],
)
def test_prompts_take_the_free_memory_of_the_devices_of_their_layers(
    layers: Sequence[torch.device], free: dict[torch.device, float], available: float
) -> None:
    assert prompt_cache_bytes(PLAN, layers, lambda device: int(free[device] * GIB)) == available * GIB


def test_the_composer_reads_the_budget_in_gib() -> None:
    assert main._parser().parse_args(["--prompt-memory", "1.5"]).prompt_memory == 1.5 * GIB
    assert main._parser().parse_args([]).prompt_memory is None


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "much"])
def test_an_invalid_budget_is_a_usage_error(text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main._parser().parse_args(["--prompt-memory", text])
    assert caught.value.code == 2
