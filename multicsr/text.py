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


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE and char not in _LAYOUT_AND_JOINERS
