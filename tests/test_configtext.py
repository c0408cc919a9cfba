"""The configuration as a file: every key described, every origin named, and nothing lost."""

from __future__ import annotations

import json

from hypothesis import given, settings
from pydantic import BaseModel

from multicsr.config import (
    Config,
    EvaluateConfig,
    GenerateConfig,
    InputConfig,
    JudgeConfig,
    LlamaCppConfig,
    TrainConfig,
    differences,
)
from multicsr.configsources import config_keys, load_config, resolve_config
from multicsr.configtext import commented_yaml, describe, traced_yaml
from tests.configs import configs


def test_the_written_file_describes_every_key():
    lines = commented_yaml().splitlines()
    for key in config_keys():
        indent = "  " if "." in key else ""
        assert any(line.startswith(f"{indent}{key.rpartition('.')[2]}:") for line in lines), key
    for section in (InputConfig, GenerateConfig, LlamaCppConfig, JudgeConfig, TrainConfig, EvaluateConfig):
        assert f"# {(section.__doc__ or '').splitlines()[0]}" in lines
    words = " ".join(" ".join(line.strip().removeprefix("# ") for line in lines).split())
    for section in (Config, InputConfig, GenerateConfig, LlamaCppConfig, JudgeConfig, TrainConfig, EvaluateConfig):
        for name, field in section.model_fields.items():
            if isinstance(field.get_default(call_default_factory=True), BaseModel):
                continue
            assert field.description, f"{section.__name__}.{name} is described by nothing"
            assert f"{describe(field)} {name}: " in words


def test_the_written_file_says_what_a_value_may_be():
    text = commented_yaml()
    assert "  # ω: weight of the opposite instruction's logits; 0 is plain prompting. [float ≥ 0]\n  omega: 0.5" in text
    assert "# Use only the first N sentences. [int ≥ 1 or null]" in text


def test_what_init_writes_loads_to_the_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(commented_yaml(), "utf-8")
    assert load_config(path, environ={}) == Config()


def test_every_value_has_an_origin(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("generate: {omega: 0.3, llm: hf:x}\nfilters: {copy: null, curation: {alpha: 2}}\n", "utf-8")
    config, origins = resolve_config(
        path,
        flags={"filters.curation.beta": 2, "generate.llm": "bundled"},
        environ={"MULTICSR_TRAIN__PHI": "0.9", "MULTICSR_FILTERS__EXEMPLAR_LEAK__MAX_WORDS": "3"},
    )
    lines = {line.key: (line.text.strip(), line.origin) for line in traced_yaml(config, origins)}
    assert lines["generate.omega"] == ("omega: 0.3", str(path))
    assert lines["generate.llm"] == ("llm: bundled", "command line")
    assert lines["filters.copy"] == ("copy: null", str(path))
    assert lines["filters.curation.alpha"] == ("alpha: 2", str(path))
    assert lines["filters.curation.beta"] == ("beta: 2", "command line")
    assert lines["filters.curation.gamma"] == ("gamma: 1.0", "default")
    variable = "environment variable MULTICSR_FILTERS__EXEMPLAR_LEAK__MAX_WORDS"
    assert lines["filters.exemplar-leak.max_words"] == ("max_words: 3", variable)
    assert lines["train.phi"] == ("phi: 0.9", "environment variable MULTICSR_TRAIN__PHI")
    assert lines["rounds"] == ("rounds: 2", "default")
    assert lines["train"] == ("train:", "")


@settings(deadline=None, max_examples=30)
@given(configs)
def test_what_is_shown_is_the_configuration(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "shown.yaml"
    path.write_text("\n".join(line.text for line in traced_yaml(config, {})) + "\n", "utf-8", newline="")
    assert load_config(path, environ={}) == config


@settings(deadline=None)
@given(configs)
def test_any_configuration_survives_its_file_and_the_database(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "survives.yaml"
    path.write_text(commented_yaml(config), "utf-8", newline="")
    reloaded = load_config(path, environ={})
    stored = Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json"))))
    for other in (reloaded, stored):
        assert other == config
        assert list(other.filters) == list(config.filters)
        assert differences(other, config) == []
