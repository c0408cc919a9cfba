"""What a configuration's names stand for, as far as the names alone tell it."""

from __future__ import annotations

import re

from multicsr.config import JudgeConfig

REMOTE = re.compile(r"(?P<provider>[a-z][a-z0-9_-]+):(?P<name>.+?)(?:@(?P<url>https?:.*))?")
LOCAL = ("hf", "http", "https", "file")
AUTO = "auto"


def is_remote(llm: str) -> bool:
    """Whether it names a remote model: `openai:NAME`, `openai:NAME@URL`, `anthropic:NAME`, any LangChain provider."""
    match = REMOTE.fullmatch(llm)
    return match is not None and match["provider"] not in LOCAL


def chosen_judge(judge: JudgeConfig, llm: str) -> JudgeConfig:
    """The judge by its name, where that is `auto`.

    A local model shows its probabilities, and `likelihood` makes most of them; of a remote one, which is asked over a
    network and most often shows none, an answer costs less and says more.

    Args:
        llm: the generator's, which is the judge's unless it names another.
    """
    if judge.name != AUTO:
        return judge
    if not is_remote(judge.llm or llm):
        return judge.model_copy(update={"name": "likelihood"})
    return judge.model_copy(update={"name": "rubric", "options": {"prompt": "rubric-chat", **judge.options}})
