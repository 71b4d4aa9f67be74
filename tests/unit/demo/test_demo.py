"""The demonstration's material: the allow-list of photographs, the queries, the articles, and the copying script."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from xcomp_indexer.images import metadata

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "demo"
NO_PARAGRAPH = ("#", ">", "- ")


def script(name: str) -> ModuleType:
    """Imports a script of the demonstration, which is no package."""
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


collect, screenshots = script("collect"), script("screenshots")
PHOTOS = collect.load_photos()
IDS = {photo.id for photo in PHOTOS}


def queries() -> list[list[str]]:
    with (DEMO / "queries.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t")
        return list(rows)[1:]


def places() -> Iterator[tuple[str, str, list[str]]]:
    for place in tomllib.loads((DEMO / "articles/places.toml").read_text(encoding="utf-8"))["paragraph"]:
        yield place["article"], place["starts"], place["ids"]


def paragraphs(article: str) -> list[str]:
    blocks = re.split(r"\n\s*\n", (DEMO / "articles" / article).read_text(encoding="utf-8").strip())
    return [block for block in blocks if not block.startswith(NO_PARAGRAPH)]


@pytest.fixture(scope="module")
def albums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("albums")
    collect.collect(PHOTOS, destination)
    return destination


def test_every_photo_says_whose_it_is_and_on_what_terms() -> None:
    for photo in PHOTOS:
        assert photo.credit, photo.id
        assert photo.license, photo.id
        assert photo.source.startswith(("https://", "http://")), photo.id


def test_photos_are_enough_distinct_and_named_in_both_languages() -> None:
    assert len(PHOTOS) >= 50
    for key in ("id", "sha256", "title", "title_zh", "name", "hashed_name"):
        assert len({getattr(photo, key) for photo in PHOTOS}) == len(PHOTOS), key
    assert all(re.search("[\u4e00-\u9fff]", photo.title_zh) for photo in PHOTOS)


def test_queries_ask_in_both_languages_for_every_photo() -> None:
    rows = queries()
    assert all(len(row) == 3 and all(row) for row in rows)
    assert len(rows) >= 100
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
    assert all(re.search("[\u4e00-\u9fff]", row[1]) for row in rows)
    assert {name for row in rows for name in row[2].split(" ")} == IDS


def test_articles_are_annotated_paragraph_by_paragraph() -> None:
    annotated = defaultdict(list)
    for article, starts, ids in places():
        annotated[article].append(starts)
        assert set(ids) <= IDS, starts
    assert {path.name for path in (DEMO / "articles").glob("*.md")} == annotated.keys()
    for article, openings in annotated.items():
        actual = paragraphs(article)
        assert len(actual) == len(openings), article
        assert all(text.startswith(start) for text, start in zip(actual, openings, strict=True)), article


@pytest.mark.parametrize(("language", "concrete", "abstract"), [("en", 5, 3), ("zh", 4, 2)])
def test_articles_mix_paragraphs_to_illustrate_with_ones_to_leave_alone(
    language: str, concrete: int, abstract: int
) -> None:
    counted = Counter(bool(ids) for article, _, ids in places() if article.endswith(f".{language}.md"))
    assert counted[True] >= concrete
    assert counted[False] >= abstract


def test_class_table_names_all_thousand_classes_in_order() -> None:
    table = resources.files("xcomp_indexer.embed.lite").joinpath("classes_zh.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in table.splitlines()]
    assert [row[0] for row in rows] == [str(index) for index in range(1000)]
    for column in (1, 2):
        assert all(row[column].strip() == row[column] != "" for row in rows)
        assert len({row[column] for row in rows}) == 1000
    chinese = {row[1]: row[2] for row in rows}
    assert (chinese["crane"], chinese["construction crane"]) == ("鹤", "起重机")


def test_collect_sorts_into_albums_with_sidecars_that_the_indexer_understands(albums: Path) -> None:
    for photo in PHOTOS:
        path = albums / photo.name
        known = metadata.read_sidecar(str(path))
        with Image.open(path) as image:
            image.verify()
        assert known["title"] == photo.title
        assert known["title_zh"] == photo.title_zh
        assert known["credit"] == photo.credit
        assert known["license"] == photo.license
        assert known["source"] == photo.source


def test_collecting_again_leaves_every_file_as_it_was(albums: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in albums.rglob("*")}
    collect.collect(PHOTOS, albums)
    assert {path: path.stat().st_mtime_ns for path in albums.rglob("*")} == before


def test_hashed_names_and_files_tell_nothing_about_the_pictures(tmp_path: Path) -> None:
    paths = collect.collect(PHOTOS, tmp_path, hashed=True)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    for path in paths:
        assert re.fullmatch(r"[0-9a-f]{16}\.(png|jpg)", path.name)
        with Image.open(path) as image:
            told = metadata.read_metadata(image, str(path)).keys()
        assert told <= {"camera", "copyright", "creator", "date", "gps"}, path  # none says what is seen


def test_collect_names_the_missing_package(tmp_path: Path) -> None:
    absent = replace(PHOTOS[0], package="no-such-package", version="1.0")
    with pytest.raises(
        collect.CollectError, match=r"^no-such-package is not installed: pip install no-such-package==1"
    ):
        collect.collect([absent], tmp_path)


def test_collect_refuses_a_picture_that_is_not_the_listed_one(tmp_path: Path) -> None:
    other = replace(PHOTOS[0], sha256="0" * 64)
    with pytest.raises(collect.CollectError, match="is not the listed image"):
        collect.collect([other], tmp_path)
    assert not list(tmp_path.iterdir())


def test_collect_runs_as_a_script(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO / "collect.py"), str(tmp_path / "photos")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{len(PHOTOS)} photographs")


def test_collect_fails_in_one_line_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, str(DEMO / "collect.py"), str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)


def test_sidecars_are_readable_json_with_no_empty_value(albums: Path) -> None:
    sidecars = list(albums.rglob("*.json"))
    assert len(sidecars) == len(PHOTOS)
    for sidecar in sidecars:
        assert all(json.loads(sidecar.read_text(encoding="utf-8")).values())


def test_a_readme_shows_the_beginnings_of_pages_beside_each_other() -> None:
    pages = [Image.new("RGB", (2, 9000), "red"), Image.new("RGB", (3, 10), "blue")]
    row = screenshots.join_beginnings(pages)
    assert row.size == (5, screenshots.BEGINNING_PX)
    assert [row.getpixel((x, 9)) for x in range(5)] == [(255, 0, 0)] * 2 + [(0, 0, 255)] * 3
