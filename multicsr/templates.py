"""Prompt templates: loads, checks, versions and hashes the YAML files of prompts/, and renders them.

A completion prompt is a text, a chat prompt a conversation that the model's chat template puts into words. Rendering is
one pass through LangChain prompt templates: what is put in, a sentence with braces for instance, is never read as
template text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NewType

from pydantic import Field, ValidationError, model_validator

from multicsr.errors import PromptError, UsageError
from multicsr.schemas import Message, PromptText, Record, content_hash
from multicsr.yamltext import parse_yaml

PromptId = NewType("PromptId", str)
"""The id of a prompt (`entailment`, or `entailment.v1` for a version). As the type of a plugin's option it is checked
before the run, and the prompt's hash becomes part of the plugin's identity."""

Exemplar = dict[str, str]
LOCK_FILE = "released.lock"

VARIABLES = {"relation": ("anchor",), "neutral": (), "rubric": ("first", "second")}
"""What the input template of each kind of prompt must name; an exemplar adds `output`."""


class Prompt(Record):
    """One version of one prompt.

    Attributes:
        kind: `relation` writes a sentence from {anchor}; `neutral` has no input; `rubric` rates {first} and {second}.
        format: `completion` is one text that the model continues; `chat` is a conversation that it answers.
        instruction: literal text, put first; in a chat the system message. May be empty.
        exemplar: template of one example in a completion; its variables are those of the input and {output}. In a chat
            an example is a user's turn made from `input` and an assistant's turn that says its `output`.
        input: template of what the model is to continue; in a chat the user's turn.
        opposite: the id of the prompt with the opposite instruction, for contrastive decoding.
        exemplars: the pool to draw examples from.
        exemplars_of: in a file, the version whose pool this one has too (`entailment.v1`); None once it is loaded.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: int = Field(ge=1)
    kind: Literal["relation", "neutral", "rubric"]
    format: Literal["completion", "chat"]
    instruction: str
    exemplar: str | None = None
    input: str
    stop: tuple[str, ...] = Field(min_length=1)
    opposite: str | None = None
    source: str
    exemplars: tuple[Exemplar, ...] = ()
    exemplars_of: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]*\.v[1-9][0-9]*$")

    @model_validator(mode="after")
    def _check(self) -> Prompt:
        wanted = set(VARIABLES[self.kind])
        _check_variables("input", self.input, wanted)
        if self.exemplar is not None:
            if self.format == "chat":
                raise ValueError("exemplar: not in a chat prompt, which shows an example as `input` and its output")
            _check_variables("exemplar", self.exemplar, wanted | {"output"})
        elif self.format == "completion" and (self.exemplars or self.exemplars_of):
            raise ValueError("exemplars need an `exemplar` template")
        if self.exemplars and self.exemplars_of:
            raise ValueError("exemplars_of: give it or `exemplars`, not both")
        if self.opposite and self.kind != "relation":
            raise ValueError(f"opposite: a {self.kind} prompt has none")
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

    def render(self, values: Mapping[str, str], exemplars: Sequence[Exemplar] = ()) -> PromptText:
        """The whole prompt: instruction, examples, input; in a completion with an empty line between them."""
        if self.format == "completion":
            examples = [_format(self.exemplar or "", item) for item in exemplars]
            return "\n\n".join([*self._instruction, *examples, _format(self.input, values)])
        turns = [Message(role="system", content=text) for text in self._instruction]
        for item in exemplars:
            turns.append(Message(role="user", content=_format(self.input, item)))
            turns.append(Message(role="assistant", content=item["output"]))
        return (*turns, Message(role="user", content=_format(self.input, values)))

    @property
    def _instruction(self) -> list[str]:
        return [self.instruction] if self.instruction else []

    def continuation(self, text: str) -> str:
        """How the answer `text` goes on after the prompt: a completion needs a space, an assistant's turn none."""
        return f" {text}" if self.format == "completion" else text

    def objection(self, other: Prompt) -> str | None:
        """Why `other` cannot be the opposite of this one in contrastive decoding, or None."""
        if self.opposite not in (other.id, other.ref):
            return f"its opposite is {self.opposite}, not {other.ref}"
        if self.format != other.format:
            # An answer begins with a space in one and without in the other, so their tokens cannot be compared.
            return f"its format is {self.format}, that of its opposite {other.ref} is {other.format}"
        return None


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
        found = _share_exemplars(found)
        _check_released(found, (packaged / LOCK_FILE).read_text("utf-8"))
        if folder is not None:
            if not Path(folder).is_dir():
                raise PromptError(f"prompts = {folder}: no such folder")
            found += [(str(path), parse_prompt(_read(path), str(path))) for path in sorted(Path(folder).glob("*.yaml"))]
        return cls(_share_exemplars(found))

    def get(self, name: str) -> Prompt:
        """A prompt by `id` (its newest version) or `id.vN`."""
        match = re.fullmatch(r"(.+?)(?:\.v(\d+))?", name)
        wanted, version = (match[1], match[2]) if match else (name, None)
        versions = [v for i, v in self._prompts if i == wanted and (version is None or v == int(version))]
        if not versions:
            known = ", ".join(prompt.ref for prompt in self)
            raise PromptError(f"no prompt {name!r}; there are: {known}")
        return self._prompts[wanted, max(versions)]

    def chosen(self, name: str, default: str, format: Literal["completion", "chat"]) -> Prompt:
        """A prompt by its name; for `auto` the default one, in the format that a model is given."""
        return self.get(name if name != "auto" else default if format == "completion" else f"{default}-chat")

    def origin(self, prompt: Prompt) -> str:
        return self._origins[prompt.id, prompt.version]

    def problems(self) -> list[str]:
        """What keeps prompts from being used as each other's opposites, each with its file."""
        problems = []
        for prompt in self:
            if prompt.opposite is None:
                continue
            try:
                other = self.get(prompt.opposite)
            except PromptError as error:
                problems.append(f"{self.origin(prompt)}: opposite: {error}")
                continue
            if reason := prompt.objection(other):
                problems.append(f"{self.origin(prompt)}: opposite: {reason}")
            elif reason := other.objection(prompt):
                problems.append(f"{self.origin(prompt)}: opposite: {other.ref} does not fit: {reason}")
            elif [item["anchor"] for item in prompt.exemplars] != [item["anchor"] for item in other.exemplars]:
                problems.append(f"{self.origin(prompt)}: exemplars: not the anchors of {other.ref} in the same order")
        return problems

    def __iter__(self) -> Iterator[Prompt]:
        return iter(prompt for _, prompt in sorted(self._prompts.items()))


def parse_prompt(text: str, origin: str) -> Prompt:
    """A prompt from the text of its file.

    Raises:
        PromptError: naming the file and every wrong key.
    """
    try:
        data = parse_yaml(text, origin)
    except UsageError as error:
        raise PromptError(str(error)) from None
    return _validated(data, origin)


def _validated(data: Any, origin: str) -> Prompt:
    try:
        return Prompt.model_validate(data)
    except ValidationError as error:
        raise PromptError("\n".join(_explain(item, origin) for item in error.errors())) from None


def _share_exemplars(prompts: Sequence[tuple[str, Prompt]]) -> list[tuple[str, Prompt]]:
    """The same prompts, each with the pool that its `exemplars_of` names."""
    pools = {prompt.ref: prompt.exemplars for _, prompt in prompts}
    shared = []
    for origin, prompt in prompts:
        if prompt.exemplars_of is not None:
            pool = pools.get(prompt.exemplars_of)
            if not pool:
                raise PromptError(f"{origin}: exemplars_of: no {prompt.exemplars_of} with exemplars of its own")
            prompt = _validated(prompt.model_dump() | {"exemplars": pool, "exemplars_of": None}, origin)
        shared.append((origin, prompt))
    return shared


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
    changed = [
        f"{origin}: {prompt.ref} changed after its release; give the new text a new version"
        for origin, prompt in prompts
        if released.get(prompt.ref, prompt.hash) != prompt.hash
    ]
    if changed:
        raise PromptError("\n".join(changed))


def _check_variables(key: str, template: str, wanted: set[str]) -> None:
    try:
        from langchain_core.prompts import PromptTemplate

        found = set(PromptTemplate.from_template(template).input_variables)
    except ValueError as error:
        raise ValueError(f"{key}: not a template: {error}; write literal braces as {{{{ and }}}}") from None
    if found != wanted:
        raise ValueError(f"{key}: must name {sorted(wanted) or 'nothing'} in braces; it names {sorted(found)}")


def _format(template: str, values: Mapping[str, str]) -> str:
    from langchain_core.prompts import PromptTemplate

    return PromptTemplate.from_template(template).format(**values)
