"""The `refusal` filter."""

from __future__ import annotations

import re
from functools import cache

from multicsr import Triplet, Verdict, filter


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


CANNOT = r"\bI(?: can(?:'t|not| not)|(?:'m| am) (?:not able|unable) to| won't| will not)"
MODEL = r"an? (?:AI|artificial intelligence|(?:AI |large )?language model|AI assistant|AI model)"
NOT_A_NOUN = r"(?: (?:I|and|but|so|that|trained|created|developed|designed)\b|[,.;!]|$)"
SENTENCE = r"(?:sentences?|paraphrases?|contradictions?|rewrites?|rephrasings?)"
SURE = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|got it|no problem)"
PERSONAL = "speaks-for-itself"

SIGNS = {
    "refuses": _any(
        rf"\b(?:as|I'm|I am)(?: just| only)? {MODEL}{NOT_A_NOUN}",  # “as an AI researcher” is no model
        rf"{CANNOT} (?:\w+ ){{1,4}}(?:requests?|prompts?|{SENTENCE})\b",
    ),
    "talks-of-its-task": _any(
        r"^(?:the )?(?:\w+ )?(?:sentence|rewrite|rewritten|contradiction|paraphrase|output|answer|explanation) ?:",
        r"^(?:please )?(?:rewrite|rephrase|paraphrase|change|contradict|negate|provide|write) "
        rf"(?:\w+ ){{1,3}}{SENTENCE}\b",
        rf"\bthe (?:original|given|following|provided|rewritten|rephrased|revised|contradictory) {SENTENCE}\b",
        rf"\b(?:contradicts?|has the same meaning as) (?:the original|this {SENTENCE}|the {SENTENCE})\b",
        rf"^(?:an?|one) (?:possible |another |simple )?{SENTENCE} (?:is|would be|could be|might be)\b",
        rf"^(?:the {SENTENCE} (?:contradicts|means|implies|can be (?:rewritten|rephrased))|this {SENTENCE})\b",
    ),
    "chats": _any(
        rf"^{SURE} ?!",
        rf"^{SURE} ?[,.:] ?(?:here(?:'s| is| are)|let me|let's|I(?:'d| would|'ll| will| can))\b",
        rf"^here(?:'s| is| are) (?:\w+ ){{1,6}}(?:{SENTENCE}|versions?|way to (?:say|put|phrase|rephrase|express))\b",
    ),
    PERSONAL: _any(
        r"^(?:I'm|I am) (?:\w+ )?(?:sorry|afraid),? (?:but |that )?I\b",
        r"^(?:I|my) apologi[sz]e?s?\b",
        rf"{CANNOT} (?:help|assist|fulfill?|comply|provide|create|generate|write|answer|engage|complete)\b",
        r"\bI (?:don't|do not) have (?:\w+ )?(?:information|context|opinions?|feelings)\b",
        r"\bI(?:'d| would) be (?:happy|glad) to (?:help|assist)\b",
        r"\b(?:I hope this helps|let me know if you|how (?:can|may) I (?:help|assist) you)\b",
    ),
}
"""Reason → what is said only by one who was asked to write a sentence; what is `PERSONAL`, people say to each other."""
IN_CONVERSATION = _any(r"\b(?:I|me|my|mine|we|us|our|ours|you|yours?)\b")


@filter("refusal", version="1", before_judging=True)
def refusal(triplet: Triplet, *, phrases: tuple[str, ...] = ()) -> Verdict:
    """Rejects what a model says instead of the sentence: that it cannot, what its task is, that it gladly helps.

    It knows English; `phrases` are beginnings of such answers, in any language. What the anchor says in the same way
    is part of the sentence, and so is what people say to each other where the anchor is from a conversation.
    """
    anchor = _plain(triplet.anchor)
    for role, written in (("positive", triplet.positive), ("negative", triplet.negative)):
        text = _plain(written)
        for reason, sign in _signs(phrases):
            said = sign.search(text)
            if not said or sign.search(anchor) or (reason == PERSONAL and IN_CONVERSATION.search(anchor)):
                continue
            return Verdict.reject(f"{role}-{reason}", f"“{said[0]}”", retry=True)
    return Verdict.accept()


@cache
def _signs(phrases: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    own = [("refuses", _any(*(f"^{re.escape(_plain(phrase))}" for phrase in phrases)))] if phrases else []
    return [*SIGNS.items(), *own]


def _plain(text: str) -> str:
    return text.strip().replace("’", "'")
