"""The cost of choosing images, in positions that the decoder reads: `python -m tests.bench.selection_cost`.

An article of 1,200 tokens in twelve sections, ten spots with four candidates each, on made-up models whose images
take as many positions as the releases' (66 and 256). The minimum reads the prompt's opening, the article up to the
last spot, every chosen image, every candidate and the closing words of every question once. The released procedure
reads each prompt again, cut where its demos cut it, and generates an answer (nine tokens in version 1.0, ten in version
2), at one beam and at its own number: five in version 1.0, one in version 2.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.bench import machine
from tests.checkpoints import write_checkpoint
from xcomp_model import load
from xcomp_model.base import ImagePart, Prompt, Section, Text
from xcomp_model.xcomposer.model import XComposer

_SECTIONS, _TOKENS, _SPOTS, _CANDIDATES = 12, 1200, 10, 4
RELEASED_ANSWER = {1: 9, 2: 10}
RELEASED_CUT = {1: 1679, 2: 4096}  # positions of a selection prompt that the demos keep
_RELEASED_BEAMS = {1: 5, 2: 1}


def main() -> None:
    """Prints the table."""
    print(machine.line("python -m tests.bench.selection_cost"))
    print(f"article {_TOKENS} tokens, {_SPOTS} spots, {_CANDIDATES} candidates each\n")
    print("version | minimum | ours | ours / minimum | released, 1 beam | released, its beams")
    for version in (1, 2):
        minimum, ours, prompts = measure(version)
        released = sum(min(prompt, RELEASED_CUT[version]) + RELEASED_ANSWER[version] for prompt in prompts)
        beams = _RELEASED_BEAMS[version]
        row = [version, minimum, ours, f"{ours / minimum:.3f}", f"{released} ({released / minimum:.1f}x)"]
        print(" | ".join(map(str, [*row, f"{released * beams} ({released * beams / minimum:.1f}x, {beams} beams)"])))


def measure(version: int) -> tuple[int, int, list[int]]:
    """Returns the minimum, the positions read, and the positions of every prompt."""
    with tempfile.TemporaryDirectory() as folder:
        model = load(str(write_checkpoint(version, Path(folder), full_images=True)))
    assert isinstance(model, XComposer)
    texts = [_section(model, i) for i in range(_SECTIONS)]
    images = [ImagePart(f"{i}", Image.new("RGB", (32, 32), (i * 5, 90, 90))) for i in range(_SPOTS * _CANDIDATES)]
    chosen: list[ImagePart] = []
    prompts: list[int] = []
    minimum = 0
    for spot in range(_SPOTS):
        candidates = images[spot * _CANDIDATES : (spot + 1) * _CANDIDATES]
        prompt = model.prompts.choose(_context(texts, chosen, spot=spot), candidates)
        model.choose(prompt, "ABCD"[:_CANDIDATES])
        prompts.append(model.count_tokens(prompt))
        minimum += model.count_tokens(_closing(model, candidates))
        chosen.append(candidates[0])
    context = _context(texts, chosen, spot=_SPOTS - 1)
    minimum += sum(model.count_tokens((Text(f"{section.text}\n"),)) for section in context)
    minimum += model.count_tokens(_opening(model, candidates))
    minimum += sum(model.count_tokens((section.image,)) for section in context if section.image)
    return minimum, model.positions_read, prompts


def _opening(model: XComposer, candidates: Sequence[ImagePart]) -> Prompt:
    """Returns everything before the first words of the article."""
    marked = model.prompts.choose([Section("article")], candidates)
    return marked[: marked.index(Text("article"))]


def _closing(model: XComposer, candidates: Sequence[ImagePart]) -> Prompt:
    """Returns the candidates and the words around them, which differ between spots or follow a part that does."""
    return model.prompts.choose([], candidates)[len(_opening(model, candidates)) :]


def _context(texts: Sequence[str], chosen: Sequence[ImagePart], *, spot: int) -> list[Section]:
    """Returns the sections up to a spot, with the images chosen before. Spot i is after section i + 1."""
    image_after = {i + 1: image for i, image in enumerate(chosen) if i < spot}
    return [Section(text, image_after.get(i)) for i, text in enumerate(texts[: spot + 2])]


def _section(model: XComposer, number: int) -> str:
    words = f"section {number} "
    while model.count_tokens((Text(words),)) < _TOKENS // _SECTIONS - 1:  # the newline is one more token
        words += "a cat on a mat " if model.count_tokens((Text(words),)) % 3 else "dog "
    return words.strip()


if __name__ == "__main__":
    main()
