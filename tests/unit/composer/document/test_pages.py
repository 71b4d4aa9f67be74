"""Pages of site generators, of WordPress, and in XHTML: images stand where the tools that read them allow it."""

import time
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.unit.composer.document.test_dialects import ILLUSTRATION, illustrate, places
from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Segment

WORDPRESS = """<!-- wp:heading -->
<h2>A morning</h2>
<!-- /wp:heading -->

<!-- wp:paragraph -->
<p>The first words.</p>
<!-- /wp:paragraph -->

<!-- wp:paragraph {"dropCap":true} -->
<p class="has-drop-cap">Shown already.</p>
<!-- /wp:paragraph -->

<!-- wp:image {"id":1} -->
<figure><img src="x.jpg"/></figure>
<!-- /wp:image -->

<!-- wp:spacer /-->

<!-- wp:columns --><div><!-- wp:column --><div><!-- wp:paragraph -->
<p>The words of a column.</p>
<!-- /wp:paragraph --></div><!-- /wp:column --></div><!-- /wp:columns -->

<!-- wp:my/note --><div><p>Words inside another block.</p></div><!-- /wp:my/note -->

<p>Words in no block.</p>
"""
XHTML = """<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Coffee</title></head>
<body><p>I made a cup<br/>of espresso.</p><p>The cat came close.</p></body></html>
"""


def test_an_image_of_wordpress_is_a_block_between_blocks() -> None:
    assert places(WORDPRESS, "html") == ["The first words.", "The words of a column.", "Words in no block."]
    for page in (WORDPRESS, WORDPRESS.replace("\n", "\r\n")):
        marked = insert_image_blocks(illustrate(page, "html"))
        assert remove_image_blocks(marked, "html") == (page, 3)
        assert marked.count("<!-- wp:html -->") == marked.count("<!-- /wp:html -->") == 2
        assert marked.count("</p>\n<!-- /wp:paragraph -->\n\n<!-- wp:html -->\n<!-- xcomp:begin+") == 2 * (
            "\r" not in page
        )
        assert places(marked, "html") == []


def test_xhtml_stays_well_formed() -> None:
    marked = insert_image_blocks(illustrate(XHTML, "html"))
    assert marked.count("<figure") == 2
    assert len(list(ElementTree.fromstring(marked.encode()).iter("{http://www.w3.org/1999/xhtml}img"))) == 2
    assert remove_image_blocks(marked, "html") == (XHTML, 2)


@pytest.mark.parametrize(
    "page",
    [
        "{% for p in posts %}\n<p>inner words {{ p.title }}</p>\n{% endfor %}\n",
        "{% comment %}\n<p>inner words</p>\n{% endcomment %}\n",
        "{% if a < b %}\n<p>inner words</p>\n{% endif %}\n",
        "{% block content %}\n<h1>T</h1><p>inner words</p>{% include 'x' %}\n{% endblock content %}\n",
        "<% @posts.each do |post| %>\n<p>inner words</p>\n<% end %>\n",
        "{{#if draft}}\n<p>inner words</p>\n{{/if}}\n",
        "{{ with .x }}<p>inner words</p>{{ end }}\n",
        "<!-- {% comment %} -->\n<p>inner words</p>\n<!-- {% endcomment %} -->\n",
        "---\nexcerpt: <p>inner words</p>\n---\n",
        '<div class="note"><p>inner words</p><div><p>inner words</p></div></div>',
        "<div hidden><p>inner words</p></div><p style='display: none'>inner words</p><p hidden>inner words</p>",
        "<section aria-hidden=true><p>inner words</p></section>",
    ],
)
def test_what_a_template_or_a_hidden_element_encloses_is_no_place(page: str) -> None:
    page += "<p>Outer words {% if x %}here{% endif %}.</p>\n"
    assert places(page, "html") == ["Outer words {% if x %}here{% endif %}."]
    assert remove_image_blocks(insert_image_blocks(illustrate(page, "html")), "html") == (page, 1)


@pytest.mark.parametrize(
    "metadata", ["{{ 7 | times: 6 }}", "{% include x %}", "{# y #}", "<% z %>", "<?php ?>", "${x}", "%%a%%"]
)
@pytest.mark.parametrize("format_", ["markdown", "html"])
def test_metadata_of_an_image_are_no_code_of_a_template(metadata: str, format_: str) -> None:
    hostile = replace(ILLUSTRATION, alt=metadata, caption=metadata, credit=metadata)
    text = "<p>Some words.</p>\n" if format_ == "html" else "Some words.\n"
    marked = insert_image_blocks(Article("", "en", "", "", (Segment(text, hostile),), format=format_))
    assert not any(mark in marked for mark in ("{{", "{%", "{#", "<%", "<?", "${")), marked
    assert format_ == "html" or "%%" not in marked


def test_the_time_for_a_page_of_tags_grows_with_its_length() -> None:
    def measure(count: int) -> float:
        started = time.process_time()
        places("<div>" * count, "html")
        return time.process_time() - started

    measure(1_000)
    assert measure(60_000) < 40 * max(measure(6_000), 0.01)
