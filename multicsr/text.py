"""Text from hands that nobody should trust, made safe to look at."""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Line breaks and tabs are layout; the joiners are orthography (Persian, Hindi, emoji).
_LAYOUT_AND_JOINERS = frozenset("\n\t\u200c\u200d")


def visible(text: str) -> str:
    """Writes control, format, bidi and surrogate characters as ⟨U+202E⟩, so that no text can hide or reorder others."""
    if text.isprintable():
        return text
    return "".join(f"⟨U+{ord(char):04X}⟩" if _is_invisible(char) else char for char in text)


def encodable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which is no character and cannot be stored as UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def visible_json(text: str) -> str:
    """JSON with the same characters written as its own escapes, so that it still says what it said."""
    if text.isprintable():
        return text
    return "".join(_json_escape(char) if _is_invisible(char) else char for char in text)


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE and char not in _LAYOUT_AND_JOINERS
