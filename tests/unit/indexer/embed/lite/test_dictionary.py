import pytest

from xcomp_indexer.embed.lite import dictionary as chinese
from xcomp_indexer.embed.lite import weights
from xcomp_indexer.embed.lite.dictionary import Dictionary


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return Dictionary(
        weights.find(weights.CEDICT, None).read_bytes(), {"边境牧羊犬": "Border collie", "扬子鳄": "Chinese alligator"}
    )


@pytest.mark.parametrize(
    ("asked", "english"),
    [
        ("日落", "sundown"),
        ("森林", "forest"),
        ("两只小狗", "two puppy"),
        ("书架上的望远镜", "bookshelf on binoculars"),
        ("一辆红色的摩托车", "one red motorbike"),
        ("石墙", "rock wall"),
    ],
)
def test_words_become_their_first_ordinary_meaning(dictionary: Dictionary, asked: str, english: str) -> None:
    assert dictionary.translate(asked) == english


@pytest.mark.parametrize(
    ("asked", "english"),
    [
        ("老风车", "old windmill"),
        ("红色的烟", "red smoke"),
        ("长长的影子", "long shadow"),
        ("草地上的奶牛", "lawn on milk cow"),
        ("蓝天下的白墙", "blue sky under white wall"),
        ("運河邊的樓", "canal beside building"),
        ("一只边境牧羊犬", "one Border collie"),
    ],
)
def test_a_request_for_an_image_means_what_an_image_shows(dictionary: Dictionary, asked: str, english: str) -> None:
    assert dictionary.translate(asked) == english


def test_no_word_of_our_own_is_there_twice() -> None:
    words = [
        word
        for line in chinese.WORDS.read_text(encoding="utf-8").splitlines()
        if "\t" in line
        for word in line.partition("\t")[2].split()
    ]
    assert len(words) == len(set(words)) > 500


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
