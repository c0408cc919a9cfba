"""`multicsr review`."""

from __future__ import annotations

from pathlib import Path

import click

from multicsr.cli.options import run_argument
from multicsr.cli.saying import say


@click.command(short_help="Opens a page to accept, reject and edit borderline pairs.")
@run_argument
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="How many pairs, the nearest to a border first.",
)
@click.option("--by", "reviewer", metavar="NAME", help="Who reviews; by default your name on this machine.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Port to listen on; by default a free one."
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the address only.")
def command(folder: Path, limit: int, reviewer: str | None, port: int, no_browser: bool, quiet: bool) -> None:
    """Opens a page to accept, reject and edit borderline pairs.

    RUN is a run folder. The pairs that are nearest to the borders of α, β and γ come first. What you say is stored at
    once as your verdict, and every later stage goes by it: `multicsr train RUN` trains on it. The page is served to
    this machine alone, until you finish in it or press Ctrl-C here.
    """
    import webbrowser

    from multicsr.cli.console import make_reporter
    from multicsr.cli.session import opened
    from multicsr.errors import UsageError
    from multicsr.review.desk import Desk
    from multicsr.review.server import ReviewServer
    from multicsr.workspace import Workspace

    with opened(Workspace.open(folder, None, make_reporter(quiet))) as work:
        desk = Desk(work, limit=limit, reviewer=reviewer)
        try:
            server = ReviewServer(desk, port=port)
        except OSError as error:
            raise UsageError(f"--port {port}: {error.strerror}; name another, or none") from None
        say(server.address)
        if not no_browser:
            webbrowser.open(server.address)
        server.work_until(work.should_stop)
        counts = desk.close()
    if not quiet:
        say(f"{counts['accepted']} accepted and {counts['rejected']} rejected by people")
        say(f"`multicsr train {folder}` trains on what is accepted now")
