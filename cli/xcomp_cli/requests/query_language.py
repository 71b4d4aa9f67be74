"""Tells whether the spaces of a repository understand the language of a query, as far as its script shows it."""

import unicodedata
from collections.abc import Collection

_NAMES = {"en": "English", "zh": "Chinese"}
_OTHER_LANGUAGES = {  # first word of a character's Unicode name: what to call a text in it
    "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "CYRILLIC": "Russian or a relative",
    "ARABIC": "Arabic or a relative", "DEVANAGARI": "Hindi or a relative", "GREEK": "Greek", "HEBREW": "Hebrew",
    "THAI": "Thai", "BENGALI": "Bengali", "TAMIL": "Tamil", "TELUGU": "Telugu", "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian", "KHMER": "Khmer", "LAO": "Lao", "MYANMAR": "Burmese", "ETHIOPIC": "Amharic or a relative",
}  # fmt: skip


def find_unknown_language(query: str, languages: Collection[str]) -> str:
    """Returns the name of the query's language if no space understands it; nothing if one does or nothing is certain.

    Args:
        query: the text.
        languages: those that the spaces understand, as `en` and `zh`.
    """
    if not languages:
        return ""
    scripts = [unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in query if letter.isalpha()]
    for script in scripts:
        if script in _OTHER_LANGUAGES:
            return _OTHER_LANGUAGES[script]
    is_chinese = scripts.count("CJK") * 2 > len(scripts)
    if is_chinese and "zh" not in languages:
        return "Chinese"
    return "English" if scripts and set(scripts) == {"LATIN"} and "en" not in languages else ""


def name_languages(languages: Collection[str]) -> str:
    """Returns the names of languages, such as `Chinese and English`."""
    return " and ".join(sorted(_NAMES.get(each, each) for each in languages))
