import pytest

from xcomp_indexer.embed.lite import weights
from xcomp_indexer.embed.lite.chinese import Dictionary


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return Dictionary(weights.read(weights.CEDICT, None))


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("日落", "sundown"),
        ("森林", "forest"),
        ("两只小狗", "two pup"),
        ("一辆红色的摩托车", "one red motorbike"),
        ("石墙", "rock wall"),
    ],
)
def test_words_become_their_first_ordinary_meaning(dictionary: Dictionary, chinese: str, english: str) -> None:
    assert dictionary.translate(chinese) == english


def test_family_names_and_townships_lose_against_everyday_words(dictionary: Dictionary) -> None:
    assert dictionary.translate("林") == "woods"
    assert dictionary.translate("大树") == "big tree"


def test_well_known_names_stay_short(dictionary: Dictionary) -> None:
    assert dictionary.translate("巴黎") == "Paris"


def test_traditional_and_simplified_mean_the_same(dictionary: Dictionary) -> None:
    assert dictionary.translate("長城下的摩托車") == dictionary.translate("长城下的摩托车")


def test_fewest_words_win_and_the_longer_word_goes_last(dictionary: Dictionary) -> None:
    assert dictionary.segment("显微镜下放大的雪花") == ["显微镜", "下", "放大", "的", "雪花"]


def test_latin_text_around_chinese_stays(dictionary: Dictionary) -> None:
    assert dictionary.translate("Paris 的日落, 2019") == "Paris sundown , 2019"


def test_text_without_chinese_is_untouched(dictionary: Dictionary) -> None:
    text = "  Two  <b>dogs</b>，\n😀 café かな "
    assert dictionary.translate(text) == text


def test_unknown_characters_are_dropped_without_an_error(dictionary: Dictionary) -> None:
    assert dictionary.translate("\u9fff狗\u9fff") == "dog"


def test_a_long_run_is_cut_in_linear_time(dictionary: Dictionary) -> None:
    assert dictionary.translate("森林" * 5000).split() == ["forest"] * 5000
