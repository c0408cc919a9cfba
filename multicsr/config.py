"""The configuration: one Pydantic model, filled from defaults, a YAML file, MULTICSR_* variables and flags.

Later sources win: defaults < file < environment < flags. Every leaf remembers where it came from, so that an error
names the flag, variable or file and key to change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from multicsr.errors import ConfigError, UsageError
from multicsr.schemas import Record, content_hash

ENV_PREFIX = "MULTICSR_"
BUNDLED = "bundled"


class InputConfig(Record):
    """Where the sentences come from."""

    source: str = Field(BUNDLED, description="a .txt, .csv, .tsv, .jsonl or .parquet file, - for stdin, or `bundled`")
    column: str | None = Field(None, description="the column or key that holds the sentence; txt files have none")
    limit: int | None = Field(None, ge=1, description="use only the first N sentences")
    max_chars: int = Field(1000, ge=1, description="a longer line is rejected as too-long")


class GenerateConfig(Record):
    """Stage 1: the language model writes an entailment and a contradiction for every sentence."""

    llm: str = Field(BUNDLED, description="`bundled`, a GGUF file, or hf:NAME (a Hub id or folder)")
    omega: float = Field(0.5, ge=0, description="ω: weight of the opposite instruction's logits; 0 is plain prompting")
    plausibility: float = Field(0.1, gt=0, le=1, description="α_p: tokens below α_p · the most likely one are excluded")
    entailment: str = Field("entailment", description="prompt id of the positive")
    contradiction: str = Field("contradiction", description="prompt id of the hard negative")
    exemplars: int = Field(2, ge=0, description="examples shown in a prompt, drawn by seed and attempt")
    max_tokens: int = Field(64, ge=1, description="longest sentence to write, in tokens")
    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling, only with a temperature")
    chunk: int = Field(64, ge=1, description="sentences that are generated, and stored, as one unit of work")


class JudgeConfig(Record):
    """Stage 2: a judge gives every pair a similarity from 0 to 5."""

    name: str = Field("likelihood", description="a judge's name (see `multicsr plugins list`)")
    options: dict[str, Any] = Field(default_factory=dict, description="the judge's own options")
    llm: str | None = Field(None, description="the judge's language model; by default the generator's")
    chunk: int = Field(64, ge=1, description="triplets that are judged, and stored, as one unit of work")


class TrainConfig(Record):
    """Stage 3: contrastive training of the sentence encoder."""

    encoder: str = Field(BUNDLED, description="`bundled`, a Hub id or a local folder")
    teacher: str | None = Field(None, description="the frozen teacher of the similarity mask; by default the encoder")
    phi: float = Field(0.95, ge=-1, le=1, description="φ: in-batch negatives the teacher finds more similar are masked")
    temperature: float = Field(0.05, gt=0, description="τ of the loss")
    batch_size: int = Field(64, ge=2, description="triplets in a batch")
    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps with a rising learning rate")
    max_grad_norm: float = Field(1.0, gt=0)
    max_tokens: int = Field(64, ge=4, description="a longer sentence is truncated")
    pooling: Literal["auto", "mean", "cls"] = Field("auto", description="for an encoder that does not bring its own")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one model is trained per seed; the first is saved")
    checkpoint_steps: int = Field(200, ge=1)
    evaluate_steps: int = Field(25, ge=1, description="steps between looks at the development set")
    dev: str | None = Field(
        None, description="TSV that chooses the best checkpoint; by default stsb-dev.tsv of evaluate.sts_dir"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("the same seed twice trains the same model twice; name different seeds")
        return value


class EvaluateConfig(Record):
    """What the encoder is measured on, before and after training."""

    sts_dir: str | None = Field(None, description="folder of TSV files with sentence1, sentence2, score")


DEFAULT_FILTERS: dict[str, dict[str, Any] | None] = {
    "length": {},
    "copy": {},
    "exemplar-leak": {},
    "repetition": {},
    "curation": {"alpha": 3.0, "beta": 3.0, "gamma": 1.0},
    "duplicate": {},
}


class Config(Record):
    """Everything a run depends on, besides the sentences themselves."""

    seed: int = Field(0, ge=0, description="of exemplars and sampling; training has seeds of its own")
    rounds: int = Field(2, ge=1, description="attempts for a sentence whose triplet is rejected for a retryable reason")
    plugins: tuple[str, ...] = Field((), description="plugin files to load")
    prompts: str | None = Field(None, description="a folder of further prompt templates")
    input: InputConfig = InputConfig()
    generate: GenerateConfig = GenerateConfig()
    judge: JudgeConfig = JudgeConfig()
    filters: dict[str, dict[str, Any] | None] = Field(
        DEFAULT_FILTERS,
        description="filter name → its options, in the order in which they look at a triplet; null switches one off",
    )
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def digest(self) -> str:
        """Content hash of the whole configuration."""
        return content_hash(self.model_dump(mode="json"))


def load_config(
    path: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    base: Config | None = None,
) -> Config:
    """Builds the effective configuration.

    Args:
        path: a YAML file, or None.
        flags: dotted key → value, as given on the command line; None values are not given.
        environ: environment variables; `MULTICSR_GENERATE__OMEGA=0.3` sets `generate.omega`. Defaults to os.environ.
        base: start from this configuration instead of the defaults (an existing run's).

    Raises:
        ConfigError: naming every wrong key with its value, reason and origin.
    """
    merged: dict[str, Any] = (base or Config()).model_dump(mode="json")
    origins: dict[str, str] = {}
    if path is not None:
        _merge(merged, _read_yaml(path), f"{path}", origins)
    problems: list[str] = []
    for name, value in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            if not _is_key(key):
                problems.append(f"{name}: no such configuration key `{key}`{_nearest(key)}")
                continue
            _set(merged, key, parse_value(value), f"environment variable {name}", origins)
    for key, value in (flags or {}).items():
        if value is None:
            continue
        if not _is_key(key):
            problems.append(f"{key}: no such configuration key{_nearest(key)}")
            continue
        _set(merged, key, value, "command line", origins)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        problems += [_explain(item, origins) for item in error.errors()]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return config


def parse_value(text: str) -> Any:
    """A value from the environment or `--set`, read as YAML: `0.5`, `true`, `[0, 1]`, `name`."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def differences(old: Config, new: Config) -> list[str]:
    """Lines `key: old → new` for every leaf in which two configurations differ."""
    a, b = _leaves(old.model_dump(mode="json")), _leaves(new.model_dump(mode="json"))
    return [f"{key}: {a.get(key)!r} → {b.get(key)!r}" for key in sorted(a | b) if a.get(key) != b.get(key)]


def commented_yaml(config: Config | None = None) -> str:
    """The configuration as YAML with every key's description, the file that `multicsr init` writes."""
    lines = ["# Configuration of a multicsr run. Flags win over MULTICSR_* variables, which win over this file.", ""]
    _emit(config or Config(), lines, "")
    return "\n".join(lines) + "\n"


def _emit(model: BaseModel, lines: list[str], indent: str) -> None:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            doc = (type(value).__doc__ or "").splitlines()[0]
            lines += [f"{indent}# {doc}", f"{indent}{name}:"]
            _emit(value, lines, indent + "  ")
            lines.append("")
            continue
        dumped = model.model_dump(mode="json", include={name})[name]
        if name == "filters":
            lines += [f"{indent}# {(field.description or '').capitalize()}.", f"{indent}{name}:"]
            lines += [f"{indent}  {key}: {_flow(options)}" for key, options in dumped.items()]
            lines.append("")
            continue
        comment = f"  # {field.description}" if field.description else ""
        lines.append(f"{indent}{name}: {_flow(dumped)}{comment}")


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("\n...").strip()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: the configuration is not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UsageError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a configuration is a mapping of keys, not a {type(data).__name__}")
    return data


def _merge(
    into: dict[str, Any], data: Mapping[str, Any], origin: str, origins: dict[str, str], prefix: str = ""
) -> None:
    for key, value in data.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.setdefault(key, {}), dict):
            _merge(into[key], value, origin, origins, f"{dotted}.")
        else:
            into[key] = value
        origins[dotted] = origin


def _set(into: dict[str, Any], dotted: str, value: Any, origin: str, origins: dict[str, str]) -> None:
    *parents, leaf = dotted.split(".")
    node = into
    for name in parents:
        child = node.setdefault(name, {})
        node = child if isinstance(child, dict) else node.setdefault(name, {})
    node[leaf] = value
    origins[dotted] = origin


def config_keys() -> list[str]:
    """Every dotted key that a user may set."""
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            keys += [f"{name}.{leaf}" for leaf in type(default).model_fields]
        else:
            keys.append(name)
    return keys


def _is_key(dotted: str) -> bool:
    return dotted in config_keys() or dotted.startswith(("judge.options.", "filters."))


def _nearest(key: str) -> str:
    import difflib

    keys = config_keys()
    near = difflib.get_close_matches(key, keys, 1) or [
        k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    return f"; did you mean `{near[0]}`?" if near else "; `multicsr init` writes all of them"


def _explain(item: Any, origins: Mapping[str, str]) -> str:
    dotted = ".".join(str(part) for part in item["loc"])
    origin = next((origins[k] for k in (dotted, *_parents(dotted)) if k in origins), "")
    where = f" ({origin})" if origin else ""
    if item["type"] == "extra_forbidden":
        return f"{dotted}{where}: no such configuration key{_nearest(dotted)}"
    reason = re.sub(r"^(Value error|Assertion failed), ", "", str(item["msg"]))
    shown = "" if item["type"] == "missing" else f" = {item['input']!r}"
    return f"{dotted}{shown}{where}: {reason[:1].lower()}{reason[1:]}"


def _parents(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def _leaves(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict) and data:
        return {k: v for name, child in data.items() for k, v in _leaves(child, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): data}
