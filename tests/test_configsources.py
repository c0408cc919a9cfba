"""The configuration's sources: which one wins, and what is refused and with what words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multicsr.config import (
    DEFAULT_FILTERS,
    Config,
    GenerateConfig,
    JudgeConfig,
)
from multicsr.configsources import load_config, parse_value
from multicsr.errors import ConfigError, UsageError


def load(text: str | None = None, *, folder: Path | None = None, **sources: Any) -> Config:
    """The configuration of a file with this text and of other sources; the process's environment plays no part."""
    path = None
    if text is not None:
        assert folder is not None
        path = folder / "c.yaml"
        path.write_text(text, "utf-8")
    return load_config(path, **{"environ": {}, **sources})


def problems(text: str | None = None, **sources: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, **sources)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


# --- which source wins -----------------------------------------------------------------------------------------------


def test_without_any_source_everything_has_its_default():
    assert load() == Config()


@pytest.mark.parametrize("sources", [(), ("file",), ("environ",), ("file", "environ"), ("file", "environ", "flags")])
def test_later_sources_win(tmp_path, sources):
    given: dict[str, Any] = {
        "file": {"text": "generate: {omega: 0.1, top_p: 0.1}", "folder": tmp_path},
        "environ": {"environ": {"MULTICSR_GENERATE__OMEGA": "0.2"}},
        "flags": {"flags": {"generate.omega": 0.3}},
    }
    config = load(**{key: value for name in sources for key, value in given[name].items()})
    assert config.generate.omega == {"file": 0.1, "environ": 0.2, "flags": 0.3}.get(sources[-1] if sources else "", 0.5)
    assert config.generate.top_p == (0.1 if "file" in sources else 1.0)


def test_an_existing_run_takes_the_place_of_the_defaults(tmp_path):
    base = Config(seed=7, generate=GenerateConfig(omega=0.9), filters={"length": {"min_words": 5}})
    config = load("generate: {top_p: 0.5}", folder=tmp_path, base=base)
    assert config == base.model_copy(update={"generate": GenerateConfig(omega=0.9, top_p=0.5)})


def test_null_is_a_value(tmp_path):
    base = Config(judge=JudgeConfig(llm="hf:judge", options={"seed": 3}))
    for config in (
        load("judge: {llm: null}", folder=tmp_path, base=base),
        load(flags={"judge.llm": None}, base=base),
        load(environ={"MULTICSR_JUDGE__LLM": ""}, base=base),
    ):
        assert config == Config(judge=JudgeConfig(options={"seed": 3}))


def test_a_section_whose_keys_are_commented_out_changes_nothing(tmp_path):
    assert load("train:\n  # epochs: 3\nfilters:\nseed: 3\n", folder=tmp_path) == Config(seed=3)
    assert load("# nothing\n", folder=tmp_path) == Config()


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_every_problem_of_every_source_is_reported_at_once_with_key_value_and_origin(tmp_path):
    text = "seed: -1\nrounds: some\nevaluate: 5\ngenerate: {omega: .nan, omga: 1}\n"
    text += "train: {seeds: [1, 2, x], pooling: max}\n"
    environ = {"MULTICSR_GENERATE__TOP_P": "1.5", "MULTICSR_GENERATE__LLLM": "x"}
    flags = {
        "llamacpp.weights": "q4_0",
        "llamacpp.memory_mb": 1,
        "judge.chunk": 0,
        "jugde.name": "nli",
        "train.phi": "high",
    }
    path = tmp_path / "c.yaml"
    assert problems(text, folder=tmp_path, environ=environ, flags=flags) == [
        f"evaluate = 5 ({path}): must be a mapping; `multicsr init` writes its keys",
        "MULTICSR_GENERATE__LLLM: no such configuration key `generate.lllm`; did you mean `generate.llm`?",
        "jugde.name: no such configuration key; did you mean `judge.name`?",
        f"seed = -1 ({path}): input should be greater than or equal to 0",
        f"rounds = 'some' ({path}): input should be a valid integer, unable to parse string as an integer",
        f"generate.omega = nan ({path}): input should be a finite number",
        "generate.top_p = 1.5 (environment variable MULTICSR_GENERATE__TOP_P): input should be less than or equal to 1",
        f"generate.omga ({path}): no such configuration key; did you mean `generate.omega`?",
        "llamacpp.weights = 'q4_0' (command line): input should be 'auto', 'file', 'f32', 'f16', 'bf16' or 'q8_0'",
        "llamacpp.memory_mb = 1 (command line): input should be greater than or equal to 64",
        "judge.chunk = 0 (command line): input should be greater than or equal to 1",
        "train.phi = 'high' (command line): input should be a valid number, unable to parse string as a number",
        f"train.pooling = 'max' ({path}): input should be 'auto', 'mean', 'cls' or 'last'",
        f"train.seeds.2 = 'x' ({path}): input should be a valid integer, unable to parse string as an integer",
    ]


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("omega: 0.3", "omega", "did you mean `generate.omega`?"),
        ("temperature: 1", "temperature", "did you mean `generate.temperature` or `train.temperature`?"),
        ("train: {omega: 1}", "train.omega", "did you mean `generate.omega`?"),
        ("generate: {max_token: 3}", "generate.max_token", "did you mean `generate.max_tokens`?"),
        ("genrate: {omega: 1}", "genrate", "did you mean `generate`?"),
        ("plugin: [a.py]", "plugin", "did you mean `plugins`?"),
        ("zzz: 1", "zzz", "`multicsr init` writes all of them"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_and_the_likely_one_named(tmp_path, text, key, hint):
    assert problems(text, folder=tmp_path) == [f"{key} ({tmp_path / 'c.yaml'}): no such configuration key; {hint}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("generate: 5", "generate = 5 (FILE): must be a mapping; `multicsr init` writes its keys"),
        ("filters: [copy]", "filters = ['copy'] (FILE): must be a mapping; `multicsr init` writes its keys"),
        ("filters: {copy: true}", "filters.copy = True (FILE): input should be a valid dictionary; write {} for no "),
        ("judge: {options: 5}", "judge.options = 5 (FILE): input should be a valid dictionary; write {} for no "),
        ("input: {source: 2024}", "input.source = 2024 (FILE): input should be a valid string; put it in quotes"),
        ("input: {source: null}", "input.source = None (FILE): input should be a valid string"),
        ("train: {seeds: [1, 1]}", "train.seeds = [1, 1] (FILE): the same seed twice trains the same model twice; "),
        ("1: x", "1 = 1 (FILE): keys should be strings"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_with_the_fix(tmp_path, text, said):
    (problem,) = problems(text, folder=tmp_path)
    assert problem.startswith(said.replace("FILE", str(tmp_path / "c.yaml")))


def test_a_wrong_section_of_the_file_is_reported_though_a_flag_sets_a_key_of_it(tmp_path):
    (problem,) = problems("generate: 5", folder=tmp_path, flags={"generate.omega": 1})
    assert problem.startswith("generate = 5")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed: 1\ntrain: {seeds: [0, 1\n", ":3:1: not valid YAML: expected ',' or ']'"),
        (b"seed: 1\n\tx: 2\n", ":2:1: not valid YAML: found character '\\t'"),
        (b"seed: 1\nrounds: 2\nseed: 3\n", ":3:1: not valid YAML: the key `seed` stands here a second time"),
        (b"generate:\n  omega: 1\n  omega: 2\n", ":3:3: not valid YAML: the key `omega` stands here a second time"),
        (b"a: !!python/object:os.stat {}", ":1:4: not valid YAML: could not determine a constructor"),
        (b"a: !!int b", ": not valid YAML: invalid literal for int"),
        (b"a: \x07", ": not valid YAML: unacceptable character #x0007"),
        (b"a: caf\xe9", ": the configuration is not UTF-8 text"),
        (b"- a", ": a configuration is a mapping of keys, not a list"),
        (b"just text", ": a configuration is a mapping of keys, not a str"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_naming_the_line(tmp_path, content, said):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_config(path, environ={})
    assert str(caught.value).startswith(f"{path}{said}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as caught:
            load_config(path, environ={})
        assert str(caught.value) == f"{path}: cannot read the configuration: {reason}"


# --- the environment -------------------------------------------------------------------------------------------------


def test_lists_and_mappings_come_from_the_environment():
    environ = {
        "MULTICSR_TRAIN__SEEDS": "[3, 1, 2]",
        "MULTICSR_PLUGINS": "[a.py, 'b c.py']",
        "MULTICSR_JUDGE__OPTIONS__SEED": "4",
        "MULTICSR_FILTERS__CURATION__ALPHA": "2.5",
        "MULTICSR_FILTERS__COPY": "null",
        "MULTICSR_FILTERS": "{length: {min_words: 2}}",
        "HOME": "/nowhere",
    }
    config = load(environ=environ)
    assert config.train.seeds == (3, 1, 2)
    assert config.plugins == ("a.py", "b c.py")
    assert config.judge.options == {"seed": 4}
    changed = {"length": {"min_words": 2}, "copy": None, "curation": {"alpha": 2.5, "beta": 3.0, "gamma": 1.0}}
    assert config.filters == DEFAULT_FILTERS | changed


def test_a_filter_with_a_hyphen_can_be_named_in_the_environment():
    config = load(environ={"MULTICSR_FILTERS__EXEMPLAR_LEAK__MIN_WORDS": "9"})
    assert config.filters == DEFAULT_FILTERS | {"exemplar-leak": {"min_words": 9}}


def test_the_folder_of_the_cache_is_no_configuration(monkeypatch):
    monkeypatch.setenv("MULTICSR_CACHE", "/some/where")
    monkeypatch.setenv("MULTICSR_SEED", "5")
    assert load_config() == Config(seed=5)


@pytest.mark.parametrize(("name", "key"), [("MULTICSR_OMEGA", "omega"), ("MULTICSR_GENERATE", "generate")])
def test_an_unknown_variable_is_refused(name, key):
    (problem,) = problems(environ={name: "1"})
    assert problem.startswith(f"{name}: no such configuration key `{key}`; ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("5", 5),
        ("true", True),
        ("null", None),
        ("", None),
        ("[0, 1]", [0, 1]),
        ("{a: 1}", {"a": 1}),
        ("'5'", "5"),
        ("name", "name"),
        ("-", "-"),
        ("- a", "- a"),
        ("a: 1", "a: 1"),
        ("my notes #2.txt", "my notes #2.txt"),
        ("[draft] notes.txt", "[draft] notes.txt"),
        ("hf:google/flan-t5-xl", "hf:google/flan-t5-xl"),
        ("C:\\data\\a.txt", "C:\\data\\a.txt"),
        ("*.txt", "*.txt"),
        ("2024-01-31", "2024-01-31"),
        ("2024-13-45", "2024-13-45"),
        ("@\x07", "@\x07"),
    ],
)
def test_a_value_given_as_text(text, value):
    assert parse_value(text) == value


# --- filters ---------------------------------------------------------------------------------------------------------


def test_the_files_filters_are_merged_with_the_default_ones(tmp_path):
    text = "filters:\n  copy: null\n  curation: {alpha: 2}\n  mine: {words: [a, b]}\n"
    config = load(text, folder=tmp_path)
    changed = {"curation": {"alpha": 2, "beta": 3.0, "gamma": 1.0}, "copy": None, "mine": {"words": ["a", "b"]}}
    assert config.filters == DEFAULT_FILTERS | changed
    assert list(config.filters) == [*DEFAULT_FILTERS, "mine"]


def test_a_filter_that_is_off_can_be_switched_on_again(tmp_path):
    text = "filters: {copy: null}"
    assert load(text, folder=tmp_path, flags={"filters.copy.max_overlap": 0.9}).filters["copy"] == {"max_overlap": 0.9}
    assert load(text, folder=tmp_path, environ={"MULTICSR_FILTERS__COPY": "{}"}).filters["copy"] == {}


@pytest.mark.parametrize(
    ("named", "order"),
    [
        ("{curation: {}}", "length copy exemplar-leak repetition refusal language curation duplicate"),
        ("{mine: {}}", "length copy exemplar-leak repetition refusal language curation duplicate mine"),
        ("{mine: {}, curation: {}}", "length copy exemplar-leak repetition refusal language mine curation duplicate"),
        (
            "{curation: {}, mine: {}, length: {}}",
            "curation copy exemplar-leak repetition refusal language mine length duplicate",
        ),
        (
            "{duplicate: {}, curation: {}, language: {}, refusal: {}, repetition: {}, exemplar-leak: {}, copy: {}, "
            "length: {}}",
            "duplicate curation language refusal repetition exemplar-leak copy length",
        ),
    ],
)
def test_filters_look_in_the_order_in_which_the_file_names_them(tmp_path, named, order):
    assert list(load(f"filters: {named}", folder=tmp_path).filters) == order.split()


def test_switching_off_what_is_not_there_is_refused(tmp_path):
    said = "no such filter to switch off; on are: "
    said += "length, copy, exemplar-leak, repetition, refusal, language, curation, duplicate"
    assert problems("filters: {copi: null}", folder=tmp_path, flags={"filters.cpoy": None}) == [
        f"filters.copi = None ({tmp_path / 'c.yaml'}): {said}",
        f"filters.cpoy = None (command line): {said}, copi",
    ]


def test_a_default_filter_that_is_not_named_is_off():
    assert Config(filters={"mine": {}, "other": None}).filters == {"mine": {}} | dict.fromkeys(DEFAULT_FILTERS)
