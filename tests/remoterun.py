"""A run on a remote model up to the report: the real store, stages, judge and filters, and a server on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from multicsr.config import DEFAULT_FILTERS, Config
from multicsr.configsources import load_config
from multicsr.pipeline import check, write_rounds
from multicsr.provenance import check_unchanged
from multicsr.registry import Registry
from multicsr.stages.ingest import ingest
from multicsr.stages.report import write_report
from multicsr.templates import PromptLibrary
from multicsr.workspace import Workspace
from tests.servers import Body, last, number

QUICK = {"concurrency": 8, "timeout_s": 30, "deadline_s": 300, "backoff_s": 0.01, "backoff_max_s": 0.1}
"""Short waits, but patience with a machine that has much else to do."""


def writer(body: Body) -> str | int:
    """A server's model: rewrites for one instruction, denials for the other, digits for the rubric; chats alone."""
    if "messages" not in body:
        return 404
    instruction, text = body["messages"][0]["content"], last(body)
    if instruction.startswith("Rate"):
        first, second = text.split("\n")[0], text.split("\n")[1]
        similar = "again" in second
        return f"{number(first, second) % 2 + (3 if similar else 0)}"
    said = text.removeprefix("Sentence: ")
    return f"{said} once again" if instruction.startswith("Rewrite") else f"it is not so that {said}"


def save_sentences(path: Path, count: int) -> Path:
    path.write_text("".join(f"sentence number {n} of this text\n" for n in range(count)), "utf-8")
    return path


def run_config(sentences: Path, llm: str, **settings: Any) -> Config:
    """Filters that reject nothing for its words; `settings` are configuration keys, with __ for the dot."""
    flags: dict[str, Any] = {f"filters.{name}": None for name in DEFAULT_FILTERS if name not in ("copy", "curation")}
    flags |= {"input.source": str(sentences), "generate.llm": llm, "generate.omega": 0, "rounds": 1}
    flags |= {f"remote.{key}": value for key, value in QUICK.items()}
    flags |= {key.replace("__", "."): value for key, value in settings.items()}
    return load_config(flags=flags, environ={})


def open_run(folder: Path, sentences: Path, url: str, **settings: Any) -> Workspace:
    """The run of the model `tiny` on a server."""
    return Workspace.create(folder, run_config(sentences, f"openai:tiny@{url}", **settings))


def go_on(work: Workspace) -> None:
    """What `pipeline.run` does, without training."""
    check(work)
    ingest(work)
    check_unchanged(work)
    write_rounds(work)
    write_report(work)


if __name__ == "__main__":
    folder, source, address = sys.argv[1:4]
    with open_run(Path(folder), Path(source), address) as opened:
        opened.registry, opened.prompts = Registry.load(), PromptLibrary.load()
        go_on(opened)
