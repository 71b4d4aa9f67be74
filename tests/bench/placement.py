"""How well `retrieval` illustrates the sample articles with profile `lite`: `python -m tests.bench.placement`.

demo/articles/places.toml says which images suit which paragraph; it was written with the articles, before any result.
Once with the titles of the sidecars, once with hashed names and no metadata. "Near" is an image that is not listed.
The articles in absent/ are about things that no image of the demonstration shows: any image there is a wrong one.
They were written before any result, too.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import machine
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import ComposerClient, IndexerClient

DEMO = Path(__file__).resolve().parents[2] / "demo"
ABSENT = Path(__file__).with_name("absent")
ARTICLES = ("two-days-without-a-plan.en.md", "after-the-rain.zh.md")


def main() -> None:
    """Measures and prints the table."""
    print(machine.line("python -m tests.bench.placement"))
    ids = _ids()
    sought, absent = [], []
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as folder, _services(Path(folder)) as (indexer, composer):
        for repository, options in (("titled", []), ("hashed", ["--hashed"])):
            photos = Path(folder) / repository
            subprocess.run([sys.executable, DEMO / "collect.py", photos, *options], check=True, capture_output=True)
            for _ in indexer.ingest(pb.IngestRequest(repository=repository, paths=[str(photos)], profile="lite")):
                pass
            sought += [_sought(composer, repository, name, ids) for name in ARTICLES]
            absent += [_absent(composer, repository, path) for path in sorted(ABSENT.glob("*.md"))]
    print("\n| article | images | placed | as listed | near | at abstract paragraphs |\n|---|---|---|---|---|---|")
    print("\n".join(sought))
    print("\n| article that nothing fits | images | paragraphs | images that were placed |\n|---|---|---|---|")
    print("\n".join(absent))


def _sought(composer: ComposerClient, repository: str, name: str, ids: dict[str, str]) -> str:
    article = _illustrated(composer, repository, DEMO / "articles" / name)
    verdicts = [_verdict(name, segment, ids) for segment in article.segments]
    listed, near, abstract = (verdicts.count(word) for word in ("listed", "near", "abstract"))
    return f"| {name} | {repository} | {listed + near + abstract} | {listed} | {near} | {abstract} |"


def _absent(composer: ComposerClient, repository: str, path: Path) -> str:
    article = _illustrated(composer, repository, path)
    paragraphs = len(re.findall(r"\n\n(?!#)", path.read_text(encoding="utf-8")))
    placed = [segment.illustration for segment in article.segments if segment.HasField("illustration")]
    asked = "; ".join(f"{each.query.strip()} ({each.probability:.2f})" for each in placed)
    return f"| {path.name} | {repository} | {paragraphs} | {len(placed)}{asked and f': {asked}'} |"


def _ids() -> dict[str, str]:
    """Ids of the photographs by the names they are indexed under, plain and hashed."""
    photos = tomllib.loads((DEMO / "photos.toml").read_text(encoding="utf-8"))["photo"]
    return {key: photo["id"] for photo in photos for key in (photo["sha256"][:16], Path(photo["path"]).stem)}


def _illustrated(composer: ComposerClient, repository: str, path: Path) -> cpb.Article:
    text = path.read_text(encoding="utf-8")
    *_, last = composer.illustrate(cpb.IllustrateRequest(text=text, options=cpb.Options(repository=repository)))
    return last.article


def _verdict(name: str, segment: cpb.Segment, ids: dict[str, str]) -> str:
    if not segment.HasField("illustration"):
        return "empty"
    places = tomllib.loads((DEMO / "articles" / "places.toml").read_text(encoding="utf-8"))["paragraph"]
    place = next(each for each in places if each["article"] == name and segment.text.startswith(each["starts"]))
    if not place["ids"]:
        return "abstract"
    return "listed" if ids[Path(segment.illustration.path).stem] in place["ids"] else "near"


@contextmanager
def _services(folder: Path) -> Iterator[tuple[IndexerClient, ComposerClient]]:
    indexer, composer = f"unix:{folder / 'i'}", f"unix:{folder / 'c'}"
    commands = (
        ["xcomp_indexer.server.main", "--listen", indexer, "--home", str(folder / "home")],
        ["xcomp_composer.server.main", "--listen", composer, "--indexer", indexer],
    )
    processes = []
    for command in commands:
        process = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stderr
        if "listening" not in (said := process.stderr.readline()):
            sys.exit(f"error: {said.strip()}")
        process.stderr.close()
    try:
        with IndexerClient(indexer) as first, ComposerClient(composer) as second:
            yield first, second
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=60)


if __name__ == "__main__":
    main()
