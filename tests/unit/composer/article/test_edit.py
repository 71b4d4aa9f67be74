"""Changes of an article, and taking them back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from xcomp_composer.article import edit_images, edit_text, history
from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Candidate, Illustration, Segment, Unfilled
from xcomp_composer.document.splitting import split_blocks
from xcomp_protos.errors import InvalidRequest

CANDIDATES = (
    Candidate("a", "/a.jpg", 3.0, 0.7, metadata={"title": "Image a"}, width=4, height=3),
    Candidate("b", "/b.jpg", 2.0, 0.2, metadata={"title": "Image b", "credit": "Ada"}, width=4, height=3),
)
ILLUSTRATION = Illustration("a", "toy", "/a.jpg", query="asked", caption="Image a", candidates=CANDIDATES)
OTHER = Candidate("c", "/c.jpg", 0.0, metadata={"title": "Image c"}, width=4, height=3, content_hash="cc")
TEXT = "# Title\r\n\r\nFirst words.\r\n\r\nSecond words.\r\n# Next\r\nLast words."


@pytest.fixture
def article() -> Article:
    segments = [Segment(block.text) for block in split_blocks(TEXT)]
    segments[1] = replace(segments[1], illustration=ILLUSTRATION)
    return Article(
        "Title", "en", "retrieval", "lite", tuple(segments), repository="toy",
        unfilled=(Unfilled(2, "wanted", "nothing fits", CANDIDATES),),
    )  # fmt: skip


CHANGES: list[Callable[[Article], Article]] = [
    lambda article: edit_images.pick(article, 1, 1),
    lambda article: edit_images.pick(article, 2, 1),
    lambda article: edit_images.show_search_result(article, 4, "asked", CANDIDATES, chosen_by="retrieval"),
    lambda article: edit_images.remove(article, 1),
    lambda article: edit_images.toggle_lock(article, 1),
    lambda article: edit_images.show(article, 1, OTHER),
    lambda article: edit_images.show(article, 4, OTHER),
    lambda article: edit_images.recaption(article, 1, caption="My words", alt=None),
    lambda article: edit_images.exclude(article, 1),
    lambda article: edit_images.exclude(edit_images.exclude(article, 1), 1),
    lambda article: edit_images.fill(article, {2: replace(ILLUSTRATION, image_id="c")}, ()),
    lambda article: edit_text.rewrite(article, 1, "Other words.\n\nIn two paragraphs."),
    lambda article: edit_text.insert_before(article, 0, "Before all."),
    lambda article: edit_text.insert_before(article, 2, "Before the second."),
    lambda article: edit_text.insert_after(article, 1, "After the image."),
    lambda article: edit_text.insert_after(article, 4, "After all."),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_can_be_taken_back(article: Article, change: Callable[[Article], Article]) -> None:
    changed = change(article)
    assert changed != article
    while changed.history:
        changed = history.undo(changed)
    assert changed == article


def test_changes_are_taken_back_one_by_one(article: Article) -> None:
    states = [article]
    for change in (CHANGES[-2], CHANGES[0], CHANGES[-5], CHANGES[-4]):
        states.append(change(states[-1]))
    while len(states) > 1:
        changed = states.pop()
        assert history.undo(changed) == states[-1]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_article_can_still_be_marked_and_cleaned(
    article: Article, change: Callable[[Article], Article]
) -> None:
    changed = change(article)
    assert remove_image_blocks(insert_image_blocks(changed))[0] == changed.text


def test_pick_shows_the_candidate_with_its_own_words(article: Article) -> None:
    image = edit_images.pick(article, 1, 1).segments[1].illustration
    assert image
    assert (image.image_id, image.caption, image.credit, image.chosen_by) == ("b", "Image b", "Ada", "user")
    assert image.candidates == CANDIDATES


def test_an_image_of_the_users_is_shown_beside_what_was_offered(article: Article) -> None:
    image = edit_images.show(article, 1, OTHER).segments[1].illustration
    assert image
    assert (image.image_id, image.caption, image.chosen_by) == ("c", "Image c", "user")
    assert image.candidates == (OTHER, *CANDIDATES)
    with pytest.raises(InvalidRequest, match="stands after segment 1 already"):
        edit_images.show(edit_images.show(article, 1, OTHER), 4, OTHER)


def test_an_excluded_image_makes_way_for_the_next_and_never_comes_back(article: Article) -> None:
    once = edit_images.exclude(article, 1)
    image = once.segments[1].illustration
    assert image
    assert (image.image_id, once.exclude_ids) == ("b", ("a",))
    assert [candidate.image_id for candidate in image.candidates] == ["b"]
    twice = edit_images.exclude(once, 1)
    assert twice.segments[1].illustration is None
    assert twice.exclude_ids == ("a", "b")
    assert [spot.segment for spot in twice.unfilled] == [1, 2]


def test_words_about_an_image_are_one_clean_line(article: Article) -> None:
    image = edit_images.recaption(article, 1, caption=" My\n\x1b own \u202ewords ", alt="").segments[1].illustration
    assert image
    assert (image.caption, image.alt) == ("My own words", "")
    kept = edit_images.recaption(article, 1, caption=None, alt="seen").segments[1].illustration
    assert kept
    assert (kept.caption, kept.alt) == ("Image a", "seen")


def test_an_empty_spot_is_filled_from_what_was_offered(article: Article) -> None:
    changed = edit_images.pick(article, 2, 1)
    assert changed.segments[2].illustration
    assert changed.unfilled == ()


def test_new_words_stand_between_blank_lines_in_the_line_ends_of_the_text(article: Article) -> None:
    assert edit_text.insert_after(article, 3, "New.\nWords.").text == TEXT.replace(
        "# Next\r\n", "# Next\r\n\r\nNew.\r\nWords.\r\n\r\n"
    )


def test_rewritten_words_keep_the_image_and_the_space_around(article: Article) -> None:
    changed = edit_text.rewrite(article, 1, "  Other words.  ")
    assert changed.text == TEXT.replace("First words.", "Other words.")
    assert changed.segments[1].illustration == ILLUSTRATION


@pytest.mark.parametrize("change", [edit_text.rewrite, edit_text.insert_before, edit_text.insert_after])
def test_words_that_would_put_an_image_into_code_are_refused(
    article: Article, change: Callable[[Article, int, str], Article]
) -> None:
    with pytest.raises(InvalidRequest, match="opens code that it never closes"):
        change(article, 0, "Words.\n\n```\ncode")
    changed = change(article, 0, "Words.\n\n```\ncode\n```")
    assert remove_image_blocks(insert_image_blocks(changed))[0] == changed.text


def test_numbers_of_empty_spots_move_with_their_words(article: Article) -> None:
    fronted = replace(article, segments=(Segment("---\ntitle: T\n---\n"), *article.segments))
    with pytest.raises(InvalidRequest, match="front matter"):
        edit_text.insert_before(fronted, 0, "One.")
    changed = edit_text.insert_before(article, 0, "One.\n\nTwo.")
    assert [spot.segment for spot in changed.unfilled] == [4]
    assert changed.segments[4].text == article.segments[2].text


def test_a_locked_image_is_changed_only_once_it_is_unlocked(article: Article) -> None:
    locked = edit_images.toggle_lock(article, 1)
    for change in (CHANGES[0], CHANGES[3]):
        with pytest.raises(InvalidRequest, match="locked"):
            change(locked)
    unlocked = edit_images.toggle_lock(locked, 1)
    assert edit_images.remove(unlocked, 1).segments[1].illustration is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda article: edit_images.pick(article, 1, 2), "candidate"),
        (lambda article: edit_images.pick(article, 0, 0), "spot"),
        (lambda article: edit_images.pick(article, 2, 0), "candidate: this image stands after segment 1"),
        (lambda article: edit_images.pick(article, 9, 0), "segment"),
        (lambda article: edit_images.remove(article, 2), "spot"),
        (lambda article: edit_images.toggle_lock(article, 2), "spot"),
        (lambda article: edit_images.exclude(article, 2), "spot"),
        (lambda article: edit_images.recaption(article, 1, caption=None, alt=None), "recaption"),
        (lambda article: edit_images.recaption(article, 2, caption="x", alt=None), "spot"),
        (lambda article: edit_images.recaption(article, 1, caption="x" * 301, alt=None), "caption"),
        (lambda article: edit_images.recaption(article, 1, caption=None, alt="x" * 301), "alt"),
        (lambda article: edit_text.rewrite(article, 1, " \n "), "text"),
        (lambda article: history.undo(article), "undo"),
        (lambda article: edit_images.show_search_result(article, 1, "q", (), chosen_by="x"), "query"),
    ],
)
def test_an_invalid_change_names_its_field(article: Article, change: Callable[[Article], Article], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}"):
        change(article)


def test_no_image_goes_into_a_code_block_that_never_ends() -> None:
    article = Article("", "en", "", "", (Segment("```\ncode"),))
    with pytest.raises(InvalidRequest, match="code block"):
        edit_images.show_search_result(article, 0, "q", CANDIDATES, chosen_by="retrieval")


def test_a_broken_history_is_refused(article: Article) -> None:
    changed = edit_images.remove(article, 1)
    broken = replace(changed, history=(replace(changed.history[0], before="{"),))
    with pytest.raises(InvalidRequest, match="history"):
        history.undo(broken)
