"""One process of several that run the same command, started as a launcher starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers.models.bert.modeling_bert  # noqa: F401 (imported here once, and not by every process anew)

import multicsr.cli.train
import multicsr.stages.train
import multicsr.train.loop  # noqa: F401
from multicsr.cli import main


def run(rank: int, size: int, port: int, arguments: Sequence[str], folder: Path, said: Path) -> None:
    """Runs a command in `folder`; what it prints goes to a file."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    sys.argv = ["multicsr", *arguments]
    main()
