"""What illustrating an article costs in decoder positions, over all stages: `python -m tests.bench.pipeline_cost`.

The composer illustrates an article of 1,200 tokens in twenty-four paragraphs with made-up models whose images take as
many positions as the releases' (66 and 256). Its answers are given: they are read behind their prompts in one pass, one
position a token, as many as they would be when written. All choices are close, so that second looks take their whole
allowance. The released procedure reads its own prompts again each time, beam by beam, cut where its demos cut them, and
writes nine or ten tokens for a choice. It has no captions of images and no second looks: these are listed apart.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import grpc
from PIL import Image

from tests.bench import machine
from tests.bench.selection_cost import RELEASED_ANSWER, RELEASED_CUT
from tests.checkpoints import write_checkpoint
from tests.toy_indexer import PatientCallContext, ToyImage, ToyIndexer, serving
from xcomp_composer.article.model import Article
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import IllustrationOptions
from xcomp_composer.illustrate.vlm.illustrator import VlmIllustrator
from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.model_pool.session import LoadedModel, ModelSession
from xcomp_model import load
from xcomp_model.base import Choice, ImagePart, Prompt, Runtime, Sampling, Section, Template, Text, never
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.prompts.v1 import Prompts1
from xcomp_model.xcomposer.prompts.v2 import Prompts2
from xcomp_protos import indexer_pb2_grpc as rpc

Clock = Callable[[], float]

SPOTS = (1, 4, 10, 20)
_SECTIONS, _TOKENS, _CANDIDATES = 24, 1200, 4
_BEAMS = {1: {"spot": 5, "query": 1, "choose": 5}, 2: {"spot": 1, "query": 1, "choose": 1}}
_UNBOUNDED = 1_000_000
_RELEASED: dict[int, Callable[[Callable[[Prompt], int]], Prompts1 | Prompts2]] = {
    1: partial(Prompts1, context_tokens=_UNBOUNDED, is_reference=True),
    2: partial(Prompts2, context_tokens=_UNBOUNDED, is_reference=True),
}
_OURS_ALONE = ("describe", "second look")
_CLOSE = (0.45, 0.3, 0.15, 0.1)
_NAMES = [f"{a}{b}" for a in "qxzvk" for b in "abcd"]  # a word for each spot's images


class Given:
    """A model whose answers are given, and whose positions are counted by stage."""

    def __init__(self, model: XComposer, places: Sequence[int]) -> None:
        self._model, self._places = model, places
        self.name, self.digest = model.name, model.digest
        self.capabilities, self.prompts = model.capabilities, model.prompts
        self.read: Counter[str] = Counter()  # positions by stage
        self.queries: list[str] = []
        self._told = 0
        self._before: frozenset[str] = frozenset()

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts as the model does."""
        return self._model.count_tokens(prompt)

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: Callable[[], bool] = never) -> Iterator[str]:
        """Reads the prompt with its given answer, and yields the answer."""
        stage, answer = self._answer(prompt)
        before = self._model.positions_read
        self.say(prompt, answer, sampling, is_cancelled)
        self.read[stage] += self._model.positions_read - before
        yield answer

    def say(self, prompt: Prompt, answer: str, sampling: Sampling, is_cancelled: Callable[[], bool]) -> None:
        """Has the model read the answer behind its prompt."""
        whole = (*prompt, Template(answer))
        list(self._model.stream(whole, replace(sampling, grammar=None, max_new_tokens=1), is_cancelled=is_cancelled))

    def choose(self, prompt: Prompt, options: Sequence[str], *, is_cancelled: Callable[[], bool] = never) -> Choice:
        """Has the model choose, and answers closely: the same image in both orders."""
        offered = [part.key for part in prompt if isinstance(part, ImagePart)][-len(options) :]
        stage = "second look" if frozenset(offered) == self._before else "choose"
        self._before = frozenset(offered)
        before = self._model.positions_read
        mass = self.weigh(prompt, options, is_cancelled)
        self.read[stage] += self._model.positions_read - before
        shares = dict(zip(sorted(offered), _CLOSE, strict=True))
        return Choice(tuple(shares[key] for key in offered), mass)

    def weigh(self, prompt: Prompt, options: Sequence[str], is_cancelled: Callable[[], bool]) -> float:
        """Has the model weigh the options; returns the share of its probability that fell on them."""
        return self._model.choose(prompt, options, is_cancelled=is_cancelled).mass

    def _answer(self, prompt: Prompt) -> tuple[str, str]:
        cue = prompt[-1].text if isinstance(prompt[-1], Template) else ""
        if cue.endswith("适合插入图像的行是"):
            return "spot", _places_answer(self._places)
        if cue.endswith('标题是"'):
            self.queries.append(f"{_NAMES[len(self.queries)]} a cat on a mat")
            return "query", f'{self.queries[-1]}"'
        self._told += 1
        return "describe", f"a cat on a mat, a cat and a mat {self._told}."

    @cached_property
    def positions(self) -> int:
        """All that were read."""
        return sum(self.read.values())


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model folder instead of made-up ones, such as a release")
    parser.add_argument("--device", default="cpu", help="on others than cpu, times are those of the clock")
    options = parser.parse_args()
    print(machine.line("python -m tests.bench.pipeline_cost"))
    print(f"article {_TOKENS} tokens in {_SECTIONS} paragraphs, {_CANDIDATES} candidates a spot")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(ToyIndexer(pictures())) as address,
        grpc.insecure_channel(address) as channel,
    ):
        folders = [options.model] if options.model else [_made_up(version, folder) for version in (1, 2)]
        clock = time.process_time if options.device == "cpu" else time.perf_counter
        for each in folders:
            _report(partial(_loaded, each, options.device), rpc.IndexerStub(channel), clock)


def pictures() -> list[ToyImage]:
    """Four for each spot."""
    return [ToyImage(f"{name}{i}", f"{name} w{chr(97 + i)}", size=(64, 48)) for name in _NAMES for i in range(4)]


def _made_up(version: int, folder: str) -> str:
    return str(write_checkpoint(version, Path(folder) / str(version), full_images=True))


def _loaded(folder: str, device: str) -> XComposer:
    model = load(folder, Runtime(device=device))
    assert isinstance(model, XComposer), "only the native models count positions"
    return model


def _report(fresh: Callable[[], XComposer], stub: rpc.IndexerStub, clock: Clock) -> None:
    seconds: dict[int, float] = {}
    illustrated(fresh(), stub, spots=1)  # so that nothing is timed the first time
    for spots in SPOTS:
        model = fresh()
        started = clock()
        given = illustrated(model, stub, spots=spots)
        seconds[spots] = clock() - started
        _print_positions(model, given, spots)
    print("time | " + " | ".join(f"{s} spots {seconds[s] / seconds[1]:.1f}x" for s in SPOTS))
    alone, together = (_many(fresh(), stub, count, clock) for count in (1, 8))
    print(f"eight articles of 4 spots at once: {together[0] / alone[0]:.2f}x the articles/s of one after the other,")
    print(f"{together[1] / alone[1]:.2f}x the positions an article\n")


def released(model: XComposer, places: Sequence[int], queries: Sequence[str]) -> Counter[str]:
    """Counts what the released procedure reads and writes at one beam, by stage, for the same article and answers."""
    version = _version(model)
    prompts = _RELEASED[version](model.count_tokens)
    sections = [_section(model, i) for i in range(_SECTIONS)]
    picture, candidates = _blank("chosen"), [_blank(str(i)) for i in range(_CANDIDATES)]
    counted: Counter[str] = Counter()
    counted["spot"] = model.count_tokens((*prompts.spot(sections, count=len(places)), Template(_places_answer(places))))
    for at, (place, query) in enumerate(zip(places, queries, strict=True)):
        earlier = list(zip(places[:at], queries[:at], strict=True))
        asked = prompts.query(sections, place, earlier=earlier, language="zh")
        counted["query"] += model.count_tokens((*asked, Template(f'{query}"')))
        context = [Section(text, picture if i in places[:at] else None) for i, text in enumerate(sections[: place + 1])]
        chosen = model.count_tokens(prompts.choose(context, candidates))
        counted["choose"] += min(chosen, RELEASED_CUT[version]) + RELEASED_ANSWER[version]
    return counted


def _version(model: XComposer) -> int:
    return 1 if "1" in model.prompts.version else 2


def _places_answer(places: Sequence[int]) -> str:
    return ", ".join(f"<Seg{place}>" for place in places) + "."


def _blank(key: str) -> ImagePart:
    return ImagePart(key, Image.new("RGB", (32, 32)))


def _print_positions(model: XComposer, given: Given, spots: int) -> None:
    version = _version(model)
    theirs = released(model, _places(spots), given.queries)
    one = theirs.total()
    own = sum(theirs[stage] * _BEAMS[version][stage] for stage in theirs)
    like = sum(given.read[stage] for stage in theirs)
    rows = ", ".join(f"{stage} {given.read[stage]:,} of {theirs[stage]:,}" for stage in theirs)
    print(f"\nversion {version}, {spots} spots: {rows}")
    print("ours alone: " + ", ".join(f"{stage} {given.read[stage]:,}" for stage in _OURS_ALONE))
    for name, ours in (("like for like", like), ("with ours alone", given.positions)):
        print(
            f"{name}: {ours:,}; released, one beam {one:,} ({one / ours:.2f}x), its beams {own:,} ({own / ours:.2f}x)"
        )


def _many(model: XComposer, stub: rpc.IndexerStub, count: int, clock: Clock) -> tuple[float, float]:
    """Returns articles per second and positions per article, through one queue."""
    queue = FairQueue(width=model.capabilities.at_once, waiting=31)
    started, before = clock(), model.positions_read
    with ThreadPoolExecutor(count) as pool:
        made = [pool.submit(illustrated, model, stub, spots=4, queue=queue, number=i) for i in range(count)]
    for each in made:
        each.result()
    return count / (clock() - started), (model.positions_read - before) / count


def illustrated(
    model: XComposer,
    stub: rpc.IndexerStub,
    *,
    spots: int,
    queue: FairQueue | None = None,
    number: int = 0,
    kind: type[Given] = Given,
) -> Given:
    """Illustrates an article through the composer's own pipeline; returns what was counted."""
    call = PatientCallContext()
    given = kind(model, _places(spots))
    vision = VlmIllustrator(ModelSession(LoadedModel(given, queue or FairQueue(width=1, waiting=1)), call))
    setting = pipeline.Setting(RepositoryClient.open(IndexerConnection(stub, "toy", call), Conditions("toy")), vision)
    text = "\n\n".join(_section(model, number * _SECTIONS + i) for i in range(_SECTIONS))
    *_, article = pipeline.illustrate(pipeline.Source(text, "text"), IllustrationOptions(images=spots), setting)
    assert isinstance(article, Article)
    if len(article.illustrations) != spots:
        raise RuntimeError(
            f"{len(article.illustrations)} of {spots} spots: {[each.reason for each in article.unfilled]}"
        )
    return given


def _places(spots: int) -> list[int]:
    return [(i + 1) * _SECTIONS // spots - 1 for i in range(spots)]


def _section(model: XComposer, number: int) -> str:
    words = f"section {number} "
    while (count := model.count_tokens((Text(words),))) < _TOKENS // _SECTIONS - 1:  # its newline is one more
        words += "a cat on a mat " if count % 3 else "dog "
    return words.strip()


if __name__ == "__main__":
    main()
