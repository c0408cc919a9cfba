"""Progress in a notebook's kernel, as Jupyter shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from multicsr.notebook import _bar, in_notebook
from tests import remoterun
from tests.servers import KEY, Server

SETUP = """
import multicsr
from multicsr.config import DEFAULT_FILTERS

settings = dict(
    generate={"llm": "openai:tiny", "omega": 0},
    remote={"base_url": URL},
    filters=dict.fromkeys(DEFAULT_FILTERS),
    rounds=1,
)
sentences = [f"sentence <b>number</b> {n} of this text" for n in range(12)]
"""
CELLS = (
    "run = multicsr.Run.create(sentences, 'run', **settings).generate().judge().filter()\nrun",
    "import tqdm.auto",
    "multicsr.Run.create(sentences, 'silent', progress=False, **settings).generate()",
)


def test_a_bar_for_each_stage_stays_and_nothing_else_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with Server(remoterun.writer, key=KEY) as server:
        cells = [nbformat.v4.new_code_cell(text) for text in (SETUP.replace("URL", repr(server.url)), *CELLS)]
        book = nbformat.v4.new_notebook(cells=cells)
        NotebookClient(book, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    setup, shown, imported, silent = ([dict(output) for output in cell.outputs] for cell in book.cells)
    assert setup == imported == []
    *bars, result = shown
    assert {output["output_type"] for output in bars} == {"display_data"}
    last = [output["data"]["text/html"] for output in bars]
    for name in ("generate, round 1", "judge", "filter"):
        assert any(re.match(rf'<div>{name} <progress value="12" max="12"></progress> 12 of 12, ', it) for it in last), (
            last
        )
    assert [re.sub("<.*?>", "", html).strip() for html in last] == [plain(output) for output in bars]
    assert plain(result) == "<Run 'run': 12 sentences, 12 accepted, 0 rejected, 0 failed>"
    assert [output["output_type"] for output in silent] == ["execute_result"]


def plain(output: dict[str, Any]) -> str:
    return str(output["data"]["text/plain"])


def test_what_counts_nothing_shows_its_time() -> None:
    assert _bar("load <x>", 0, None, 0.0, "") == "<div>load &lt;x&gt; …</div>"
    assert _bar("load", 0, None, 1.26, "cold") == "<div>load 1.3 s, cold</div>"
    assert _bar("judge", 3, 6, 1.0, "") == (
        '<div>judge <progress value="3" max="6"></progress> 3 of 6, 3.0/s, 1 s left</div>'
    )


def test_pytest_is_no_notebook() -> None:
    assert not in_notebook()
