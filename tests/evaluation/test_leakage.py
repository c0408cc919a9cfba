from __future__ import annotations

import pytest

from multicsr.evaluation.leakage import Leakage, Seen, normalised

TRAINED = ["A man plays the guitar.", "Nobody is here!", "…", "Two  dogs\trun"]
PAIRS = [
    ("a MAN plays, the guitar", "Nobody is here", 3.0),
    ("Two dogs run.", "Two cats run.", 2.0),
    ("Something new.", "Two dogs run.", 1.0),
    ("Ａ man plays the guitar", "Nothing old.", 0.0),
    ("…", "!", 0.0),
]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It's  late.", "it s LATE"),
        ("ﬁne", "fine"),
        ("Straße", "STRASSE"),
        ("“Yes”, she said", "yes she said"),
        (" ?! ", "?!"),
    ],
)
def test_case_punctuation_spaces_and_ligatures_make_no_difference(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("two dogs", "two dog"), ("1 2", "12"), ("!", "?"), ("né", "ne")])
def test_words_and_signs_do(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_what_was_trained_on_is_counted_by_sentence_and_by_pair() -> None:
    assert Seen(TRAINED).leakage(PAIRS) == Leakage(
        sentences=9,
        leaked=5,
        pairs=5,
        touched=5,
        both=1,
        examples=("a MAN plays, the guitar", "Nobody is here", "Two dogs run.", "Ａ man plays the guitar", "…"),
    )


def test_nothing_in_common() -> None:
    found = Seen(["Elsewhere."]).leakage(PAIRS)
    assert (found.leaked, found.touched, found.both, found.examples) == (0, 0, 0, ())
