"""Takes some mutants through the decoder and a whole ingest, in a process that may die of it: see `decode_fuzz`.

`python -m tests.soak.fuzz_child SEED FIRST COUNT FOLDER` prints the results; the file under way stands in
`FOLDER/current`, so that a crash has a name.
"""

import faulthandler
import json
import resource
import sys
from collections import Counter
from pathlib import Path

from tests.fakes import CountingEmbedder
from tests.soak.mutants import Mutant, mutant
from xcomp_indexer.images import decode
from xcomp_indexer.ingest import loader as load
from xcomp_indexer.ingest.events import Failure, IngestRequest, Summary
from xcomp_indexer.ingest.failure_log import REASONS
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.ingest.scan import scan
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import ImageError

_INPUT = 32  # pixels that the model reads
_MEMORY = 6 * 2**30  # bytes of address space: a bomb that gets through is a crash


def main(seed: int, first: int, count: int, folder: Path) -> None:
    """Prints the number of files by what they were, and what is wrong."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    mutants = [mutant(seed, number) for number in range(first, first + count)]
    photos = _written(mutants, folder / "photos")
    said = _decoded(photos, folder / "current")
    problems = [f"{name}: the unknown reason {reason}" for name, reason in said.items() if reason not in (*REASONS, "")]
    (folder / "current").write_text("the whole ingest")
    problems += _ingested(photos, folder / "home", said)
    print(json.dumps({"reasons": Counter(reason or "an image" for reason in said.values()), "problems": problems}))


def _written(mutants: list[Mutant], photos: Path) -> Path:
    photos.mkdir(parents=True)
    for each in mutants:
        (photos / each.name).write_bytes(each.content)
        if each.sidecar is not None:
            (photos / f"{each.name}.json").write_bytes(each.sidecar)
    return photos


def _decoded(photos: Path, current: Path) -> dict[str, str]:
    """Returns the reason of each file's failure, none for an image."""
    said: dict[str, str] = {}
    loader = load.Loader((), lambda image: {"size": image.size}, image_size=_INPUT)
    for entry in scan([str(photos)]).entries:
        name = Path(entry.path).name
        current.write_text(name)
        try:
            loader.read(entry)
            image = decode.decode(Path(entry.path).read_bytes()).image  # at full size as well
            said[name] = "" if image.mode == "RGB" else f"mode {image.mode}"
        except ImageError as error:
            said[name] = error.reason if len(str(error).splitlines()) == 1 else "a message of several lines"
    return said


def _ingested(photos: Path, home: Path, said: dict[str, str]) -> list[str]:
    """Returns what is wrong with two ingests of all files."""
    embedder = CountingEmbedder()
    library = RepositoryCatalog(open_stores(f"edge:{home}"), EmbedderCache(lambda _: embedder), default_profile="color")
    repository = library.create("default")
    problems: list[str] = []
    for run in ("first", "second"):
        seen = embedder.images
        events = list(Ingest(repository, lambda _: embedder, IngestRequest([str(photos)])).run())
        failed = {Path(event.path).name: event.reason for event in events if isinstance(event, Failure)}
        wrong = {name for name, reason in said.items() if reason != failed.get(name, "")}
        problems += [
            f"{name}: alone {said[name] or 'fine'}, in the {run} ingest {failed.get(name, 'fine')}" for name in wrong
        ]
        summary = events[-1]
        assert isinstance(summary, Summary)
        if summary.added + summary.unchanged + summary.failed != len(said):
            problems.append(f"the {run} ingest lost files: {summary}")
        if run == "second" and embedder.images != seen:
            problems.append("the second ingest embedded again")
    library.close()
    return problems


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
