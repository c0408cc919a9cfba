"""What can go wrong, by who has to act on it.

Per-row failures are not errors: they are recorded in the run. An exception of this module stops the command; its
text is the whole message that a person at the terminal sees, so it names the key and the fix.
"""

from __future__ import annotations

from collections.abc import Sequence

CAUSE_CHARACTERS = 400


class MulticsrError(Exception):
    """Base of every error that multicsr raises on purpose; `exit_code` is the command's."""

    exit_code = 1


class UsageError(MulticsrError):
    """The user gave something that cannot be used: a path, an option, a file."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more configuration values are wrong; all of them are reported together.

    Args:
        problems: one line each, naming the key, the value, the reason and, where there is one, the fix.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)  # on its way from another process


class InputError(UsageError):
    """The sentences, or another file of the user's data, cannot be read."""


class PromptError(UsageError):
    """A prompt template is missing, malformed or changed after its release."""


class PluginError(UsageError):
    """A plugin cannot be loaded, or its name or options are wrong."""


class ModelError(UsageError):
    """A model cannot be found, loaded or used the way the configuration asks."""


class RunFolderError(UsageError):
    """A run folder holds something else than this command expects: another configuration, another input, no run."""


class LockedError(MulticsrError):
    """Another process works on the same run folder."""


class WorkerError(MulticsrError):
    """The process that holds a language model died or answered what it should not."""


class RemoteError(MulticsrError):
    """A remote model's server refuses every call, or answers none; what was stored stays."""


class BudgetError(MulticsrError):
    """The run's budget of tokens or dollars is spent; what was answered is stored."""


class StageError(MulticsrError):
    """A stage cannot give what the next one needs, for instance no accepted triplet to train on."""


class InterruptedRunError(MulticsrError):
    """The user stopped the run by Ctrl-C (130) or SIGTERM (143); it can be resumed."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, short enough for one: a value may have any length."""
    line = str(error).strip().partition("\n")[0].rstrip(" .:") or type(error).__name__
    return line if len(line) <= CAUSE_CHARACTERS else f"{line[:CAUSE_CHARACTERS]}…"
