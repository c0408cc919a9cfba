"""Prompt templates: released ones never change, what is put in is never read as template, errors name file and key."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.errors import PromptError
from multicsr.schemas import Message
from multicsr.templates import LOCK_FILE, Prompt, PromptLibrary, parse_prompt

RELATION = """\
id: shorten
version: 1
kind: relation
format: completion
instruction: Write it {shorter}.
exemplar: "Sentence: {anchor}\\nShort: {output}"
input: "Sentence: {anchor}\\nShort:"
stop: ["\\n"]
source: a test
exemplars:
  - {anchor: A dog is running., output: A dog runs.}
  - {anchor: It is raining now., output: It rains.}
"""


CHAT = """\
id: shorten-chat
version: 1
kind: relation
format: chat
instruction: Write it {shorter}.
input: "Sentence: {anchor}"
stop: ["\\n"]
source: a test
exemplars_of: shorten.v1
"""


@pytest.fixture(scope="module")
def library() -> PromptLibrary:
    return PromptLibrary.load()


def refusal(text: str) -> list[str]:
    """What is said of a prompt file with this text, line by line, without the file's name that must begin each."""
    with pytest.raises(PromptError) as caught:
        parse_prompt(text, "p.yaml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("p.yaml:") for line in lines)
    return [line.removeprefix("p.yaml:").strip() for line in lines]


# --- the packaged prompts --------------------------------------------------------------------------------------------


def test_released_prompts_are_as_they_were_released(library):
    """To change a prompt, copy its file, raise the version in it, and add `id.vN HASH` to the lock file.

    The hash is in this test's failure. The line of a released version is never changed.
    """
    lines = (resources.files("multicsr.prompts") / LOCK_FILE).read_text("utf-8").splitlines()
    released = dict(line.split() for line in lines if not line.startswith("#"))
    assert {prompt.ref: prompt.hash for prompt in library} == released


def test_a_changed_release_is_refused(library, tmp_path, monkeypatch):
    packaged = resources.files("multicsr.prompts")
    for entry in packaged.iterdir():
        if entry.name.endswith((".yaml", ".lock")):
            (tmp_path / entry.name).write_text(entry.read_text("utf-8").replace("fog", "mist"), "utf-8")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(PromptError) as caught:
        PromptLibrary.load()
    assert str(caught.value).splitlines() == [
        f"{ref}.yaml: {ref} changed after its release; give the new text a new version"
        for ref in ("rubric-chat.v1", "rubric.v1")  # the first has the second's exemplars
    ]


def test_an_unreleased_version_needs_no_line_in_the_lock(library, tmp_path, monkeypatch):
    for entry in resources.files("multicsr.prompts").iterdir():
        if entry.name.endswith((".yaml", ".lock")):
            (tmp_path / entry.name).write_text(entry.read_text("utf-8"), "utf-8")
    text = (tmp_path / "rubric.v1.yaml").read_text("utf-8").replace("version: 1", "version: 2").replace("fog", "mist")
    (tmp_path / "rubric.v2.yaml").write_text(text, "utf-8")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    assert PromptLibrary.load().get("rubric").version == 2


def test_the_file_is_named_after_the_prompt(library):
    assert [library.origin(prompt) for prompt in library] == [f"{prompt.ref}.yaml" for prompt in library]


def test_opposites_name_each_other_and_show_the_same_anchors(library):
    pairs = [(prompt, library.get(prompt.opposite)) for prompt in library if prompt.opposite]
    assert {(one.ref, other.ref) for one, other in pairs} == {
        ("contradiction.v1", "entailment.v1"),
        ("entailment.v1", "contradiction.v1"),
        ("contradiction-chat.v1", "entailment-chat.v1"),
        ("entailment-chat.v1", "contradiction-chat.v1"),
        ("true-statement.v1", "false-statement.v1"),
        ("false-statement.v1", "true-statement.v1"),
        ("true-statement-chat.v1", "false-statement-chat.v1"),
        ("false-statement-chat.v1", "true-statement-chat.v1"),
    }
    assert library.problems() == []
    for one, other in pairs:
        assert library.get(other.opposite or "") == one
        assert [item["anchor"] for item in one.exemplars] == [item["anchor"] for item in other.exemplars]
        for seed in range(20):
            shown = [[item["anchor"] for item in prompt.draw(3, seed)] for prompt in (one, other)]
            assert shown[0] == shown[1]


def test_every_sentence_of_a_pool_stands_there_once(library):
    for prompt in library:
        if prompt.kind == "relation":
            sentences = [text for item in prompt.exemplars for text in item.values()]
            assert len(set(sentences)) == len(sentences) == 2 * (8 if "statement" in prompt.id else 16)


def test_a_chat_prompt_shows_the_examples_of_its_completion(library):
    for name in ("entailment", "contradiction", "rubric", "true-statement", "false-statement"):
        assert library.get(f"{name}-chat").exemplars == library.get(name).exemplars


def test_a_completion_as_the_model_sees_it(library):
    assert library.get("entailment").render({"anchor": "It rains."}, library.get("entailment").exemplars[8:9]) == (
        "Rewrite the sentence in different words with the same meaning.\n\n"
        "Sentence: Six cows stand in the shade of a single oak tree.\n"
        "Rewrite: Half a dozen cattle are sheltering from the sun beneath a lone oak.\n\n"
        "Sentence: It rains.\n"
        "Rewrite:"
    )
    assert library.get("neutral.v1").render({}) == "Here is a sentence.\n\nSentence:"
    assert library.get("true-statement").render({"anchor": "It rains."}) == "Sentence: It rains.\nTrue:"


def test_a_chat_as_the_model_sees_it(library):
    prompt = library.get("entailment-chat")
    assert prompt.render({"anchor": "It rains."}, prompt.exemplars[8:9]) == (
        Message(
            role="system",
            content="Rewrite the sentence in different words with the same meaning. "
            "Answer with the new sentence alone.",
        ),
        Message(role="user", content="Sentence: Six cows stand in the shade of a single oak tree."),
        Message(role="assistant", content="Half a dozen cattle are sheltering from the sun beneath a lone oak."),
        Message(role="user", content="Sentence: It rains."),
    )
    assert [message.role for message in library.get("neutral-chat").render({})] == ["system", "user"]


def test_an_answer_continues_a_completion_with_a_space_and_a_chat_without(library):
    assert library.get("entailment").continuation("It pours.") == " It pours."
    assert library.get("entailment-chat").continuation("It pours.") == "It pours."


# --- drawing and rendering -------------------------------------------------------------------------------------------


@given(st.integers(), st.integers(0, 16))
def test_a_draw_is_a_function_of_the_seed(library, seed, count):
    pool = library.get("entailment")
    drawn = pool.draw(count, seed)
    assert drawn == pool.draw(count, seed)
    assert len({item["anchor"] for item in drawn}) == count


def test_seeds_draw_different_examples_in_every_place(library):
    pool = library.get("contradiction")
    first = [pool.draw(2, seed)[0]["anchor"] for seed in range(300)]
    assert set(first) == {item["anchor"] for item in pool.exemplars}


def test_more_examples_than_there_are(library):
    with pytest.raises(PromptError, match=r"^prompt rubric\.v1 has 6 exemplars; 7 were asked for$"):
        library.get("rubric").draw(7, 0)


tricky = st.sampled_from(
    ["{anchor}", "{{7*7}}", '{"lc":1}', "{output}", "{", "}", "{0}", "{!r:>9}", "%s $anchor", "\n"]
)


@given(st.lists(tricky | st.text(), min_size=1).map("".join), st.lists(tricky | st.text(), min_size=1).map("".join))
def test_what_is_put_in_comes_out_literally(sentence, example):
    prompt = parse_prompt(RELATION, "p.yaml")
    exemplars = [{"anchor": example, "output": sentence}]
    assert prompt.render({"anchor": sentence}, exemplars) == (
        f"Write it {{shorter}}.\n\nSentence: {example}\nShort: {sentence}\n\nSentence: {sentence}\nShort:"
    )
    turns = parse_prompt(CHAT, "p.yaml").render({"anchor": sentence}, exemplars)
    said = ["Write it {shorter}.", f"Sentence: {example}", sentence, f"Sentence: {sentence}"]
    assert [message.content for message in turns] == said


def test_the_hash_is_of_the_contents():
    prompt = parse_prompt(RELATION, "p.yaml")
    assert prompt.hash == parse_prompt("# A comment.\n" + RELATION + "opposite: null\n", "q.yaml").hash
    changed = [("shorter", "longer"), ("Short:", "Brief:"), ("A dog runs.", "Dog runs."), ("version: 1", "version: 2")]
    hashes = {parse_prompt(RELATION.replace(*change), "p.yaml").hash for change in changed}
    assert len({prompt.hash, *hashes}) == 1 + len(changed)


# --- malformed files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("source: a test\n", ""), ["source: field required"]),
        (("version: 1", "version: 0"), ["version: input should be greater than or equal to 1"]),
        (("id: shorten", "id: Too Short"), ["id: string should match pattern '^[a-z][a-z0-9-]*$'"]),
        (("kind: relation", "kind: poem"), ["kind: input should be 'relation', 'neutral' or 'rubric'"]),
        (('stop: ["\\n"]', "stop: []"), ["stop: tuple should have at least 1 item after validation, not 0"]),
        (("kind: relation", "kind: neutral"), ["input: must name nothing in braces; it names ['anchor']"]),
        (('{anchor}\\nShort:"', '{text}\\nShort:"'), ["input: must name ['anchor'] in braces; it names ['text']"]),
        (("{output}", "{reply}"), ["exemplar: must name ['anchor', 'output'] in braces; it names ['anchor', 'reply']"]),
        (("output: It rains.", "reply: It rains."), ["exemplars[1] must have exactly the keys ['anchor', 'output']"]),
        (('exemplar: "Sentence: {anchor}\\nShort: {output}"\n', ""), ["exemplars need an `exemplar` template"]),
        (("version: 1", "version: [1"), ["3:5: not valid YAML: expected ',' or ']', but got ':'"]),
        (("version: 1", "id: 1"), ["2:1: not valid YAML: the key `id` stands here a second time"]),
    ],
)
def test_a_malformed_prompt_is_refused_naming_the_key(change, said):
    assert change[0] in RELATION
    assert refusal(RELATION.replace(change[0], change[1], 1)) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("format: chat", "format: talk"), "format: input should be 'completion' or 'chat'"),
        (("format: chat", "format: completion"), "exemplars need an `exemplar` template"),
        (
            ("input:", 'exemplar: "{anchor} {output}"\ninput:'),
            "exemplar: not in a chat prompt, which shows an example as `input` and its output",
        ),
        (
            ("source:", "exemplars: [{anchor: a, output: b}]\nsource:"),
            "exemplars_of: give it or `exemplars`, not both",
        ),
        (
            ("shorten.v1", "shorten"),
            "exemplars_of: string should match pattern '^[a-z][a-z0-9-]*\\.v[1-9][0-9]*$'",
        ),
    ],
)
def test_a_malformed_chat_prompt_is_refused_naming_the_key(change, said):
    assert change[0] in CHAT
    assert refusal(CHAT.replace(change[0], change[1], 1)) == [said]


def test_only_what_writes_a_sentence_has_an_opposite():
    text = (resources.files("multicsr.prompts") / "neutral.v1.yaml").read_text("utf-8")
    assert refusal(text + "opposite: entailment.v1\n") == ["opposite: a neutral prompt has none"]


def test_all_wrong_keys_are_named():
    keys = "id, version, kind, format, instruction, exemplar, input, stop, opposite, source, exemplars, exemplars_of"
    assert refusal(RELATION.replace("version: 1", "version: one\nauthor: me")) == [
        "version: input should be a valid integer, unable to parse string as an integer",
        f"author: no such key; a prompt has {keys}",
    ]


@pytest.mark.parametrize("template", ["{anchor", "{anchor}}", "{anchor.__class__}", "{anchor[0]}", "{anchor} {0}"])
def test_a_template_that_is_none_is_refused(template):
    (said,) = refusal(RELATION.replace('input: "Sentence: {anchor}\\nShort:"', f'input: "{template}"'))
    assert said.startswith("input: not a template: ")
    assert said.endswith("; write literal braces as {{ and }}")


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_a_file_that_holds_no_mapping(text):
    (said,) = refusal(text)
    assert said.startswith("a prompt is a mapping of keys: id, version, ")


# --- the library -----------------------------------------------------------------------------------------------------


def test_a_folder_of_the_users(tmp_path, library):
    (tmp_path / "a.yaml").write_text(RELATION, "utf-8")
    (tmp_path / "b.yaml").write_text(RELATION.replace("version: 1", "version: 12"), "utf-8")
    (tmp_path / "notes.txt").write_text("not a prompt", "utf-8")
    mine = PromptLibrary.load(str(tmp_path))
    assert mine.get("shorten").version == 12, "the newest"
    assert mine.get("shorten.v1").version == 1
    assert mine.origin(mine.get("shorten.v12")) == str(tmp_path / "b.yaml")
    assert {prompt.ref for prompt in mine} - {prompt.ref for prompt in library} == {"shorten.v1", "shorten.v12"}


@pytest.mark.parametrize("name", ["limerick", "entailment.v2", "entailment.v", ""])
def test_a_prompt_that_is_not_there(library, name):
    with pytest.raises(PromptError) as caught:
        library.get(name)
    known = ", ".join(prompt.ref for prompt in library)
    assert "entailment-chat.v1, false-statement.v1" in known
    assert str(caught.value) == f"no prompt {name!r}; there are: {known}"


def test_two_files_of_one_version_are_refused_naming_both(tmp_path):
    (tmp_path / "a.yaml").write_text(RELATION, "utf-8")
    (tmp_path / "b.yaml").write_text(RELATION.replace("Short", "Brief"), "utf-8")
    with pytest.raises(PromptError) as caught:
        PromptLibrary.load(str(tmp_path))
    both = f"in {tmp_path / 'a.yaml'} and in {tmp_path / 'b.yaml'}"
    assert str(caught.value) == f"prompt shorten.v1 is defined twice: {both}"


def test_examples_are_taken_from_another_prompt(tmp_path):
    (tmp_path / "a.yaml").write_text(CHAT, "utf-8")
    (tmp_path / "b.yaml").write_text(RELATION, "utf-8")
    (tmp_path / "c.yaml").write_text(CHAT.replace("shorten.v1", "entailment.v1").replace("shorten", "mine"), "utf-8")
    mine = PromptLibrary.load(str(tmp_path))
    assert mine.get("shorten-chat").exemplars == mine.get("shorten").exemplars
    assert mine.get("mine-chat").exemplars == mine.get("entailment").exemplars
    written_out = CHAT.replace("exemplars_of: shorten.v1", RELATION[RELATION.index("exemplars:") :])
    assert mine.get("shorten-chat").hash == parse_prompt(written_out, "p.yaml").hash


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("limerick.v1", "exemplars_of: no limerick.v1 with exemplars of its own"),
        ("entailment.v2", "exemplars_of: no entailment.v2 with exemplars of its own"),
        ("neutral.v1", "exemplars_of: no neutral.v1 with exemplars of its own"),
        ("shorten-chat.v1", "exemplars_of: no shorten-chat.v1 with exemplars of its own"),
        ("rubric.v1", "exemplars[0] must have exactly the keys ['anchor', 'output']"),
    ],
)
def test_examples_that_cannot_be_taken_from_there(tmp_path, named, said):
    (tmp_path / "a.yaml").write_text(CHAT.replace("shorten.v1", named), "utf-8")
    with pytest.raises(PromptError) as caught:
        PromptLibrary.load(str(tmp_path))
    assert str(caught.value) == f"{tmp_path / 'a.yaml'}: {said}"


def opposed(text: str, opposite: str) -> str:
    return f"{text}opposite: {opposite}\n"


LENGTHEN = RELATION.replace("id: shorten", "id: lengthen")


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (opposed(RELATION, "lengthen"), opposed(LENGTHEN, "shorten.v1"), []),
        (opposed(RELATION, "limerick"), LENGTHEN, ["a.yaml: opposite: no prompt 'limerick'; there are: "]),
        (
            opposed(RELATION, "lengthen"),
            LENGTHEN,
            ["a.yaml: opposite: lengthen.v1 does not fit: its opposite is None, not shorten.v1"],
        ),
        (
            opposed(RELATION, "shorten-chat"),
            opposed(CHAT, "shorten"),
            [
                "a.yaml: opposite: its format is completion, that of its opposite shorten-chat.v1 is chat",
                "b.yaml: opposite: its format is chat, that of its opposite shorten.v1 is completion",
            ],
        ),
        (
            opposed(RELATION, "lengthen"),
            opposed(LENGTHEN.replace("A dog is running.", "A cat is running."), "shorten"),
            [
                "b.yaml: exemplars: not the anchors of shorten.v1 in the same order",
                "a.yaml: exemplars: not the anchors of lengthen.v1 in the same order",
            ],
        ),
    ],
)
def test_opposites_that_do_not_fit_are_found(tmp_path, one, other, said):
    (tmp_path / "a.yaml").write_text(one, "utf-8")
    (tmp_path / "b.yaml").write_text(other, "utf-8")
    found = PromptLibrary.load(str(tmp_path)).problems()
    assert len(found) == len(said)
    assert all(problem.startswith(f"{tmp_path}/{start}") for problem, start in zip(found, said, strict=True))


def test_a_packaged_prompt_cannot_be_replaced_unseen(tmp_path, library):
    text = (resources.files("multicsr.prompts") / "neutral.v1.yaml").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    with pytest.raises(PromptError, match=r"neutral\.v1 is defined twice: in neutral\.v1\.yaml and in .*mine\.yaml$"):
        PromptLibrary.load(str(tmp_path))


def test_a_folder_that_cannot_be_used(tmp_path):
    with pytest.raises(PromptError, match=r"^prompts = .*nowhere: no such folder$"):
        PromptLibrary.load(str(tmp_path / "nowhere"))
    (tmp_path / "a.yaml").write_bytes(RELATION.encode().replace(b"a test", b"caf\xe9"))
    with pytest.raises(PromptError, match=r"a\.yaml: the prompt is not UTF-8 text$"):
        PromptLibrary.load(str(tmp_path))
    Path(tmp_path / "a.yaml").unlink()
    Path(tmp_path / "a.yaml").mkdir()
    with pytest.raises(PromptError, match=r"a\.yaml: cannot read the prompt: Is a directory$"):
        PromptLibrary.load(str(tmp_path))


def test_a_prompt_is_frozen(library):
    prompt: Prompt = library.get("neutral")
    with pytest.raises(ValueError, match="frozen"):
        prompt.instruction = "Other."
