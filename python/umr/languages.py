"""Language codes: their English names for prompts, and the identification of a text's language.

Names are those of the paper's code where it has one (reference `LANG2NAME`), else Babel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

NAMES = {
    "ar": "Arabic", "bn": "Bengali", "fi": "Finnish", "ja": "Japanese", "ko": "Korean", "ru": "Russian", "te": "Telugu",
    "en": "English", "es": "Spanish", "km": "Khmer", "ms": "Malay", "tr": "Turkish", "sv": "Swedish", "zh": "Chinese",
    "de": "German", "el": "Greek", "hi": "Hindi", "ro": "Romanian", "th": "Thai", "vi": "Vietnamese",
}  # fmt: skip


@cache
def language_name(code: str) -> str:
    """The English name of a language code, or the code itself where it is unknown (as in the paper's code)."""
    return _known(code) or code


def is_known(code: str) -> bool:
    """Whether the code has a name."""
    return _known(code) is not None


@cache
def _known(code: str) -> str | None:
    if code in NAMES:
        return NAMES[code]
    from babel import Locale, UnknownLocaleError

    try:
        name = Locale.parse(code, sep="-" if "-" in code else "_").get_display_name("en")
    except (UnknownLocaleError, ValueError):
        return Locale("en").languages.get(code)
    return str(name)


def identify(texts: Sequence[str]) -> list[str]:
    """The language codes of texts, found by py3langid.

    Arguments:
        texts: one text each.

    Returns:
        ISO 639-1 codes.
    """
    from py3langid import classify

    return [str(classify(text)[0]) for text in texts]
