"""Prompt templates: loads, checks, versions and hashes the YAML files of prompts/, and renders them.

Rendering is one pass through LangChain prompt templates: what is put in, a sentence with braces for instance, is never
read as template text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NewType

from langchain_core.prompts import PromptTemplate
from pydantic import Field, ValidationError, model_validator

from multicsr.errors import PromptError, UsageError
from multicsr.schemas import Record, content_hash
from multicsr.yamltext import parse_yaml

PromptId = NewType("PromptId", str)
"""The id of a prompt (`entailment`, or `entailment.v1` for a version). As the type of a plugin's option it is checked
before the run, and the prompt's hash becomes part of the plugin's identity."""

Exemplar = dict[str, str]
LOCK_FILE = "released.lock"

VARIABLES = {"relation": ("anchor",), "neutral": (), "rubric": ("first", "second")}
"""What the input template of each kind of prompt must name; an exemplar's template adds `output`."""


class Prompt(Record):
    """One version of one prompt.

    Attributes:
        kind: `relation` writes a sentence from {anchor}; `neutral` has no input; `rubric` rates {first} and {second}.
        instruction: literal text, put first.
        exemplar: template of one example; its variables are those of the input and {output}.
        input: template of what the model is to continue.
        opposite: the id of the prompt with the opposite instruction, for contrastive decoding.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: int = Field(ge=1)
    kind: Literal["relation", "neutral", "rubric"]
    format: Literal["completion"]
    instruction: str
    exemplar: str | None = None
    input: str
    stop: tuple[str, ...] = Field(min_length=1)
    opposite: str | None = None
    source: str
    exemplars: tuple[Exemplar, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Prompt:
        wanted = set(VARIABLES[self.kind])
        _check_variables("input", self.input, wanted)
        if self.exemplar is not None:
            _check_variables("exemplar", self.exemplar, wanted | {"output"})
        if self.exemplars and self.exemplar is None:
            raise ValueError("exemplars need an `exemplar` template")
        for n, item in enumerate(self.exemplars):
            if set(item) != wanted | {"output"}:
                raise ValueError(f"exemplars[{n}] must have exactly the keys {sorted(wanted | {'output'})}")
        return self

    @property
    def ref(self) -> str:
        return f"{self.id}.v{self.version}"

    @cached_property
    def hash(self) -> str:
        """SHA-256 of everything in it. What has its default is left out, so that a new optional key changes no hash."""
        return content_hash(self.model_dump(mode="json", exclude_defaults=True))

    def draw(self, count: int, seed: int) -> tuple[Exemplar, ...]:
        """`count` examples of the pool, in an order that the seed alone decides.

        A prompt and its opposite have pools of equal length over the same anchors, so the same seed shows the same.
        """
        if count > len(self.exemplars):
            raise PromptError(f"prompt {self.ref} has {len(self.exemplars)} exemplars; {count} were asked for")
        picked = random.Random(seed).sample(range(len(self.exemplars)), count)  # noqa: S311
        return tuple(self.exemplars[i] for i in picked)

    def render(self, values: Mapping[str, str], exemplars: Sequence[Exemplar] = ()) -> str:
        """The whole prompt: instruction, examples, input, with an empty line between them."""
        examples = [_format(self.exemplar or "", item) for item in exemplars]
        return "\n\n".join([self.instruction, *examples, _format(self.input, values)])


class PromptLibrary:
    """Every prompt that a run can name: the packaged ones and those of a folder of the user's.

    Args:
        prompts: (origin, prompt); the origin is the file's name.

    Raises:
        PromptError: naming both files, if a version is defined twice.
    """

    def __init__(self, prompts: Iterable[tuple[str, Prompt]]) -> None:
        self._prompts: dict[tuple[str, int], Prompt] = {}
        self._origins: dict[tuple[str, int], str] = {}
        for origin, prompt in prompts:
            key = (prompt.id, prompt.version)
            if key in self._prompts:
                raise PromptError(f"prompt {prompt.ref} is defined twice: in {self._origins[key]} and in {origin}")
            self._prompts[key], self._origins[key] = prompt, origin

    @classmethod
    def load(cls, folder: str | None = None) -> PromptLibrary:
        """The packaged prompts and, if given, every .yaml file of `folder`.

        Raises:
            PromptError: naming the file and the key, if one is malformed, defined twice, or changed after its release.
        """
        packaged = resources.files("multicsr.prompts")
        found = [
            (entry.name, parse_prompt(entry.read_text("utf-8"), entry.name))
            for entry in sorted(packaged.iterdir(), key=lambda entry: entry.name)
            if entry.name.endswith(".yaml")
        ]
        _check_released(found, (packaged / LOCK_FILE).read_text("utf-8"))
        if folder is not None:
            if not Path(folder).is_dir():
                raise PromptError(f"prompts = {folder}: no such folder")
            found += [(str(path), parse_prompt(_read(path), str(path))) for path in sorted(Path(folder).glob("*.yaml"))]
        return cls(found)

    def get(self, name: str) -> Prompt:
        """A prompt by `id` (its newest version) or `id.vN`."""
        match = re.fullmatch(r"(.+?)(?:\.v(\d+))?", name)
        wanted, version = (match[1], match[2]) if match else (name, None)
        versions = [v for i, v in self._prompts if i == wanted and (version is None or v == int(version))]
        if not versions:
            known = ", ".join(prompt.ref for prompt in self)
            raise PromptError(f"no prompt {name!r}; there are: {known}")
        return self._prompts[wanted, max(versions)]

    def origin(self, prompt: Prompt) -> str:
        return self._origins[prompt.id, prompt.version]

    def __iter__(self) -> Iterator[Prompt]:
        return iter(prompt for _, prompt in sorted(self._prompts.items()))


def parse_prompt(text: str, origin: str) -> Prompt:
    """A prompt from the text of its file.

    Raises:
        PromptError: naming the file and every wrong key.
    """
    try:
        return Prompt.model_validate(parse_yaml(text, origin))
    except ValidationError as error:
        raise PromptError("\n".join(_explain(item, origin) for item in error.errors())) from None
    except UsageError as error:
        raise PromptError(str(error)) from None


def _explain(item: Any, origin: str) -> str:
    if item["type"] == "extra_forbidden":
        return f"{origin}: {_dotted(item)}: no such key; a prompt has {', '.join(Prompt.model_fields)}"
    if item["type"] == "model_type":
        return f"{origin}: a prompt is a mapping of keys: {', '.join(Prompt.model_fields)}"
    reason = str(item["msg"]).removeprefix("Value error, ")
    return f"{origin}: {_dotted(item) + ': ' if item['loc'] else ''}{reason[:1].lower()}{reason[1:]}"


def _dotted(item: Any) -> str:
    return ".".join(map(str, item["loc"]))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise PromptError(f"{path}: cannot read the prompt: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PromptError(f"{path}: the prompt is not UTF-8 text") from None


def _check_released(prompts: Iterable[tuple[str, Prompt]], lock: str) -> None:
    released = dict(line.split(maxsplit=1) for line in lock.splitlines() if line and not line.startswith("#"))
    for origin, prompt in prompts:
        if released.get(prompt.ref, prompt.hash) != prompt.hash:
            raise PromptError(f"{origin}: {prompt.ref} changed after its release; give the new text a new version")


def _check_variables(key: str, template: str, wanted: set[str]) -> None:
    try:
        found = set(PromptTemplate.from_template(template).input_variables)
    except ValueError as error:
        raise ValueError(f"{key}: not a template: {error}; write literal braces as {{{{ and }}}}") from None
    if found != wanted:
        raise ValueError(f"{key}: must name {sorted(wanted) or 'nothing'} in braces; it names {sorted(found)}")


def _format(template: str, values: Mapping[str, str]) -> str:
    return PromptTemplate.from_template(template).format(**values)
