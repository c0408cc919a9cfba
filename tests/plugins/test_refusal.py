"""The `refusal` filter, on what models say instead of a sentence, and on ordinary sentences."""

from __future__ import annotations

from typing import Any

import pytest

from multicsr import Triplet, Verdict
from multicsr.ingest import read_sentences
from multicsr.registry import Registry
from multicsr.schemas import Sentence
from multicsr.templates import PromptLibrary

refusal = Registry.load().get("filter", "refusal", "filters").target
SENTENCES = [item.text for item in read_sentences("bundled") if isinstance(item, Sentence)]
DOG = "A dog runs through the snow."


def verdict(anchor: str, text: str, **options: Any) -> Verdict:
    """Of the same text as positive and as negative, which must not matter but for the reason."""
    first: Verdict = refusal(Triplet(anchor=anchor, positive=text, negative=anchor), **options)
    second = refusal(Triplet(anchor=anchor, positive=anchor, negative=text), **options)
    assert (first.accepted, first.detail, first.retry) == (second.accepted, second.detail, second.retry)
    assert first.reason.replace("positive", "negative") == second.reason
    return first


@pytest.mark.parametrize(
    "text",
    [
        "I’m sorry, but I cannot fulfill this request.",
        "I am sorry, I cannot help you with that request.",
        "I apologize, but I cannot provide a contradiction for this sentence.",
        "I cannot rewrite this sentence because it is inappropriate.",
        "I'm unable to complete this prompt.",
        "As an AI language model, I do not have personal opinions.",
        "Sorry, as an AI I can't do that.",
        "I am just a language model.",
        "I'm an AI and have no feelings.",
    ],
)
def test_a_refusal_is_rejected(text):
    answer = verdict(DOG, text)
    assert (answer.accepted, answer.reason, answer.retry) == (False, "positive-refuses", True)


@pytest.mark.parametrize(
    "text",
    [
        "Rewrite: A dog is running.",
        "Rewritten sentence: A dog is running.",
        "The contradiction: No dog runs.",
        "The rewritten sentence is as follows.",
        "Please provide the sentence you would like me to rewrite.",
        "The original sentence states that a dog runs.",
        "This sentence contradicts the original one.",
        "This sentence cannot be true, as cars can only move on their own.",
        "The sentence can be rewritten.",
        "A possible contradiction would be: no dog runs.",
        "Output: A dog.",
    ],
)
def test_talk_of_the_task_is_rejected(text):
    assert verdict(DOG, text).reason == "positive-talks-of-its-task"


@pytest.mark.parametrize(
    "text",
    [
        "Sure! A dog is running.",
        "Sure, here's a paraphrase: A dog runs.",
        "Of course! Here is one.",
        "Okay, let me try that.",
        "Here is a new version of the text.",
        "Here's another way to say it: a dog runs.",
    ],
)
def test_chat_is_rejected(text):
    assert verdict(DOG, text).reason == "positive-chats"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I can't create content that promotes violence.",
        "I do not have enough information.",
        "I'd be happy to help.",
        "How can I assist you today?",
        "I hope this helps!",
    ],
)
def test_what_people_say_to_each_other_is_rejected_where_the_anchor_speaks_of_others(text):
    assert verdict(DOG, text).reason == "positive-speaks-for-itself"
    for anchor in ("I regret that I can't come.", "Can you help with the dishes?", "They told us no."):
        assert verdict(anchor, text).accepted


def test_every_instruction_of_the_packaged_prompts_is_recognised():
    library = PromptLibrary.load()
    relations = [prompt for prompt in library if prompt.kind == "relation" and prompt.instruction]
    assert len(relations) >= 4
    for prompt in relations:
        assert verdict(DOG, prompt.instruction).reason == "positive-talks-of-its-task", prompt.instruction


@pytest.mark.parametrize(
    ("anchor", "text"),
    [
        ("The man regrets it.", "I'm sorry about that."),
        ("He certainly likes it.", "Sure, he likes it."),
        ("The dog is here.", "Here is the dog."),
        ("The maps are ready.", "Here are the maps."),
        ("The judge gave him five years.", "The sentence was five years in prison."),
        ("The ministry denied it.", "This statement was denied by the ministry."),
        ("She works on vision.", "As an AI researcher she works on vision."),
        ("She works on vision.", "I'm an AI engineer."),
        ("Two men write on the wall.", "Two men can't write on the wall."),
        ("He edits the article.", "He may rewrite the article."),
    ],
)
def test_ordinary_sentences_pass(anchor, text):
    assert verdict(anchor, text).accepted


def test_no_bundled_sentence_is_taken_for_one():
    for sentence in SENTENCES:
        assert verdict(DOG, sentence).accepted, sentence


@pytest.mark.parametrize(
    ("anchor", "text"),
    [
        ("As an AI, it cannot tell.", "It is, as an AI, unable to tell."),
        ("Answer: it is blue.", "Answer: it is not blue."),
        ("Sure! Come in.", "Of course! Come in."),
    ],
)
def test_what_the_anchor_says_in_the_same_way_is_the_sentence(anchor, text):
    assert verdict(anchor, text).accepted
    assert not verdict(DOG, text).accepted


def test_own_phrases_are_beginnings_in_any_language_and_case():
    options = {"phrases": ("Es tut mir leid, aber", "抱歉", "C++ (sic)")}
    for text in ("es tut mir leid, aber das geht nicht.", "抱歉，我不能。", "C++ (sic) it is."):
        assert verdict(DOG, text).accepted
        assert verdict(DOG, text, **options).reason == "positive-refuses"
    assert verdict(DOG, "Er sagt: Es tut mir leid, aber nein.", **options).accepted
    assert verdict("Es tut mir leid, aber nein.", "Es tut mir leid, aber das geht nicht.", **options).accepted
