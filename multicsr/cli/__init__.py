"""The command line: a group that loads a command's module only when the command is used."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from multicsr import __version__

# Kept here, and not read from the modules, so that --help imports none of them (a test compares the two).
COMMANDS = {
    "run": "Makes a better sentence encoder from unlabelled sentences.",
    "generate": "Stage 1: writes a pair for every sentence that lacks one.",
    "judge": "Stage 2: gives every pair a similarity from 0 to 5.",
    "filter": "Decides about every sentence from stored pairs and scores.",
    "train": "Stage 3: trains the encoder on the accepted triplets.",
    "evaluate": "Measures the encoder before and after training.",
    "report": "Writes the run's report.html.",
    "review": "Opens a page to accept, reject and edit borderline pairs.",
    "explain": "Tells the whole story of one sentence.",
    "sweep": "Shows what other thresholds would accept.",
    "compare": "Shows runs side by side.",
    "export": "Writes triplets, a Hub data set, or the encoder for others.",
    "calibrate": "Fits a judge's numbers to human scores.",
    "init": "Writes a commented configuration file.",
    "config": "Shows the effective configuration and its origins.",
    "plugins": "Lists, writes and checks filters and judges.",
    "prompts": "Lists, shows and checks prompt templates.",
    "models": "Lists the models that can be used here.",
    "doctor": "Checks the installation, or a run.",
    "completion": "Prints what makes a shell complete commands and options.",
    "bench": "Measures the engine and the trainer, and how far to trust a judge.",
}


class LazyGroup(click.Group):
    """Commands by name; `multicsr.cli.NAME` defines `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"multicsr.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"; did you mean `{near[0]}`?" if near else "; `multicsr --help` lists the commands"
            raise click.UsageError(f"no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        named = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="multicsr")
@click.option("--no-color", is_flag=True, help="Print without colours, as with NO_COLOR=1.")
@click.pass_context
def cli(context: click.Context, no_color: bool) -> None:
    """Sentence encoders from unlabelled text.

    A language model writes pairs, contrast and judges refine them, a masked contrastive loss trains.
    `multicsr run` does it all, offline, on bundled sentences and models.
    """
    from multicsr.cli.saying import colour

    if no_color:
        os.environ["NO_COLOR"] = "1"  # which Rich reads, too
    context.color = colour()


def main() -> None:
    """Entry point: errors become one clear message and an exit code (1 failed, 2 usage, 130 or 143 interrupted)."""
    from multicsr.cli.signals import SIGNALLED, ending_at_once
    from multicsr.threads import share_cores

    share_cores()
    with ending_at_once() as came:
        try:
            code = cli.main(standalone_mode=False, prog_name="multicsr")
        except BaseException as error:
            code = _told(error, interrupted=bool(came))
        if came:
            code = SIGNALLED + came[0]
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: BaseException, *, interrupted: bool) -> int:
    """Says what ended a command, and gives its exit code; raises what is nobody's mistake."""
    from multicsr.cli.saying import say
    from multicsr.errors import InterruptedRunError, MulticsrError

    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return 130
    if interrupted and not isinstance(error, InterruptedRunError):
        return 130  # what a signal broke off has nothing to tell
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, MulticsrError):
        for line in str(error).splitlines():
            say(f"error: {line}" if not line.startswith("  ") else line, err=True, fg="red")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()  # the reader of our output has left
        return 1
    if isinstance(error, OSError):  # a full disk, a folder that may not be written
        say(f"error: {error}; what was stored stays, and the same command goes on", err=True, fg="red")
        return 1
    if isinstance(error, Exception):  # a mistake of ours; what it says may hold anybody's text
        import traceback

        say("".join(traceback.format_exception(error)), err=True)
        return 1
    raise error
