"""Prompts row by row, and tokens id by id, against those of the released code with the released tokenizers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from tests.checkpoints import GOLDEN
from tests.parity.reference import reference_folder
from xcomp_model.base import (
    Brief,
    Change,
    Control,
    ImagePart,
    ModelFailure,
    Part,
    Prompt,
    Section,
    Template,
    Text,
    Turn,
)
from xcomp_model.xcomposer.prompts import v1, v2
from xcomp_model.xcomposer.prompts.v1 import Prompts1
from xcomp_model.xcomposer.prompts.v2 import Prompts2
from xcomp_model.xcomposer.tokenizer import Decoder, Tokenizer, Unit

pytestmark = pytest.mark.reference

Json = dict[str, object]
ROWS_1, ROWS_2 = 66, 256
CASES_1 = {
    case["name"]: case
    for case in json.loads((GOLDEN / "xcomposer1" / "prompt_cases.json").read_text(encoding="utf-8"))["cases"]
}
TOKENS_1 = json.loads((GOLDEN / "xcomposer1" / "tokenizer_cases.json").read_text(encoding="utf-8"))
RECORDED_2 = json.loads((GOLDEN / "xcomposer2" / "config.json").read_text(encoding="utf-8"))
CASES_2, TOKENS_2 = RECORDED_2["prompt_cases"], RECORDED_2["tokenizer_cases"]
IMAGES = tuple(ImagePart(str(i), Image.new("RGB", (8, 8))) for i in range(8))
SPOTS_1 = ("spotting (free count)", "spotting (n=2)")
ARTICLE = ["第一段", "第二段", "第三段", "第四段"]


@pytest.fixture(scope="module")
def tokenizer1() -> Tokenizer:
    return Tokenizer(reference_folder("xcomposer-1") / "tokenizer.model", v1.MARKS)


@pytest.fixture(scope="module")
def tokenizer2() -> Tokenizer:
    return Tokenizer(reference_folder("xcomposer-2") / "tokenizer.model", v2.MARKS)


def prompts1(tokenizer: Tokenizer, *, is_reference: bool = False) -> Prompts1:
    def count(prompt: Prompt) -> int:
        return sum(ROWS_1 if isinstance(unit, ImagePart) else 1 for unit in tokenizer.encode_prompt(prompt))

    return Prompts1(count, context_tokens=2048, is_reference=is_reference)


def prompts2(tokenizer: Tokenizer) -> Prompts2:
    def count(prompt: Prompt) -> int:
        return sum(ROWS_2 if isinstance(unit, ImagePart) else 1 for unit in tokenizer.encode_prompt(prompt))

    return Prompts2(count, context_tokens=8192)


def rows(units: Sequence[Unit]) -> list[Json]:
    """Returns the format of the golden: runs of ids, and images."""
    found: list[Json] = []
    for unit in units:
        if isinstance(unit, ImagePart):
            found.append({"image": int(unit.key), "rows": ROWS_1})
        elif found and "ids" in found[-1]:
            cast(list[int], found[-1]["ids"]).append(unit)
        else:
            found.append({"ids": [unit]})
    return found


def prompt1(name: str, prompts: Prompts1) -> Prompt:
    sections = [Section(text) for text in ARTICLE]
    with_first = [sections[0], Section(ARTICLE[1], IMAGES[1]), *sections[2:]]
    cat = Turn("user", "图中是什么?", (IMAGES[0],))
    builders = {
        "article": lambda: prompts.write(Brief("又见敦煌")),
        "spotting (free count)": lambda: prompts.spot(ARTICLE),
        "spotting (n=2)": lambda: prompts.spot(ARTICLE, count=2),
        "caption #1": lambda: prompts.query(ARTICLE, 1),
        "caption #2": lambda: prompts.query(ARTICLE, 3, earlier=[(1, "敦煌的城楼")]),
        "caption for a user-added position": lambda: prompts.query(
            ARTICLE, 2, earlier=[(1, "敦煌的城楼"), (3, "第二张图的标题")]
        ),
        "select #1": lambda: prompts.choose(sections[:2], IMAGES[:4]),
        "select #2": lambda: prompts.choose(with_first, IMAGES[4:]),
        "demo chat turn1 (image)": lambda: prompts.chat([cat]),
        "demo chat turn2": lambda: prompts.chat([cat, Turn("assistant", "一只猫。"), Turn("user", "颜色?")]),
    }
    return builders[name]()


@pytest.mark.parametrize(
    "name", [name for name in CASES_1 if not name.startswith("api.") and name != "select truncated"]
)
def test_prompts_of_version_1_match_row_by_row(tokenizer1: Tokenizer, name: str) -> None:
    units = tokenizer1.encode_prompt(prompt1(name, prompts1(tokenizer1, is_reference=name in SPOTS_1)))
    assert rows(units) == CASES_1[name]["segments"]


@pytest.mark.parametrize("name", SPOTS_1)
def test_prompts_of_version_1_for_spots_start_like_those_for_descriptions(tokenizer1: Tokenizer, name: str) -> None:
    released = tokenizer1.encode_prompt(prompt1(name, prompts1(tokenizer1, is_reference=True)))
    ours = tokenizer1.encode_prompt(prompt1(name, prompts1(tokenizer1)))
    opening = tokenizer1.encode_prompt((Control("begin"), Template(" <|User|>:")))
    assert ours == [*opening, *tokenizer1.encode(" "), *released[len(opening) :]], "a blank is all that differs"
    description = tokenizer1.encode_prompt(prompts1(tokenizer1).query(ARTICLE, len(ARTICLE) - 1))
    article = tokenizer1.encode('给定文章"<Seg0> 第一段')
    assert ours[: len(opening) + 1 + len(article)] == description[: len(opening) + 1 + len(article)]
    assert article == ours[len(opening) + 1 :][: len(article)]


@pytest.mark.parametrize("name", [name for name in CASES_1 if name.startswith("api.")])
def test_reference_chat_of_version_1_matches_row_by_row(tokenizer1: Tokenizer, name: str) -> None:
    inputs = CASES_1[name]["inputs"]
    told = inputs.get("turns") or [{"user": inputs["text"], **({"image": 0} if inputs.get("images") else {})}]
    turns: list[Turn] = []
    for turn in told:
        turns.append(Turn("user", turn["user"], (IMAGES[turn["image"]],) if "image" in turn else ()))
        turns += [Turn("assistant", turn["bot"])] if "bot" in turn else []
    units = tokenizer1.encode_prompt(prompts1(tokenizer1, is_reference=True).chat(turns))
    assert rows(units) == CASES_1[name]["segments"]


def test_a_context_over_the_limit_keeps_question_and_candidates(tokenizer1: Tokenizer) -> None:
    inputs = CASES_1["select truncated"]["inputs"]
    prompts = prompts1(tokenizer1)
    units = tokenizer1.encode_prompt(prompts.choose([Section(text) for text in inputs["sections"]], IMAGES[:4]))
    cue = tokenizer1.encode("最合适的图是")
    assert [unit for unit in units if isinstance(unit, ImagePart)] == list(IMAGES[:4])
    assert units[-len(cue) :] == cue
    assert sum(ROWS_1 if isinstance(unit, ImagePart) else 1 for unit in units) <= 2048


@pytest.mark.parametrize("name", ["caption #1", "caption #2", "caption for a user-added position"])
def test_descriptions_of_version_1_are_read_as_released(tokenizer1: Tokenizer, name: str) -> None:
    case = CASES_1[name]
    assert prompts1(tokenizer1).parse_query(case["mock_model_output"]) == case["parsed"]


@pytest.mark.parametrize("name", SPOTS_1)
def test_spots_of_version_1_are_read_as_released(tokenizer1: Tokenizer, name: str) -> None:
    case = CASES_1[name]
    assert list(prompts1(tokenizer1).parse_spots(case["mock_model_output"], sections=4)) == case["parsed"]


def render2(prompt: Prompt) -> str:
    """Returns the format of the golden: one string, `<image>` for an image, without the begin token."""
    names = {**v2.MARKS.controls, "begin": ""}

    def text(part: Part) -> str:
        if isinstance(part, ImagePart):
            return "<image>"
        return names[part.name] if isinstance(part, Control) else part.text

    return "".join(map(text, prompt))


def test_spots_and_descriptions_of_version_2_match(tokenizer2: Tokenizer) -> None:
    prompts, article = prompts2(tokenizer2), CASES_2["example_article_sections"]
    assert render2(prompts.spot(article, count=3)) == CASES_2["location_3_images"]
    assert render2(prompts.spot(article)) == CASES_2["location_automatic"]
    uploads = prompts.spot(article, count=2, images=IMAGES[:2])
    assert render2(uploads) == CASES_2["location_2_uploads_2_images"]
    recorded = CASES_2["captions_for_slots_1_3_4"]
    earlier: list[tuple[int, str]] = []
    for section, wanted, reply in zip((1, 3, 4), recorded["prompts"], recorded["model_replies"], strict=True):
        assert render2(prompts.query(article, section, earlier=earlier)) == wanted
        earlier.append((section, prompts.parse_query(reply)))
    assert dict(earlier) == {int(section): query for section, query in recorded["parsed"].items()}


@pytest.mark.parametrize("kind", ["selection_retrieved", "selection_uploaded"])
def test_selections_of_version_2_match(tokenizer2: Tokenizer, kind: str) -> None:
    prompts, case = prompts2(tokenizer2), CASES_2[kind]
    article, slots = CASES_2["example_article_sections"], case["slots"]
    offered = case.get("candidates_per_slot") or [case["uploads"] - i for i in range(len(slots))]
    for done, (slot, count, wanted) in enumerate(zip(slots, offered, case["prompts"], strict=True)):
        chosen = slots[:done]
        sections = [Section(t, IMAGES[0] if i in chosen else None) for i, t in enumerate(article[: slot + 1])]
        assert render2(prompts.choose(sections, IMAGES[:count])) == wanted


def test_editing_of_version_2_matches(tokenizer2: Tokenizer) -> None:
    prompts, article = prompts2(tokenizer2), CASES_2["example_article_sections"]
    changes: dict[str, Change] = {
        "扩写": "expand", "改写": "rewrite", "缩写": "shorten",
        "前插入一段": "insert_before", "后插入一段": "insert_after",
    }  # fmt: skip
    for name, wanted in CASES_2["paragraph_edit"].items():
        change, _, section = name.partition("@")
        assert render2(prompts.edit(changes[change], article, int(section), hint="素材")) == wanted, name


def test_turns_of_version_2_match(tokenizer2: Tokenizer) -> None:
    prompts = prompts2(tokenizer2)
    assert render2(prompts.write(Brief("X"))) == CASES_2["user_turn_for_text_X"]
    assert render2(prompts.chat([Turn("user", "X")])) == CASES_2["user_turn_for_text_X_with_system"]


def test_recorded_prompts_of_version_2_encode_as_recorded(tokenizer2: Tokenizer) -> None:
    by_text = {case["text"]: case["ids"] for case in TOKENS_2}
    body = '给定文章"<Seg0> 标题\n<Seg1> 正文。\n" 根据上述文章，选择适合插入图像的6行'
    wanted = by_text[
        f"[UNUSED_TOKEN_146]user\n{body}[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]assistant\n适合插入图像的行是"
    ]
    assert tokenizer2.encode_prompt(prompts2(tokenizer2).spot(["标题", "正文。"], count=6)) == [1, *wanted]


@pytest.mark.parametrize("case", TOKENS_1, ids=[str(i) for i in range(len(TOKENS_1))])
def test_tokens_of_version_1_match(tokenizer1: Tokenizer, case: Json) -> None:
    assert tokenizer1.encode(str(case["text"])) == case["ids"]
    if not any(mark in str(case["text"]) for mark in ("<TOKENS_UNUSED", "<Seg", "<|")):
        assert tokenizer1.encode_prompt((Text(str(case["text"])),)) == case["ids"]
        assert tokenizer1.decode(cast(list[int], case["ids"])) == case["decoded"]


@pytest.mark.parametrize("case", TOKENS_2, ids=[str(i) for i in range(len(TOKENS_2))])
def test_tokens_of_version_2_match(tokenizer2: Tokenizer, case: Json) -> None:
    text = str(case["text"])
    if "<s>" in text or "</s>" in text:  # the released library reads them as control marks; here they are words
        assert not {1, 2} & set(tokenizer2.encode(text))
        return
    assert tokenizer2.encode(text) == case["ids"]


@pytest.mark.parametrize("version", [1, 2])
def test_an_answer_decoded_token_by_token_equals_the_whole(
    tokenizer1: Tokenizer, tokenizer2: Tokenizer, version: int
) -> None:
    tokenizer = {1: tokenizer1, 2: tokenizer2}[version]
    for text in ("  two spaces, 🤗👍🏽🧑‍🔬 and 你好，世界。\n\nＥ １２３ é ﬁ ①\t", "日本語テスト", " x", "\n"):
        decoder = Decoder(tokenizer)
        pieces = [decoder.push(token) for token in tokenizer.encode(text)]
        assert "".join(pieces) + decoder.flush() == text
        assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("version", [1, 2])
def test_an_option_has_every_spelling_with_and_without_space(
    tokenizer1: Tokenizer, tokenizer2: Tokenizer, version: int
) -> None:
    tokenizer, colon, plain, spaced = {1: (tokenizer1, 334, 309, 556), 2: (tokenizer2, 334, 309, 556)}[version]
    assert (plain,) in tokenizer.spellings("B")
    assert (spaced,) in tokenizer.spellings(" B")
    assert (colon, spaced) in tokenizer.spellings(": B")
    for ids in tokenizer.spellings(": B"):
        assert tokenizer.decode(ids) == ": B"


@pytest.mark.parametrize(
    "words",
    ["<TOKENS_UNUSED_0>", "<TOKENS_UNUSED_1>", "<Seg3>", " <|User|>:", " <|Bot|>:", "</s>", "<s>", "<ImageHere>"],
)
def test_words_of_a_user_are_never_marks_in_version_1(tokenizer1: Tokenizer, words: str) -> None:
    check_words(tokenizer1, words, controls={1, 2, *range(103027, 103168)})


@pytest.mark.parametrize("words", ["[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]", "<Seg0>", "<image>", "</s>", "<s>"])
def test_words_of_a_user_are_never_marks_in_version_2(tokenizer2: Tokenizer, words: str) -> None:
    check_words(tokenizer2, words, controls={1, 2, *range(92397, 92544)})


def check_words(tokenizer: Tokenizer, words: str, *, controls: set[int]) -> None:
    units = tokenizer.encode_prompt((Template("文章："), Text(f"前{words}后"), Template("\n")))
    assert not controls & {unit for unit in units if isinstance(unit, int)}
    assert not any(isinstance(unit, ImagePart) for unit in units)
    assert tokenizer.decode([unit for unit in units if isinstance(unit, int)]) == f"文章：前{words}后\n"
    if words.startswith("<Seg") or "|" in words:
        mark = tokenizer.encode(words.strip())
        assert not any(units[i : i + len(mark)] == mark for i in range(len(units)))


def test_marks_split_over_two_texts_are_never_marks(tokenizer1: Tokenizer) -> None:
    units = tokenizer1.encode_prompt((Text("<TOKENS_UN"), Text("USED_0>")))
    assert 103027 not in units


def test_ids_beside_a_spelled_mark_are_unchanged(tokenizer1: Tokenizer) -> None:
    text = "hello <TOKENS_UNUSED_0> world"
    plain = tokenizer1.encode(text)
    at = plain.index(103027)
    units = tokenizer1.encode_prompt((Text(text),))
    assert units[:at] == plain[:at]
    assert units[len(units) - (len(plain) - at - 1) :] == plain[at + 1 :]


def test_unknown_controls_and_sections_are_errors(tokenizer1: Tokenizer) -> None:
    with pytest.raises(ModelFailure, match="no mark named 'turn'"):
        tokenizer1.encode_prompt((Control("turn"),))
    with pytest.raises(ModelFailure, match="no section 9"):
        prompts1(tokenizer1).query(ARTICLE, 9)


def test_the_tokenizer_of_another_model_is_an_error(tokenizer1: Tokenizer) -> None:
    path = reference_folder("xcomposer-2") / "tokenizer.model"
    with pytest.raises(ModelFailure, match="belongs to another model"):
        Tokenizer(Path(path), v1.MARKS)
