"""Language codes: their English names for prompts, and the identification of a text's language.

Names are those of the paper's code where it has one (reference `LANG2NAME`), else Babel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from umr.errors import UsageError

NAMES = {
    "ar": "Arabic", "bn": "Bengali", "fi": "Finnish", "ja": "Japanese", "ko": "Korean", "ru": "Russian", "te": "Telugu",
    "en": "English", "es": "Spanish", "km": "Khmer", "ms": "Malay", "tr": "Turkish", "sv": "Swedish", "zh": "Chinese",
    "de": "German", "el": "Greek", "hi": "Hindi", "ro": "Romanian", "th": "Thai", "vi": "Vietnamese",
}  # fmt: skip


NO_LANGUAGE = frozenset({"", "und", "mul", "zxx", "mis"})
"""Codes of ISO 639 that name no language: undetermined, several, no linguistic content, without a code."""


def language_name(code: str) -> str:
    """The English name of a language code, or the code itself where it is unknown (as in the paper's code)."""
    return known_name(code) or code


def stated_language(code: str) -> str:
    """The code, or nothing where it names no language (`und`)."""
    return "" if _parts(code)[0] in NO_LANGUAGE else code


def _parts(code: str) -> list[str]:
    return code.strip().lower().replace("-", "_").split("_")


@cache
def known_name(code: str) -> str | None:
    """The English name of a language code; None where it has none."""
    from babel import Locale
    from babel.core import get_global

    language, *more = _parts(code)
    if language in NO_LANGUAGE:
        return None
    names, likely = Locale("en").languages, get_global("likely_subtags")
    whole = likely.get("_".join([language, *(part.upper() for part in more)]), code) if more else code  # zh_TW: zh_Hant_TW
    script = next((f"_{part.title()}" for part in _parts(whole)[1:] if len(part) == 4), "")
    alias = get_global("language_aliases").get(language, language).split("_")[0]
    found = ((script and names.get(one + script)) or NAMES.get(one) or names.get(one) for one in (language, alias))
    return next((str(name) for name in found if name), None)


def suggestion(code: str) -> str | None:
    """The language code that was probably meant: of a country's code its language, of an English name its code."""
    from babel import Locale
    from babel.core import get_global

    likely = get_global("likely_subtags").get(f"und_{code.strip().upper()}")
    names = {str(name).casefold(): short for short, name in Locale("en").languages.items()}
    return likely.split("_")[0] if likely else names.get(code.strip().casefold())


def chosen_languages(lang: str | None) -> tuple[str, ...]:
    """The languages of `--lang`: none, that of every query, or several (`es,ar,ja`), among which is identified.

    Raises:
        UsageError: a code that names no language, a country's code, or one of several that the identifier does not know.
    """
    found = tuple(dict.fromkeys(code.strip() for code in (lang or "").split(",") if code.strip()))
    for code in found:
        meant = None if known_name(code) else suggestion(code)
        if meant or not stated_language(code):
            hint = f"{meant} ({language_name(meant)})?" if meant else "leave it out: languages are identified then"
            raise UsageError(f"lang is {code!r}, which is no language", hint)
        if len(found) > 1 and code not in identifiable():
            raise UsageError(f"lang names {code!r}, which the identifier does not know", f"it knows {', '.join(sorted(identifiable()))}")
    return found


@cache
def identifiable() -> frozenset[str]:
    """The codes that the identifier can give."""
    from py3langid import rank

    return frozenset(str(code) for code, _ in rank("")) - NO_LANGUAGE


def identify(texts: Sequence[str], among: Sequence[str] = ()) -> list[str]:
    """The language codes of texts, found by py3langid.

    Arguments:
        texts: one text each.
        among: the codes that count; empty for all that the identifier knows.

    Returns:
        ISO 639 codes.
    """
    from py3langid import rank

    allowed = frozenset(among) or identifiable()
    return [next(str(code) for code, _ in rank(text) if code in allowed) for text in texts]
