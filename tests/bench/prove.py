"""Tests a release on the machine that will run it: `python -m tests.bench.prove MODEL [REPORT.md]`.

It loads the model in every precision that fits, asks it twelve selections with known answers, and writes a report: how
much probability falls on the letters, whether precisions and caches agree, how the memory compares with the plan, and
what the model answers freely. Failed checks are marked FAILED and end the program with status 1.
"""

import gc
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from tests.bench import machine
from xcomp_model import load
from xcomp_model.base import MIN_MASS, Choice, ImagePart, ModelFailure, Runtime, Sampling, Section, VisionLanguageModel
from xcomp_model.xcomposer.loading import plan_model

_COLOURS = {"red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色"}
_SHAPES = {"circle": "圆形", "square": "正方形", "triangle": "三角形"}
_SAME = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}  # largest difference of a probability by the cache
_MEMORY_TOLERANCE = 0.05


@dataclass(frozen=True)
class Case:
    """A selection with a known answer."""

    sections: list[Section]
    candidates: list[ImagePart]
    right: int


@dataclass
class Report:
    """Lines of the report, and whether all checks passed."""

    lines: list[str] = field(default_factory=list)
    is_good: bool = True

    def say(self, line: str = "") -> None:
        """Adds a line."""
        self.lines.append(line)
        print(line)

    def check(self, what: str, *, holds: bool) -> None:
        """Adds a check."""
        self.is_good &= holds
        self.say(f"- {'passed' if holds else 'FAILED'}: {what}")


def main() -> int:
    """Writes the report; returns the exit status."""
    if len(sys.argv) < 2:
        print("usage: python -m tests.bench.prove MODEL [REPORT.md]", file=sys.stderr)
        return 2
    name = sys.argv[1]
    path = Path(sys.argv[2] if len(sys.argv) > 2 else f"prove-{Path(name).name}.md")
    report = Report()
    report.say(f"# {name}")
    report.say(machine.line(f"python -m tests.bench.prove {name}"))
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    report.say(f"{where}, torch {torch.__version__}")
    try:
        _prove(name, report)
    except ModelFailure as error:
        report.check(str(error), holds=False)
    path.write_text("\n".join([*report.lines, ""]), encoding="utf-8")
    return 0 if report.is_good else 1


def _prove(name: str, report: Report) -> None:
    found: dict[str, list[Choice]] = {}
    for precision in ("fp32", "fp16", "bf16"):
        report.say(f"\n## {precision}")
        runtime = Runtime(precision=precision)
        plan = plan_model(name, runtime)
        if plan.headroom < 0:
            report.say(f"skipped: {plan.refusal()}")
            continue
        report.say("\n".join(plan.lines()))
        found[precision] = _prove_precision(name, runtime, report)
        _check_memory(plan.total - plan.workspace, report)
        gc.collect()
    report.say("\n## Agreement")
    if not found:
        report.check("no precision fits this machine", holds=False)
    best = {precision: [_best(choice) for choice in choices] for precision, choices in found.items()}
    for precision in list(best)[1:]:
        first = next(iter(best))
        same = sum(a == b for a, b in zip(best[first], best[precision], strict=True))
        report.check(
            f"{precision} chooses as {first} in {same} of {len(best[first])} cases", holds=same == len(best[first])
        )


def _prove_precision(name: str, runtime: Runtime, report: Report) -> list[Choice]:
    model = load(name, runtime)
    report.say(f"digest {model.digest[:16]}, prompts {model.prompts.version}, {model.capabilities}")
    cases = list(_cases())
    choices = [_choose(model, case) for case in cases]
    masses = [choice.mass for choice in choices]
    report.check(f"probability on the letters, minimum {min(masses):.3f}", holds=min(masses) >= MIN_MASS)
    right = sum(_best(choice) == case.right for choice, case in zip(choices, cases, strict=True))
    report.say(f"- right images: {right} of {len(cases)} (chance {len(cases) / 4:g})")
    prompt = model.prompts.choose(cases[0].sections, cases[0].candidates)
    report.say(f"- its free answer to the first case: {''.join(model.stream(prompt, Sampling(max_new_tokens=10)))!r}")
    del model
    gc.collect()
    fresh = _choose(load(name, runtime), cases[-1])
    distance = max(abs(a - b) for a, b in zip(fresh.probabilities, choices[-1].probabilities, strict=True))
    report.check(f"with and without cache within {distance:.1e}", holds=distance <= _SAME[runtime.precision])
    return choices


def _choose(model: VisionLanguageModel, case: Case) -> Choice:
    letters = "ABCD"[: len(case.candidates)]
    try:
        return model.choose(model.prompts.choose(case.sections, case.candidates), letters)
    except ModelFailure:
        return Choice(tuple(1 / len(letters) for _ in letters), mass=0.0)


def _cases() -> Iterator[Case]:
    """Yields twelve sentences, Chinese and English, each about one of four drawn shapes."""
    colours = list(_COLOURS)
    for number, (shape, chinese) in enumerate((s, c) for s, c in _SHAPES.items() for _ in range(4)):
        right = number % 4
        text = (
            f"墙上挂着一个{_COLOURS[colours[right]]}的{chinese}。" if number % 2 else
            f"There is a {colours[right]} {shape} on the wall."
        )  # fmt: skip
        candidates = [ImagePart(f"{colour} {shape}", _draw_shape(colour, shape)) for colour in colours]
        yield Case([Section("Shapes"), Section(text)], candidates, right)


def _draw_shape(colour: str, shape: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), "white")
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((40, 40, 184, 184), fill=colour)
    elif shape == "square":
        draw.rectangle((40, 40, 184, 184), fill=colour)
    else:
        draw.polygon(((112, 40), (40, 184), (184, 184)), fill=colour)
    return image


def _check_memory(planned: int, report: Report) -> None:
    if not torch.cuda.is_available():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        report.say(f"- resident memory so far, libraries and files included: {peak:.2f} GiB")
        return
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    off = peak / planned - 1
    report.check(f"peak {peak / 2**30:.2f} GiB, {off:+.1%} of the plan", holds=off <= _MEMORY_TOLERANCE)


def _best(choice: Choice) -> int:
    return max(range(len(choice.probabilities)), key=choice.probabilities.__getitem__)


if __name__ == "__main__":
    sys.exit(main())
