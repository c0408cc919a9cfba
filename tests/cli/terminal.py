"""A terminal emulator to watch commands in: tmux, and what its screen shows meanwhile."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed (apt install tmux)")
LONGEST_S = 200


def screens(command: list[str], *, width: int, height: int = 60, cwd: Path, **environ: str) -> Iterator[list[str]]:
    """Runs `multicsr COMMAND` in a terminal of that width; what its screen shows, whenever that changes, to its end.

    The last screen ends with the line `exit N`.
    """
    socket = str(cwd / f"tmux{width}")
    line = shlex.join([sys.executable, "-P", "-m", "multicsr", *command])
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in environ.items())
    shell = f"cd {shlex.quote(str(cwd))}; {told} {line}; echo exit $?; sleep {LONGEST_S}"

    # GNU readline, which pytest loads, leaves its own idea of the width in the environment of what is started.
    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}

    def tmux(*arguments: str) -> str:
        asked = ["tmux", "-u", "-f", os.devnull, "-S", socket, *arguments]
        return subprocess.run(asked, capture_output=True, text=True, check=True, env=inherited).stdout

    tmux("new-session", "-d", "-x", str(width), "-y", str(height), "bash", "--norc", "-c", shell)
    try:
        last, end = None, time.monotonic() + LONGEST_S
        while True:
            shown = tmux("capture-pane", "-p").rstrip("\n").splitlines()
            if shown != last:
                last = shown
                yield shown
            if any(line.startswith("exit ") for line in shown):
                return
            assert time.monotonic() < end, f"{line} did not end; its screen shows {shown}"
            time.sleep(0.05)
    finally:
        tmux("kill-server")
