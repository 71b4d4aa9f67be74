"""IPTC: its charset, its date, and texts without a declared charset."""

from tests import images
from xcomp_indexer.images.decode import open_image
from xcomp_indexer.images.iptc import read_iptc


def test_the_date_has_the_zone_of_its_time() -> None:
    raw = open_image(images.with_iptc({(2, 55): [b"19980506"], (2, 60): [b"070809+0200"]}))
    assert read_iptc(raw) == {"date": "1998-05-06T05:08:09Z"}
    assert read_iptc(open_image(images.with_iptc({(2, 55): [b"19540000"]}))) == {"date": "1954"}


def test_the_declared_charset_counts_first() -> None:
    fields = {(1, 90): [b"\x1b%G"], (2, 25): ["è".encode()]}
    assert read_iptc(open_image(images.with_iptc(fields))) == {"tags": ["è"]}


def test_a_single_character_is_read_in_the_charset_of_the_block() -> None:
    fields = {(2, 5): ["窗边的橘猫".encode("gb18030")], (2, 25): ["猫".encode("gb18030"), "北京".encode("gb18030")]}
    assert read_iptc(open_image(images.with_iptc(fields))) == {"title": "窗边的橘猫", "tags": ["猫", "北京"]}


def test_punctuation_of_windows_survives() -> None:
    fields = {(2, 80): ["O’Brien".encode("cp1252")], (2, 120): ["“Café” – 5 €".encode("cp1252")]}
    assert read_iptc(open_image(images.with_iptc(fields))) == {"creator": "O’Brien", "caption": "“Café” – 5 €"}
