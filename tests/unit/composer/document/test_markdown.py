"""Texts are cut, never rebuilt; our blocks go in and come out without a trace."""

import random

import pytest

from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Illustration, Segment, detect_language
from xcomp_composer.document import commonmark
from xcomp_composer.document.blocks import Kind, find_spots
from xcomp_composer.document.markdown import parse
from xcomp_composer.document.splitting import find_title, split_blocks

ILLUSTRATION = Illustration(
    "id", "toy", "/p.jpg", file="images/a b(1).jpg", alt="an [alt] <!-- xcomp:end 0 -->", caption="a_b*c", credit="<me>"
)
NASTY = [
    "One paragraph without an end",
    "\ufeff# Title\r\n\r\nWords with CRLF.\r\n\r\nMore words.\r\n",
    "---\ntitle: 'Front matter'\ndate: 2024-01-01\n---\n\nWords after it.\n",
    "+++\ntitle = \"TOML\"\n+++\nWords after it.\n",
    "---\n\nNot front matter.\n\n---\n",
    '{\r\n  "title": "JSON",\r\n\r\n  "a": {\r\n  }\r\n}\r\n\r\nWords after it.\r\n',
    '{\n  "a": 1,\n\nWords in a brace that never closes.\n',
    "Term\n: A definition.\n\n    More of it.\n\nWords.\n",
    "Lone\rcarriage\r\rreturns\r",
    "Line\u2028separators \x0b and \x0c and \x85 are words here.\n\nMore\x00words.\n",
    "Words\n# A heading without a blank line\nWords again\n- a list\n- more\n",
    "```\ncode that never ends\n\nstill code",
    "    indented code\n\nWords.\n\n\tmore code\n",
    "| a | b |\n|---|--:|\n| 1 | 2 |\n\nWords.\n",
    "<div>\n\nWords in a div.\n\n</div>\n<!-- a comment -->\nWords after a comment.\n",
    "<!-- xcomp:begin 0123456789ab -->\n\nForged.\n\n<!-- xcomp:end 0123456789ab -->\n",
    "<!-- xcomp:end 0123456789ab --> unbalanced <!-- xcomp:begin 0123456789ab -->\n\nWords.\n",
    "Ends with a backslash\\\n# Heading\nEnds with a backslash\\",
    "[ref]: http://example.org\n\nWords with a [ref].\n\n[ref2]: x\n",
    "> a quote\nlazily continued\n\nWords.\n",
    "Setext\n===\n\nWords\nof two lines\n---\n",
    "全角空格\u3000开头的段落。\n\n第二段。",
    "Words.  \n  \n\t\nWords after blank lines with blanks.   ",
    "Emoji 👩‍👩‍👧‍👦 and c\u0327ombining and \U0001f1e8\U0001f1ed.\n",
]  # fmt: skip


def illustrated(text: str, *, share: float = 1.0, seed: int = 0) -> Article:
    chance = random.Random(seed)
    segments = tuple(
        Segment(block.text, ILLUSTRATION if block.kind is Kind.PARAGRAPH and chance.random() < share else None)
        for block in split_blocks(text)
    )
    return Article("", "en", "", "", segments)


def kinds(text: str, format_: str = "markdown") -> list[Kind]:
    return [block.kind for block in split_blocks(text, format_)]


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("{{< highlight go >}}", "{{< /highlight >}}"), ("{{< tab/one >}}", "{{</ tab/one >}}"),
        ("{% highlight ruby %}", "{% endhighlight %}"), ("{%- raw -%}", "{%- endraw -%}"),
    ],
)  # fmt: skip
def test_between_the_tags_of_a_site_generator_nothing_is_a_place(opening: str, closing: str) -> None:
    inside = "code that reads like words\n\n# a comment\n\nmore of it that reads like words"
    for text in (f"{opening}\n\n{inside}\n\n{closing}\n\n", f"{opening}\n{inside}\n{closing}\n\n"):
        blocks = split_blocks(f"Words before.\n\n{text}Words after.\n")
        assert [blocks[number].prose for number in find_spots(blocks)] == ["Words before.", "Words after."]
        assert not any(block.kind is Kind.HEADING for block in blocks)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<table>\n<tr><td>", "</td></tr>\n</table>"), ("<UL>\n<LI>", "</LI>\n</UL>"), ("<ul>\n<li>one\n<li>", "</ul>"),
        ("<blockquote class='x'>", "</blockquote>"), ("<details><summary>More</summary>", "</details>"),
        ("<!-- <ul> --><div><aside>", "</aside></div>"), (":::note", ":::"), ("::: outer\n:::: {.inner}", "::::\n:::"),
    ],
)  # fmt: skip
def test_what_raw_html_or_a_fenced_division_encloses_is_no_place(opening: str, closing: str) -> None:
    inside = "words that read like words\n\n# a heading\n\nmore words that read like words"
    blocks = split_blocks(f"Words before.\n\n{opening}\n\n{inside}\n\n{closing}\n\nWords after.\n")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["Words before.", "Words after."]
    assert not any(block.kind is Kind.HEADING for block in blocks)


@pytest.mark.parametrize(
    "text",
    [
        "<div>\n\n{}\n\n</div>", "<section id='x'>\n\n{}\n\n</section>", "<ul>\n\n{}", "{}\n\n</table>", "<br/>\n\n{}",
        "<!-- <ul> -->\n\n{}\n\n</ul>", "```\n<ul>\n```\n\n{}\n\n</ul>", ":::\n\n{}",
        "::: note\n\n{}", "<Tabs>\n\n{}\n\n</Tabs>",
    ],
)  # fmt: skip
def test_what_a_plain_container_or_nothing_encloses_is_a_place(text: str) -> None:
    blocks = split_blocks(text.format("Some words here."))
    assert [blocks[number].prose for number in find_spots(blocks)] == ["Some words here."]


@pytest.mark.parametrize(
    "aside",
    [
        "!!! note\n    Indented words.",
        "??? tip 'x'",
        "import Chart from './chart'\n\nexport const a = {}",
        "{/* words here */}",
    ],
)
def test_machinery_of_a_site_generator_is_no_place(aside: str) -> None:
    blocks = split_blocks(f"{aside}\n\nImport duties export default wines.\n")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["Import duties export default wines."]


@pytest.mark.parametrize(
    "image", ['<img src="a.jpg">', "<p align=center>\n<img src='a.jpg'>\n</p>", "<figure>\n<picture>"]
)
def test_an_image_of_raw_html_illustrates_the_paragraph_before_it(image: str) -> None:
    blocks = split_blocks(f"Words.\n\n{image}\n\nMore words.\n")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["More words."]


def test_lists_and_tables_of_plain_text_are_no_places() -> None:
    text = (
        "Words before.\n\n- an item of a list\n\n* another item\n\n| a cell | and more |\n+------+\n\n-words after.\n"
    )
    blocks = split_blocks(text, "text")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["Words before.", "-words after."]


@pytest.mark.parametrize(
    "unit", ["<ul>\n\n", "</ul>\n\n", "<ul>\n\n</ul>\n\n", "<!--\n\n", "::: a\n\n", ":::\n\n", "<a "]
)
def test_hostile_enclosures_are_read_in_one_pass(unit: str) -> None:
    text = unit * 20_000
    assert "".join(block.text for block in split_blocks(text)) == text


def test_a_figure_of_a_site_generator_illustrates_the_paragraph_before_it() -> None:
    blocks = split_blocks('Words.\n\n{{< figure src="/a.jpg" >}}\n\nMore words.\n')
    assert [blocks[number].prose for number in find_spots(blocks)] == ["More words."]


@pytest.mark.parametrize("opening", ["{{< figure src=a.jpg >}}", "{{< note />}}", "{% include x %}", "{{% note %}}"])
def test_a_tag_that_nothing_closes_stands_alone(opening: str) -> None:
    blocks = split_blocks(f"{opening}\n\nWords after.\n\n{{{{< /note >}}}}\n\n{{{{% /notice %}}}}\n")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["Words after."]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("format_", ["markdown", "text"])
def test_blocks_joined_are_the_text(text: str, format_: str) -> None:
    assert "".join(block.text for block in split_blocks(text, format_)) == text


@pytest.mark.parametrize("text", NASTY)
def test_removing_the_blocks_restores_the_text(text: str) -> None:
    article = illustrated(text)
    assert remove_image_blocks(insert_image_blocks(article)) == (text, len(article.illustrations))


def test_any_soup_of_markdown_survives_cutting_and_marking() -> None:
    pieces = [
        "\n", "\n\n", "\r\n", "\r", "# ", "- ", "```", "~~~", "    ", "> ", "| a |\n|--|\n", "<div>", "<!--", "-->",
        "some words ", "文字，", "\u2028", "---", "===", "![a](b)", "[r]: x", "\\", "`", "*", "<!-- xcomp:begin ",
        "<!-- xcomp:begin 0123456789ab -->", "<!-- xcomp:end 0123456789ab -->",
    ]  # fmt: skip
    chance = random.Random(7)
    for seed in range(1500):
        text = "".join(chance.choice(pieces) for _ in range(chance.randint(1, 20)))
        article = illustrated(text, share=0.7, seed=seed)
        assert article.text == text
        assert remove_image_blocks(insert_image_blocks(article))[0] == text


@pytest.mark.parametrize("text", NASTY)
def test_every_block_shows_its_image_in_markdown(text: str) -> None:
    article = illustrated(text)
    inlines = [token for token in parse(insert_image_blocks(article)) if token.type == "inline"]
    images = [child for token in inlines for child in token.children or [] if child.type == "image"]
    ours = [image for image in images if str(image.attrs["src"]).startswith("images/a")]
    assert len(ours) == len(article.illustrations)


def test_a_block_with_changed_words_is_the_authors() -> None:
    marked = insert_image_blocks(illustrated("Words.\n\nMore words.\n", share=1.0))
    edited = marked.replace("a\\_b\\*c", "my own caption", 1)
    assert remove_image_blocks(edited)[1] == 1


def test_our_block_quoted_in_code_is_the_authors() -> None:
    block = insert_image_blocks(illustrated("Words.\n"))
    text = f"How it looks:\n\n```\n{block}```\n"
    assert remove_image_blocks(text) == (text, 0)


def test_blocks_survive_a_change_of_line_ends() -> None:
    marked = insert_image_blocks(illustrated("Words.\n\nMore.\n"))
    assert remove_image_blocks(marked.replace("\n", "\r\n")) == ("Words.\r\n\r\nMore.\r\n", 2)


def test_many_forged_marks_take_no_time() -> None:
    text = "<!-- xcomp:begin 0123456789ab -->\n" * 20_000
    assert remove_image_blocks(text) == (text, 0)


def test_only_paragraphs_are_places() -> None:
    others = ["# Heading", "- a list item", "> a quote", "```\ncode\n```", "| a |\n|---|\n| b |", "<p>html</p>", "***"]
    blocks = split_blocks("\n\n".join(["A paragraph.", *others, "The last paragraph."]))
    assert [blocks[number].prose for number in find_spots(blocks)] == ["A paragraph.", "The last paragraph."]


@pytest.mark.parametrize("caption", ["*An emphasised line*", "Figure 3: a caption", "图3：图注", "Photo: Ada"])
def test_an_existing_image_its_caption_and_its_paragraph_are_left_alone(caption: str) -> None:
    blocks = split_blocks(f"Illustrated.\n\n![an image](x.png)\n\n{caption}\n\nNot illustrated.\n")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["Not illustrated."]


def test_directives_of_site_generators_are_no_paragraphs() -> None:
    text = "{{< youtube abc >}}\n\n{% include x %}\n\n::: note\n\n[TOC]\n\n$$ x = y $$\n\nWords.\n"
    assert [block.prose for block in split_blocks(text) if block.kind is Kind.PARAGRAPH] == ["Words."]


@pytest.mark.parametrize(
    "list_", ["Term\n: What it means.\n: Again.\n", "Term\n\n:   What it means.\n\n    And more.\n"]
)
def test_a_list_of_definitions_is_no_paragraph(list_: str) -> None:
    assert [blocks.prose for blocks in split_blocks(f"{list_}\nWords: these.\n") if blocks.prose][-1] == "Words: these."
    assert [blocks.kind for blocks in split_blocks(f"{list_}\nWords: these.\n") if "means" in blocks.text] == [
        Kind.OTHER
    ]


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle: Days\n\nnote: |\n\n  Words.\n---\n",
        '+++\ntitle = "Days"\n\nnote = "Words."\n+++\n',
        '{\n  "note": "Words.",\n\n  "title": "Days",\n\n  "more": {"a": 1}\n}\n',
    ],
)
def test_nothing_stands_in_front_matter(front: str) -> None:
    blocks = split_blocks(f"{front}\nFirst words.\n")
    assert [(block.kind, block.prose) for block in blocks] == [
        (Kind.FRONT_MATTER, ""),
        (Kind.PARAGRAPH, "First words."),
    ]
    assert find_title(blocks) == "Days"


def test_prose_is_what_a_reader_sees() -> None:
    blocks = split_blocks("Some *emphasised* [linked](http://x) `code` <b>bold</b>\nwords.\n\n中文\n换行。\n")
    assert [block.prose for block in blocks] == ["Some emphasised linked code bold words.", "中文换行。"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: \"Quoted\"\n---\n\n# Heading\n", "Quoted"),
        ("Intro.\n\n## First heading\n\n# Second\n", "First heading"),
        ("Just some words that go on for longer than a title should.\n", "Just some words that go on for longer …"),
        ("今天天气很好。\n", "今天天气很好。"),
        ("", ""),
    ],
)  # fmt: skip
def test_title_is_front_matter_then_heading_then_first_words(text: str, title: str) -> None:
    assert find_title(split_blocks(text)) == title


def test_plain_text_without_blank_lines_has_a_paragraph_a_line() -> None:
    assert kinds("A title\nFirst line, a paragraph.\nSecond one.\n", "text") == [
        Kind.HEADING,
        Kind.PARAGRAPH,
        Kind.PARAGRAPH,
    ]


def test_plain_text_knows_no_markup() -> None:
    assert kinds("First paragraph\nin two lines.\n\n# no heading, it ends.\n", "text") == [Kind.PARAGRAPH] * 2


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello world", "en"),
        ("你好，世界", "zh"),
        ("用 Python 和 gRPC 写一个服务", "zh"),
        ("The word 道 means way", "en"),
        ("123", "en"),
    ],
)
def test_language_is_detected_by_the_share_of_ideographs(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("unit", ["[", "![", "[a](", "*a_", "`a``", "<", "]("])
def test_a_paragraph_of_nothing_but_marks_is_words(unit: str) -> None:
    text = unit * (50_000 // len(unit)) + " and some words\n\n[Words](x) *again*.\n"
    tokens = [token for token in parse(text) if token.type == "inline"]
    assert [len(token.children or ()) for token in tokens] == [1, 8]
    assert [block.prose for block in split_blocks(text)][1] == "Words again."


def test_many_brackets_in_many_paragraphs_are_words_from_some_point_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commonmark, "MAX_MARKS_OF_TEXT", 400)
    text = "[a](b) and [c](d), " * 10 + "words.\n\n"
    lengths = [len(token.children or ()) for token in parse(text * 20) if token.type == "inline"]
    assert [length > 1 for length in lengths] == [True] * 10 + [False] * 10


def test_cells_that_the_parser_adds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commonmark, "MAX_TABLE_TOKENS", 1000)
    table = "|a|b|c|\n|-|-|-|\n" + "|\n" * 50 + "\n"
    tables = [token for token in parse(table * 20) if token.type == "table_open"]
    assert 0 < len(tables) < 5
