"""What leaves the house: images that tell nothing of their owner, a zip, and articles of static sites."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import ExifTags, Image

from tests import images, toy_indexer
from tests.indexing import Indexer
from tests.service.test_composer_service import serving
from tests.toy_indexer import PatientCallContext, ToyIndexer
from xcomp_cli.articles import output
from xcomp_cli.main import run
from xcomp_composer.article.model import Article, Illustration, Segment
from xcomp_composer.bundle.site_assets import USAGE_FILE
from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client.channel import dial

MAKER_SECRET, THUMB_SECRET = "MK-0815-secret", "thumbnail of home"
SECRETS = (
    images.GPS_SECRET, images.SERIAL_SECRET, images.COMMENT_SECRET, images.XMP_SECRET, MAKER_SECRET, THUMB_SECRET,
    "52.51", "13.37",
)  # fmt: skip


def talkative(kind: str) -> bytes:
    """An image of a phone: place, serial number, maker note, XMP, and a thumbnail with a comment of its own."""
    exif = Image.Exif()
    detail = exif.get_ifd(ExifTags.IFD.Exif)
    detail[ExifTags.Base.BodySerialNumber] = images.SERIAL_SECRET
    detail[ExifTags.Base.MakerNote] = MAKER_SECRET.encode()
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitude], place[ExifTags.GPS.GPSLatitudeRef] = (52.0, 30.0, 58.68), "N"
    place[ExifTags.GPS.GPSLongitude], place[ExifTags.GPS.GPSLongitudeRef] = (13.0, 22.0, 39.72), "E"
    place[ExifTags.GPS.GPSMapDatum] = images.GPS_SECRET
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{images.XMP_SECRET}</x:xmpmeta>".encode()
    photo = images.plain(images.RED, size=(3000, 2000) if kind == "JPEG" else (300, 200))  # HEIC encodes slowly
    if kind == "HEIF":
        target = io.BytesIO()
        pillow_heif.from_pillow(photo).save(target, exif=exif.tobytes(), xmp=xmp, quality=60)
        return target.getvalue()
    thumbnail = images.encoded(images.plain(size=(160, 120)), comment=THUMB_SECRET.encode())
    blob = exif.tobytes() + thumbnail  # a camera's thumbnail lies behind the entries
    return images.encoded(photo, exif=blob, xmp=xmp, comment=images.COMMENT_SECRET.encode())


@pytest.mark.parametrize(("name", "kind"), [("phone.jpg", "JPEG"), ("phone.heic", "HEIF")])
def test_nothing_of_the_owner_is_in_any_file_of_a_bundle(
    indexer: Indexer, photos: Path, tmp_path: Path, name: str, kind: str
) -> None:
    source = talkative(kind)
    assert all(secret.encode() in source for secret in (images.SERIAL_SECRET, MAKER_SECRET, images.XMP_SECRET))
    (photos / name).write_bytes(source)
    (photos / f"{name}.json").write_text(json.dumps({"title": "A wall", "credit": "Ann", "copyright": "2026 Ann"}))
    indexer.ingest(photos)
    with dial(indexer.address) as channel:
        connection = IndexerConnection(rpc.IndexerStub(channel), indexer.address, PatientCallContext())
        repository = RepositoryClient.open(connection, Conditions("default"))
        ((hit,),) = repository.search(["red"], k=1).hits
    offered = (hit.to_candidate(1.0),)
    shown = Illustration(hit.image_id, "default", hit.path, caption="A wall", credit="Ann", candidates=offered)
    article = Article("T", "en", "retrieval", "color", (Segment("Words.\n", shown),))
    folder = tmp_path / "bundle"
    written = output.bundle_target(folder).write(article, output.image_fetcher(indexer.client, "default"))
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) == 5
    for file in files:
        assert not [secret for secret in SECRETS if secret.encode() in file.read_bytes()], file.name
    ((_, illustration),) = written.illustrations
    assert illustration.file.endswith(".jpg")
    with Image.open(folder / illustration.file) as opened:
        assert opened.size == ((2048, 1365) if kind == "JPEG" else (300, 200))
        assert set(opened.getexif()) == {ExifTags.Base.Artist, ExifTags.Base.Copyright}
        assert not opened.getexif().get_ifd(ExifTags.IFD.GPSInfo)


def test_originals_keep_everything(indexer: Indexer, photos: Path, tmp_path: Path) -> None:
    (photos / "phone.heic").write_bytes(talkative("HEIF"))
    indexer.ingest(photos)
    (image_id,) = indexer.images().values()
    article = Article("T", "en", "m", "color", (Segment("Words.\n", Illustration(image_id, "default", "/p.heic")),))
    written = output.bundle_target(tmp_path / "b").write(
        article, output.image_fetcher(indexer.client, "default", originals=True)
    )
    ((_, illustration),) = written.illustrations
    assert (tmp_path / "b" / illustration.file).read_bytes() == (photos / "phone.heic").read_bytes()


HUGO = """+++
title = "A day out"
tags = ["coffee"]
+++

A cup of espresso stood on the wooden table.

{{< youtube w7Ft2ymGmfc >}}

In the garage stood the red motorcycle.
"""
JEKYLL = """---
layout: post
title: "A day out"
---

A cup of espresso stood on the wooden table.

{% include note.html text="kept" %}

```sh
echo "A ginger cat slept in the grass"
```

In the garage stood the red motorcycle.
"""
SITES = {
    "hugo": (HUGO, "content/posts/day.md", "static/img", ["--url-prefix", "/img/"], "(/img/"),
    "hugo bundle": (HUGO, "content/posts/day/index.md", "content/posts/day", ["--url-prefix", ""], "("),
    "jekyll": (
        JEKYLL, "_posts/2026-05-01-day.md", "assets/img", ["--url-prefix", "{{site.baseurl}}/assets/img"],
        "({{site.baseurl}}/assets/img/",
    ),
    "jekyll, filtered": (
        JEKYLL, "_posts/2026-05-01-day.md", "assets/img", ["--url-prefix", "{{ '/assets/img' | relative_url }}"],
        "({{ '/assets/img' | relative_url }}/",
    ),
    "jekyll, relative": (JEKYLL, "_posts/2026-05-01-day.md", "assets/img", [], "(../assets/img/"),
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with toy_indexer.serving(ToyIndexer()) as address, serving(address) as composer:
        monkeypatch.setenv("XCOMP_INDEXER", address)
        monkeypatch.setenv("XCOMP_COMPOSER", composer.address)
        yield tmp_path


def illustrate(post: Path, assets: str, *more: str) -> None:
    assert run(["illustrate", str(post), "--repo", "toy", "--in-place", "--assets", assets, *more]) == 0


@pytest.mark.parametrize("kind", SITES)
def test_a_site_gets_images_and_keeps_its_words(site: Path, kind: str) -> None:
    text, name, assets, flags, link = SITES[kind]
    post = site / name
    post.parent.mkdir(parents=True)
    post.write_text(text)
    (site / assets).mkdir(parents=True, exist_ok=True)
    (site / assets / "theirs.jpg").write_bytes(b"not ours")
    illustrate(post, assets, *flags)
    once = post.read_text()
    front = text[: text.index("\n\n") + 2]
    assert once.startswith(front)
    images_there = {file.name for file in (site / assets).glob("*.jpg")} - {"theirs.jpg"}
    assert len(images_there) == once.count("![") == 2
    assert all(f"{link}{name})" in once for name in images_there)
    illustrate(post, assets, *flags)
    assert post.read_text() == once
    assert {file.name for file in (site / assets).glob("*.jpg")} == images_there | {"theirs.jpg"}
    illustrate(post, assets, *flags, "--images", "0")
    assert post.read_text() == text
    assert [file.name for file in (site / assets).glob("*.jpg")] == ["theirs.jpg"]


def test_an_image_stays_while_another_article_shows_it(site: Path) -> None:
    posts = [site / name for name in ("one.md", "two.md")]
    for post in posts:
        post.write_text("A cup of espresso stood on the wooden table.\n")
        illustrate(post, "img", "--url-prefix", "/img")
    (image,) = (site / "img").glob("*.jpg")
    illustrate(posts[0], "img", "--images", "0")
    assert image.exists()
    posts[1].unlink()
    illustrate(posts[0], "img", "--images", "0")
    assert not image.exists()


def test_a_list_that_was_tampered_with_removes_nothing_elsewhere(site: Path) -> None:
    outside = site / "outside.jpg"
    outside.write_bytes(b"mine")
    (site / "img").mkdir()
    names = {"../outside.jpg": ["gone.md"], ".hidden": ["gone.md"], "sub/x.jpg": ["gone.md"]}
    (site / "img" / USAGE_FILE).write_text(json.dumps({"pictures": names}))
    (site / "img" / ".hidden").write_bytes(b"mine")
    post = site / "one.md"
    post.write_text("A cup of espresso stood on the wooden table.\n")
    illustrate(post, "img")
    assert outside.exists()
    assert (site / "img" / ".hidden").exists()


@pytest.mark.parametrize(
    "flags", [["--zip"], ["--out", "post.illustrated.zip"], ["--out", "post.illustrated", "--zip"]]
)
def test_a_bundle_can_be_one_zip_of_the_same_bytes(site: Path, flags: list[str]) -> None:
    post = site / "post.md"
    post.write_text(HUGO)
    archives = []
    for _ in range(2):
        assert run(["illustrate", "post.md", "--repo", "toy", *flags]) == 0
        with zipfile.ZipFile(site / "post.illustrated.zip") as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            archives.append({n: archive.read(n) for n in names if not n.endswith(".json")})
    assert archives[0] == archives[1]
    assert not (site / "post.illustrated").exists()
    assert {name.partition("/")[0] for name in names} == {"post.illustrated"}
    assert {name.split("/")[1] for name in names} == {
        "article.html", "article.json", "article.md", "images", "review.html",
    }  # fmt: skip
    assert [file.name for file in site.iterdir() if file.suffix == ".part"] == []


def test_a_zip_does_not_go_into_an_article(site: Path) -> None:
    (site / "post.md").write_text(HUGO)
    assert run(["illustrate", "post.md", "--in-place", "--assets", "img", "--zip"]) == 2
