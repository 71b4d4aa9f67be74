"""HTML stays as it is, byte for byte; images stand between its paragraphs, and nowhere that is in doubt."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from xcomp_composer.article import edit_images, edit_text
from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Candidate, Illustration, Segment
from xcomp_composer.bundle.writer import write_bundle
from xcomp_composer.document.blocks import Kind, find_spots
from xcomp_composer.document.html import find_ambiguous_line
from xcomp_composer.document.splitting import find_title, split_blocks
from xcomp_protos.errors import InvalidRequest

ILLUSTRATION = Illustration(
    "id", "toy", "/p.jpg", file='images/a "b".jpg', alt='"><script>x</script>', caption="<b>-->", credit="<!-- me"
)
PAGE = """<!doctype html>
<html lang="en"><head><title>A <p>title</p></title><style>p > b {}</style>
<script>document.write("<p>Never here.</p>")</script></head>
<body class='a > b'>
<h1>The <em>week</em></h1>
<p>A cup of espresso &amp; cream<br>stood on the table.</p>
<pre><p>Not in here, it is code.</p></pre>
<ul><li><p>Not in a list.</p></li></ul>
<table><tr><td><p>Not in a table.</p></td></tr></table>
<blockquote><p>Not in a quote.</p></blockquote>
<p>Shown already.</p>
<figure><img src="x.jpg" alt=""></figure>
<div><section>
<p class="x" title="a <b> c">The last one: 一只猫。</p></section></div>
<!-- <p>Not in a comment.</p> -->
<p><img src="y.jpg"> A paragraph with an image.</p>
</body></html>
"""


def illustrated(text: str, *, share: float = 1.0, seed: int = 0) -> Article:
    chance = random.Random(seed)
    blocks = split_blocks(text, "html")
    open_ = set(find_spots(blocks))
    segments = tuple(
        Segment(block.text, ILLUSTRATION if number in open_ and chance.random() < share else None)
        for number, block in enumerate(blocks)
    )
    return Article("", "en", "", "", segments, format="html")


def prose(text: str) -> list[str]:
    blocks = split_blocks(text, "html")
    return [blocks[number].prose for number in find_spots(blocks)]


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (PAGE, None), ("<p>One.</p>\n\n<p>Two.<p>Three.</p></div>", 3), ("<p>a</p>\n<![CDATA[x", 2),
        ("<div>\n<p>One\n<ul>\n<li>Two", 3), ("<div><p>One", None), ("<p>One</p>\n<p><b>Two\n<p>Three", 2),
    ],
)  # fmt: skip
def test_the_line_of_the_first_doubt_is_known(page: str, line: int | None) -> None:
    assert find_ambiguous_line(page) == line


def test_paragraphs_of_the_page_itself_are_places() -> None:
    assert prose(PAGE) == ["A cup of espresso & cream stood on the table.", "The last one: 一只猫。"]
    assert find_title(split_blocks(PAGE, "html"), "html") == "The week"


@pytest.mark.parametrize(
    ("head", "title"),
    [("<title>\nA &amp; B</title>", "A & B"), ("<title> </title>", "Some words."), ("", "Some words.")],
)
def test_a_page_without_a_heading_has_its_own_title_else_its_first_words(head: str, title: str) -> None:
    assert find_title(split_blocks(f"<head>{head}</head><p>Some words.</p>", "html"), "html") == title


def test_images_stand_right_after_their_paragraphs_and_can_be_removed() -> None:
    article = illustrated(PAGE)
    marked = insert_image_blocks(article)
    assert remove_image_blocks(marked, "html") == (PAGE, 2)
    assert "stood on the table.</p><!-- xcomp:begin " in marked
    assert '<img src="images/a%20%22b%22.jpg" alt="&quot;&gt;&lt;script&gt;x&lt;/script&gt;" ' in marked
    assert "&lt;b&gt;--&gt;" in marked
    assert marked.count("<script") == PAGE.count("<script")


def test_a_fragment_and_a_file_with_other_line_ends_work_too() -> None:
    text = "\ufeff<p>One paragraph here.</p>\r\n\r\n<p>Another one.</p>"
    assert prose(text) == ["One paragraph here.", "Another one."]
    article = illustrated(text)
    assert remove_image_blocks(insert_image_blocks(article), "html") == (text, 2)


def test_a_paragraph_ends_where_its_end_tag_may_be_left_out() -> None:
    page = (
        "<div><p>One para\n<p class=x>Two <b>paras</b>\n<h2>T</h2><p>Three paras<ul><li>no<p>nor here</li></ul>"
        "<p>Four paras</div>\n<p>Five paras <a href=x>with</a>\n"
    )
    assert prose(page) == ["One para", "Two paras", "Three paras", "Four paras", "Five paras with"]
    marked = insert_image_blocks(illustrated(page))
    assert remove_image_blocks(marked, "html") == (page, 5)
    assert prose(marked) == []


@pytest.mark.parametrize("tag", ["a", "ins", "video"])
def test_nothing_ends_a_paragraph_but_what_the_standard_names(tag: str) -> None:
    assert prose(f"<p>One para.</p><div><{tag}><p>Two paras</{tag}></div><p>Three paras.</p>") == ["One para."]


@pytest.mark.parametrize(
    "doubt",
    [
        "<div></span>", "</p>", "<!-- never closed", "<!-- a -- > b -->", "<!--> -->", "<?php echo 1 ?>",
        "<![CDATA[x]]>", "<a title=\"never closed>", "<p/>", "<a b='c'd>", "a <b", "<script>never closed",
        "<script><!-- <script> </script>", "<!weird>", "<textarea>", "<svg>", "</div >x</", "<p><b>",
        "<select><option>", "<template>", "<noscript>", "<a\x00b>",
    ],
)  # fmt: skip
def test_from_the_first_doubt_on_nothing_is_touched(doubt: str) -> None:
    text = f"<p>Before the doubt.</p>\n{doubt}\n<p>After the doubt.</p>\n"
    assert prose(text) == ["Before the doubt."]
    assert "".join(block.text for block in split_blocks(text, "html")) == text
    article = illustrated(text)
    assert remove_image_blocks(insert_image_blocks(article), "html") == (text, 1)


def test_marks_in_scripts_and_attributes_are_the_authors() -> None:
    block = insert_image_blocks(illustrated("<p>Some words.</p>")).removeprefix("<p>Some words.</p>")
    for text in (
        f"<script>x = `{block}`</script>",
        f"<title>{block}</title>",
        f"<p>Words.</p><textarea>{block}</textarea>",
    ):
        assert remove_image_blocks(text, "html") == (text, 0)
    assert remove_image_blocks(f"<p>Words.</p>{block}", "html") == ("<p>Words.</p>", 1)


def test_any_soup_of_tags_survives_cutting_and_marking() -> None:
    whole = [
        "<p>Some words here.</p>",
        "<div>",
        "</div>",
        "<br>",
        "\r\n",
        "<!-- a -->",
        "<h2>T</h2>",
        "<img src=x>",
        "words ",
    ]
    broken = [
        "<p>", "</p>", "<script>", "</script>", "<!--", "-->", "文字", "\n", "<li>", "<pre>", "</pre>", "<a href='",
        '"', ">", "<", "&amp;", "&#x4e00;", "&lt", "<!doctype html>", "<?", "<![CDATA[", "<textarea>", "</",
        "<!-- xcomp:begin 0123456789ab -->",
    ]  # fmt: skip
    chance = random.Random(11)
    placed = 0
    for seed in range(3000):
        pieces = chance.choices(whole, k=chance.randint(0, 9)) + chance.choices(
            [*whole, *broken], k=chance.randint(1, 9)
        )
        text = "".join(pieces)
        article = illustrated(text, share=0.8, seed=seed)
        assert article.text == text
        assert remove_image_blocks(insert_image_blocks(article), "html")[0] == text
        placed += len(article.illustrations)
    assert placed > 500


@pytest.mark.parametrize("unit", ["<", "<!--", "<a ", "<p>", "</p>", "&", "<a b=", "<!", "<script>", "<p>w</p>"])
def test_a_hostile_page_is_read_in_one_pass(unit: str) -> None:
    text = unit * 20_000
    assert "".join(block.text for block in split_blocks(text, "html")) == text


def test_new_words_are_words_in_the_tags_of_the_old_ones() -> None:
    text = '<h2 class="x">Old title</h2>\n<p id="a">Old words here.</p>\n<ul><li>no</li></ul>\n'
    article = Article(
        "", "en", "", "", tuple(Segment(block.text) for block in split_blocks(text, "html")), format="html"
    )
    assert edit_text.rewrite(article, 0, "New <b>").text.startswith('<h2 class="x">New &lt;b&gt;</h2>\n<p id="a">')
    two = edit_text.rewrite(article, 1, "One & two.\n\n<script>").text
    assert '<p id="a">One &amp; two.</p>\n<p>&lt;script&gt;</p>\n<ul>' in two
    assert "here.</p>\n\n<p>More words.</p>\n" in edit_text.insert_after(article, 1, "More words.").text
    with pytest.raises(InvalidRequest, match="not a paragraph"):
        edit_text.rewrite(article, 2, "x")
    open_ended = replace(article, segments=(Segment("<p>Old <b>words</b>\n"), Segment('<img src="a.jpg">')))
    assert edit_text.rewrite(open_ended, 0, "New").text.startswith("<p>New</p>\n<img")
    with pytest.raises(InvalidRequest, match="no text to replace"):
        edit_text.rewrite(open_ended, 1, "x")
    with pytest.raises(InvalidRequest, match="not a paragraph"):
        edit_images.show(article, 2, Candidate("c", "/c.jpg", 0.0))


def test_the_bundle_of_a_page_is_the_page_with_images(tmp_path: Path) -> None:
    article = illustrated(PAGE)
    kept = [replace(segment, illustration=None) for segment in article.segments]
    first = article.illustrations[0][0]
    kept[first] = article.segments[first]
    write_bundle(replace(article, segments=tuple(kept)), tmp_path, lambda *_: (b"bytes", ".jpg"))
    page = (tmp_path / "article.html").read_text(encoding="utf-8")
    assert remove_image_blocks(page, "html") == (PAGE, 1)
    assert not (tmp_path / "article.md").exists()
    assert (tmp_path / "review.html").is_file()
    assert [block.kind for block in split_blocks(page, "html")].count(Kind.IMAGE) == 3
