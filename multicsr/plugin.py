"""What a plugin is written against: two decorators and the base class of judges that use models or other judges.

A filter is a function of a `Triplet`, or of a sequence of them; a judge a function of a `Pair`, or of a sequence. A
class serves where state is needed: its `__init__` takes the options, its `__call__` (for a `Judge`, `rate`) the rows.
Options are keyword-only parameters with a type and a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from multicsr.backends.base import LanguageModel
from multicsr.schemas import Capability, Failure, Pair, Score
from multicsr.templates import PromptLibrary

Target = TypeVar("Target", bound=Callable[..., Any])
MARK = "__multicsr_plugin__"


@dataclass(frozen=True)
class Declaration:
    """What a decorator says of the function or class it stands on."""

    kind: Literal["filter", "judge"]
    name: str
    version: str
    before_judging: bool = False


def filter(name: str, *, version: str, before_judging: bool = False) -> Callable[[Target], Target]:
    """Declares a filter: `(triplet, *, options) -> Verdict`, or `(triplets, *, options) -> Sequence[Verdict]`.

    A filter that looks at the texts alone and says so by `before_judging` spares the judge what it rejects; it sees no
    similarities. A class `(*, options)` with `__call__` may keep state over the corpus; such filters look at what all
    others accepted, row by row in a fixed order.
    """
    return _declare(Declaration("filter", name, version, before_judging))


def judge(name: str, *, version: str) -> Callable[[Target], Target]:
    """Declares a judge: `(pair, *, options) -> Score`, `(pairs, *, options) -> Sequence[Score]`, or a `Judge` class.

    Instead of a `Score` it may answer `Failure(reason=…)`; the row then fails with that reason.
    """
    return _declare(Declaration("judge", name, version))


class OpenJudge(Protocol):
    """Opens another judge: see `Judge.open_judge`."""

    def __call__(
        self, name: str, options: Mapping[str, Any], *, at: str, llm: str | None = None
    ) -> Callable[[Sequence[Pair]], list[Score | Failure]]: ...


class Judge(ABC):
    """Base of judges that use the language model, prompts, a model of their own, or other judges.

    Options are keyword parameters of `__init__`, which does no work; `open` does.

    Attributes:
        needs: capabilities that the language model must have; without any it is not opened for this judge. `__init__`
            may set it where that depends on the options.
        prompts: the prompts of the run, there when `open` is called.
        open_judge: opens another judge by name and options, and gives a function that rates pairs as this judge's
            `rate` does; whatever the other judge raises fails the pairs concerned. `at` is this judge's option that
            holds its `name` and `options`, such as `members.nli`, for messages; `llm` the language model that it uses
            in place of this judge's, as after --llm. To be called in `open` alone.
        llm: the language model, there when `rate` is called.
    """

    needs: frozenset[Capability] = frozenset()
    prompts: PromptLibrary
    open_judge: OpenJudge
    llm: LanguageModel

    def open(self) -> Mapping[str, Any]:
        """Loads models and opens other judges; called once, before the run begins, and so the place to refuse options.

        Returns:
            What decides its answers besides its options, its prompts, the language model and other judges, such as the
            fingerprint of a model that it loaded. JSON; it becomes part of every score's identity.
        """
        return {}

    @abstractmethod
    def rate(self, pairs: Sequence[Pair]) -> Sequence[Score | Failure]:
        """One answer for each pair, in order."""


def _declare(declaration: Declaration) -> Callable[[Target], Target]:
    def mark(target: Target) -> Target:
        setattr(target, MARK, declaration)
        return target

    return mark
