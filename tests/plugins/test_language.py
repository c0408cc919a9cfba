"""The `language` filter, by the real language identifier."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest

from multicsr import Triplet, Verdict
from multicsr.errors import ConfigError
from multicsr.ingest import read_sentences
from multicsr.registry import Registry
from multicsr.schemas import Sentence

plugin = Registry.load().get("filter", "language", "filters")
language = plugin.target
ENGLISH = [item.text for item in read_sentences("bundled") if isinstance(item, Sentence)][:300]
SAME = {  # four sentences, each in all languages
    "en": [
        "Two dogs run through the snow.",
        "A man plays the guitar in the street.",
        "There is nobody on the beach.",
        "The train does not come today.",
    ],
    "de": [
        "Zwei Hunde laufen durch den Schnee.",
        "Ein Mann spielt auf der Straße Gitarre.",
        "Niemand ist am Strand.",
        "Der Zug kommt heute nicht.",
    ],
    "fr": [
        "Deux chiens courent dans la neige.",
        "Un homme joue de la guitare dans la rue.",
        "Il n'y a personne sur la plage.",
        "Le train ne viendra pas aujourd'hui.",
    ],
    "ru": [
        "Две собаки бегут по снегу.",
        "Мужчина играет на гитаре.",
        "На пляже никого нет.",
        "Поезд сегодня не придёт.",
    ],
    "zh": ["两只狗在雪地里奔跑。", "一个男人在街上弹吉他。", "海滩上没有人。", "火车今天不来了。"],
    "ar": ["كلبان يركضان في الثلج.", "رجل يعزف على الغيتار.", "لا يوجد أحد على الشاطئ.", "القطار لن يأتي اليوم."],
}


def verdict(anchor: str, positive: str, negative: str | None = None, **options: Any) -> Verdict:
    """By default the hard negative is the anchor itself, with which nothing can be wrong."""
    triplet = Triplet(anchor=anchor, positive=positive, negative=anchor if negative is None else negative)
    answer: Verdict = language(triplet, **options)
    return answer


@pytest.mark.parametrize(("first", "second"), list(combinations(SAME, 2)))
def test_another_language_is_recognised_in_short_sentences(first, second):
    for one, other in zip(SAME[first], SAME[second], strict=True):
        assert verdict(one, other).reason == "positive-in-other-language"
        assert verdict(other, one).reason == "positive-in-other-language"
        assert verdict(one, one, other).reason == "negative-in-other-language"


def test_the_reason_names_both_languages_and_asks_for_another_attempt():
    assert verdict(SAME["en"][0], SAME["de"][0]) == Verdict.reject(
        "positive-in-other-language", "looks like de, not en", retry=True
    )


def test_sentences_of_one_language_pass():
    for sentences in (*SAME.values(), ENGLISH):
        for anchor, text in pairwise(sentences):
            assert verdict(anchor, text).accepted, (anchor, text)


@pytest.mark.parametrize("text", ["", "No.", "Anna", "Paris", "Berlin 1989", "42", "3 + 4 = 7", "🎉🎉", "…", "<br/>"])
def test_what_is_of_no_language_or_of_any_passes(text):
    assert verdict("Two dogs run through the snow.", text).accepted
    assert verdict(text, "Two dogs run through the snow.").accepted


def test_named_languages_take_the_place_of_the_anchors():
    english, german, french = (SAME[code][1] for code in ("en", "de", "fr"))
    assert verdict(english, german, german, languages=("de",)).accepted
    assert verdict(english, german, french, languages=("de", "fr")).accepted
    answer = verdict(english, german, english, languages=("de", "fr"))
    assert answer == Verdict.reject("negative-in-other-language", "looks like en, not de or fr", retry=True)


def test_confidence_decides_how_sure_it_must_be():
    spanish, portuguese = "La mujer compra verduras en el mercado.", "A mulher compra legumes no mercado."
    assert not verdict(spanish, portuguese, confidence=0.5).accepted
    assert verdict(spanish, portuguese, confidence=0.9999).accepted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"languages": ["en", "klingon"]}, r"f\.languages = .*: value error, unknown: klingon; known are: .*, en, "),
        ({"languages": ["zxx"]}, r"f\.languages = .*: value error, unknown: zxx"),
        ({"confidence": 1}, r"f\.confidence = 1: .* less than 1"),
        ({"confidence": 0.4}, r"f\.confidence = 0\.4: .* greater than or equal to 0\.5"),
    ],
)
def test_wrong_options_are_found_before_the_run(options, said):
    with pytest.raises(ConfigError, match=said):
        plugin.check_options(options, "f")


def test_it_comes_before_the_judge():
    assert plugin.before_judging
    assert plugin.check_options({}, "f") == {"languages": (), "confidence": 0.95}
