"""Prompt templates: loads, checks, versions and hashes the YAML files of prompts/, and renders them.

Rendering is one pass through LangChain prompt templates: what is put in, a sentence with braces for instance, is never
read as template text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal, NewType

import yaml
from langchain_core.prompts import PromptTemplate
from pydantic import Field, ValidationError, model_validator

from multicsr.errors import PromptError
from multicsr.schemas import Record, content_hash

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
        """SHA-256 of everything in it."""
        return content_hash(self.model_dump(mode="json"))

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
        return self._join([_format(self.exemplar or "", item) for item in exemplars], _format(self.input, values))

    def _join(self, examples: Iterable[str], last: str) -> str:
        return "\n\n".join([self.instruction, *examples, last])


class PromptLibrary:
    """Every prompt that a run can name: the packaged ones and those of a folder of the user's.

    Raises:
        PromptError: naming the file and the key, if one is malformed or defined twice.
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
        """The packaged prompts and, if given, every .yaml file of `folder`."""
        found = [
            (entry.name, entry.read_text("utf-8"))
            for entry in sorted(resources.files("multicsr.prompts").iterdir(), key=lambda e: e.name)
            if entry.name.endswith(".yaml")
        ]
        if folder is not None:
            if not Path(folder).is_dir():
                raise PromptError(f"prompts = {folder}: no such folder")
            found += [(str(path), path.read_text("utf-8")) for path in sorted(Path(folder).glob("*.yaml"))]
        return cls((origin, parse_prompt(text, origin)) for origin, text in found)

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

    def __iter__(self) -> Iterable[Prompt]:  # type: ignore[override]
        return iter(prompt for _, prompt in sorted(self._prompts.items()))


def parse_prompt(text: str, origin: str) -> Prompt:
    """A prompt from the text of its file; PromptError names the file and the key."""
    try:
        data = yaml.safe_load(text)
        return Prompt.model_validate(data)
    except yaml.YAMLError as error:
        raise PromptError(f"{origin}: not valid YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'prompt'}: {item['msg']}" for item in error.errors()]
        raise PromptError(f"{origin}: " + "; ".join(problems)) from None


def released_hashes() -> dict[str, str]:
    """Reference → hash of every released version, from the lock file."""
    text = (resources.files("multicsr.prompts") / LOCK_FILE).read_text("utf-8")
    return dict(line.split() for line in text.splitlines() if line and not line.startswith("#"))  # type: ignore[misc]


def _check_variables(key: str, template: str, wanted: set[str]) -> None:
    found = set(PromptTemplate.from_template(template).input_variables)
    if found != wanted:
        raise ValueError(f"`{key}` must name {sorted(wanted) or 'nothing'} in braces; it names {sorted(found)}")


def _format(template: str, values: Mapping[str, str]) -> str:
    return PromptTemplate.from_template(template).format(**values)
