"""XMP and GPS: what is read of them, and that a hostile packet says nothing and harms nothing."""

import struct
import time
from pathlib import Path

import pytest

from tests import images
from xcomp_indexer.images import metadata, xmp
from xcomp_indexer.images.decode import open_image
from xcomp_indexer.images.rendition import render

FULL = """
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Harbour</rdf:li><rdf:li xml:lang="zh-CN">港口</rdf:li></rdf:Alt>
</dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Ships &amp; lights</rdf:li></rdf:Alt></dc:description>
<dc:creator><rdf:Seq><rdf:li>Ann Other</rdf:li><rdf:li>李雷</rdf:li></rdf:Seq></dc:creator>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) 2024 Ann</rdf:li></rdf:Alt></dc:rights>
<dc:subject><rdf:Bag><rdf:li>harbour</rdf:li><rdf:li>night</rdf:li><rdf:li/></rdf:Bag></dc:subject>
<Iptc4xmpCore:AltTextAccessibility><rdf:Alt><rdf:li xml:lang="en">Three ships</rdf:li></rdf:Alt>
</Iptc4xmpCore:AltTextAccessibility>
<photoshop:Source>Archive</photoshop:Source>
"""


def known(content: bytes, tmp_path: Path) -> metadata.Metadata:
    return metadata.read_metadata(open_image(content), str(tmp_path / "a.jpg"))


def test_xmp_gives_every_key_that_it_has(tmp_path: Path) -> None:
    content = images.with_xmp(FULL, photoshop_Credit="Agency", photoshop_DateCreated="2024-05-01T18:30:00+02:00")
    assert known(content, tmp_path) == {
        "title": "Harbour",
        "title_zh": "港口",
        "caption": "Ships & lights",
        "creator": "Ann Other, 李雷",
        "copyright": "(c) 2024 Ann",
        "tags": ["harbour", "night"],
        "alt": "Three ships",
        "source": "Archive",
        "credit": "Agency",
        "date": "2024-05-01T16:30:00Z",
    }


def test_a_sidecar_overrules_xmp_and_xmp_overrules_exif(tmp_path: Path) -> None:
    packet = open_image(images.with_xmp(FULL)).info["xmp"]
    content = images.encoded(images.plain(), xmp=packet, exif=open_image(images.telling()).getexif())
    (tmp_path / "a.jpg.json").write_text('{"title": "Port"}')
    said = known(content, tmp_path)
    assert (said["title"], said["creator"]) == ("Port", "Ann Other, 李雷")
    assert "caption" not in said  # it would be printed before the title


def test_texts_are_cleaned_and_bounded(tmp_path: Path) -> None:
    tags = "".join(f"<rdf:li>t{at}</rdf:li>" for at in range(2000))
    said = known(
        images.with_xmp(
            f"<dc:title>a\u202eb\x7f{'x' * 9000}</dc:title><dc:subject><rdf:Bag>{tags}</rdf:Bag></dc:subject>"
        ),
        tmp_path,
    )
    assert said["title"] == "ab" + "x" * (metadata.MAX_TEXT - 2)
    assert isinstance(said["tags"], list)
    assert len(said["tags"]) == xmp.MAX_ITEMS


LOL = "".join(f'<!ENTITY l{at} "{f"&l{at - 1};" * 10}">' for at in range(1, 10))
RDF = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<rdf:Description><dc:title>{}</dc:title></rdf:Description></rdf:RDF>"
)
HOSTILE = {
    "billion laughs": f'<!DOCTYPE x [<!ENTITY l0 "lol">{LOL}]>' + RDF.format("&l9;"),
    "file": '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + RDF.format("&f;"),
    "parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x.dtd">%p;]>' + RDF.format("x"),
    "external dtd": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + RDF.format("x"),
    "deep": "<a>" * 150_000,
    "starts without end": "<rdf:RDF >" * 100_000,
    "unclosed": RDF.format("x")[:-5],
    "unknown encoding": '<?xml version="1.0" encoding="x-none"?>' + RDF.format("x"),
    "text": "title: Harbour",
    "nothing": "",
    "too large": RDF.format("x" * xmp.MAX_BYTES),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_or_broken_packet_says_nothing_and_costs_little(kind: str) -> None:
    begun = time.thread_time()  # of this thread's own work, however busy the machine is
    assert xmp.read_packet(HOSTILE[kind].encode()) == {}
    assert time.thread_time() - begun < 2


@pytest.mark.parametrize("packet", [None, 3, "text", b"\xff\xfe\0", b"\0" * 100])
def test_what_is_no_packet_says_nothing(packet: object) -> None:
    assert xmp.read_packet(packet) == {}


def test_a_packet_in_utf16_is_read() -> None:
    assert xmp.read_packet(RDF.format("港口").encode("utf-16")) == {"title": "港口"}


def test_an_image_with_a_hostile_packet_is_still_an_image(tmp_path: Path) -> None:
    content = images.encoded(images.plain(), xmp=HOSTILE["billion laughs"].encode())
    assert known(content, tmp_path) == {}


UNDEFINED = images.located((77, 0, 0), "N", (0, 0, 0), "E")
for order in "<>":
    UNDEFINED = UNDEFINED.replace(struct.pack(f"{order}LL", 77, 1), bytes(8))  # 0/0, as cameras without a fix write


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (images.located((52, 30, 59), "N", (13, 22, 30), "E"), (52.516389, 13.375)),
        (images.located((33, 51, 31.5), "S", (151, 12, 0), "W"), (-33.858750, -151.2)),
        (images.located((91, 0, 0), "N", (0, 0, 0), "E"), None),
        (images.located((1, 0, 0), "X", (0, 0, 0), "E"), None),
        (UNDEFINED, None),
        (images.telling(), None),
        (images.jpeg(), None),
    ],
)  # fmt: skip
def test_gps_gives_degrees_or_nothing(content: bytes, place: metadata.GeoPoint | None) -> None:
    found = metadata.read_location(open_image(content))
    assert found == (pytest.approx(place, abs=1e-6) if place else None)


def test_renditions_have_no_location_and_no_xmp() -> None:
    content = images.located((52, 30, 59), "N", (13, 22, 30), "E")
    published = open_image(render(content, {"credit": "Ann"}).content)
    assert metadata.read_location(published) is None
    assert "xmp" not in open_image(render(images.with_xmp(FULL), {}).content).info


def test_stray_bytes_lose_nothing_of_a_packet() -> None:
    for packet in (
        RDF.format("Cats & dogs").encode(),
        RDF.format("Cats &amp; dogs").encode() + b"\0\0garbage",
        b"\0\0" + RDF.format("Cats &amp;\x01 dogs").encode(),
        b"garbage" + RDF.format("Cats &amp; dogs").encode(),
    ):
        assert xmp.read_packet(packet) == {"title": "Cats & dogs"}
    assert xmp.read_packet(RDF.format("Caf\u00e9").encode("latin-1")) == {"title": "Caf\u00e9"}


def test_the_packet_of_a_gif_is_read(tmp_path: Path) -> None:
    content = images.encoded(images.plain(), "GIF")
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    block = b"\x21\xff\x0bXMP DataXMP" + RDF.format("A flag").encode() + trailer
    at = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))
    assert known(content[:at] + block + content[at:], tmp_path) == {"title": "A flag"}


def test_dates_and_licences_are_read_wherever_a_program_writes_them() -> None:
    def read(properties: str) -> dict[str, str | list[str]]:
        spaces = (
            'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:r="http://ns.adobe.com/xap/1.0/rights/" '
            'xmlns:cc="http://creativecommons.org/ns#" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
        )
        packet = f"<rdf:RDF {spaces}><rdf:Description>{properties}</rdf:Description></rdf:RDF>"
        return xmp.read_packet(packet.encode())

    assert read("<exif:DateTimeOriginal>1998-05-06</exif:DateTimeOriginal>") == {"date": "1998-05-06"}
    address = "https://creativecommons.org/licenses/by-sa/4.0/"
    assert read(f'<cc:license rdf:resource="{address}"/>') == {"license": "CC BY-SA 4.0"}
    assert read(f"<r:WebStatement>{address}</r:WebStatement>") == {"license": "CC BY-SA 4.0"}
    terms = "<r:UsageTerms><rdf:Alt><rdf:li>For schools</rdf:li></rdf:Alt></r:UsageTerms>"
    assert read(f"{terms}<r:WebStatement>{address}</r:WebStatement>") == {"license": "For schools"}


def test_a_list_without_end_is_read_only_as_far_as_it_counts() -> None:
    packet = RDF.replace("dc:title", "dc:subject").format("<rdf:Bag>" + "<rdf:li>a</rdf:li>" * 40_000 + "</rdf:Bag>")
    assert xmp.read_packet(packet.encode()) == {"tags": ["a"] * xmp.MAX_ITEMS}
