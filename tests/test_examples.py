"""Every example does what its docstring says, on a few sentences."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import remoterun
from tests.inprocess import script
from tests.servers import KEY, Server

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTS = {
    "own_sentences": ["<Run 'runs/support': 6 sentences, ", "paraphrase", "with “I paid two times.”", "report: runs"],
    "compare_llms": ["bundled-llm", "other-llm", "  bundled:  "],
    "custom_filter": ["called directly: accepted=False reason='bare-negation'", "of 2 sentences"],
    "custom_judge": ["shared-words", "likelihood: ", "shared-words: "],
    "remote_generator": [
        "<Run 'runs/remote-generator': 2 sentences, ",
        "paraphrase   The museum opens its new wing in spring. once again   (a = ",
        "contradicts  it is not so that The museum opens its new wing in spring.   (b = ",
        "written by openai:tiny, judged by bundled",
        "report: runs/remote-generator/report.html",
    ],
}
LIMITS = {"own_sentences": 6}
QUICK = {"own_sentences": {"MULTICSR_JUDGE__OPTIONS__CONTRAST": "false"}}


def test_every_example_is_tried_and_says_what_it_shows() -> None:
    scripts = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert scripts == sorted(PRINTS)
    for name in scripts:
        told = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8")))
        assert told
        assert f"python examples/{name}.py" in told


@pytest.mark.bundled
@pytest.mark.parametrize("name", sorted(PRINTS.keys() - {"remote_generator"}))
def test_an_example_runs_and_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    run(name, tmp_path)


@pytest.mark.bundled
def test_the_remote_generator_is_asked_and_the_judge_is_local(tmp_path: Path) -> None:
    with Server(remoterun.writer, key=KEY) as server:
        run("remote_generator", tmp_path, "tiny", "--base-url", server.url, OPENAI_API_KEY=KEY)
        said = [body["messages"][0]["content"] for body in server.tally.bodies if "messages" in body]
    assert any(text.startswith("Rewrite") for text in said)
    assert not any(text.startswith("Rate") for text in said)


def run(name: str, folder: Path, *arguments: str, **environ: str) -> None:
    """Runs an example in a folder of its own, and looks at what it prints."""
    few = {"MULTICSR_INPUT__LIMIT": str(LIMITS.get(name, 2)), "MULTICSR_GENERATE__MAX_TOKENS": "20"}
    few |= {"MULTICSR_ROUNDS": "1"} | QUICK.get(name, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for key, value in (few | environ).items():
            patch.setenv(key, value)
        done = script(EXAMPLES / f"{name}.py", *arguments)
    assert done.code == 0, done.stderr
    for text in PRINTS[name]:
        assert text in done.stdout, done.stdout
    assert [entry.name for entry in folder.iterdir()] == ["runs"]
