"""Choice among drafts, where a model cannot contrast token by token: real runs on a server on loopback."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multicsr.agents.drafts import writing_mode
from multicsr.agents.generator import GeneratorAgent
from multicsr.config import GenerateConfig
from multicsr.schemas import Candidate, Capability, Failure
from multicsr.templates import PromptLibrary
from multicsr.workspace import Workspace
from tests.fakes import FakeModel
from tests.judges import judge
from tests.remoterun import go_on, open_run, save_sentences, writer
from tests.servers import Body, Server, completion, last

COUNT = 3  # sentences of a run
SCORE, PLAIN = Capability.SCORE, Capability.GENERATE

# What a sentence says is what it is worth: similarity, and contradiction where there is one.
JUDGE = """
from multicsr import Failure, Pair, Score, judge

@judge("told", version="1")
def told(pair: Pair) -> Score:
    said = [float(word) for word in pair.second.replace("/", " ").split() if word[0].isdigit()]
    if not said:
        return Failure(reason="it says nothing")
    return Score(similarity=said[0], contradiction=said[1] if len(said) > 1 else None)
"""


class Drafting:
    """Writes the drafts of a prompt one after the other, in the order in which it is asked."""

    def __init__(self, positives: tuple[str, ...], negatives: tuple[str, ...]) -> None:
        self._texts = {True: positives, False: negatives}
        self._asked: dict[tuple[str, bool], int] = defaultdict(int)
        self._lock = threading.Lock()

    def __call__(self, prompt: str, *, rewrites: bool) -> str:
        with self._lock:
            n = self._asked[prompt, rewrites]
            self._asked[prompt, rewrites] += 1
        texts = self._texts[rewrites]
        return texts[n % len(texts)]


def written(work: Workspace) -> list[tuple[str, str, str]]:
    sql = "SELECT mode, positive, negative FROM candidates ORDER BY sentence_id"
    return [tuple(row) for row in work.store.query(sql)]


def calls(work: Workspace) -> dict[str, int]:
    return {row.stage: row.requests for row in work.store.spent()}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "told.py"
    path.write_text(JUDGE)
    return path


def test_what_a_model_shows_decides_how_it_writes() -> None:
    contrast = frozenset({Capability.CONTRAST, SCORE, PLAIN})
    assert writing_mode(0, contrast) == "plain"
    assert writing_mode(0.5, contrast) == "contrast"
    assert writing_mode(0.5, frozenset({SCORE, PLAIN})) == "sequence"
    assert writing_mode(0.5, frozenset({PLAIN})) == "best-of-n"


# --- by probabilities ------------------------------------------------------------------------------------------------

# log p under the prompt that it was written from, and under the opposite one
LOGS = {
    "3 amber": (-1.0, -1.0),
    "3 blue": (-2.0, -8.0),
    "3 coral": (-6.0, -14.0),
    "1 amber": (-1.0, -1.5),
    "1 blue": (-2.5, -9.0),
    "1 coral": (-5.0, -12.0),
}
POSITIVES, NEGATIVES = tuple(LOGS)[:3], tuple(LOGS)[3:]


def vllm(drafting: Drafting) -> Callable[[Body], int | Body]:
    """A server that goes on with texts, and echoes them with the log-probabilities of LOGS."""

    def answer(body: Body) -> int | Body:
        if "messages" in body:
            return 404
        prompt = body["prompt"]
        rewrites = prompt.rstrip().rpartition("\n")[2].startswith("Rewrite:")
        if not body.get("echo"):
            text = "!" if "green" in prompt else f" {drafting(prompt, rewrites=rewrites)}"
            whole = completion(body, text)
            if body.get("logprobs"):
                told = {"tokens": [text], "text_offset": [len(prompt)], "token_logprobs": [-1.0]}
                whole["choices"][0]["logprobs"] = told | {"top_logprobs": [{text: -1.0}]}
            return whole
        text = next((text for text in LOGS if prompt.endswith(text)), "!")
        begin = len(prompt) - len(text) - (text != "!")
        mine = rewrites == (text in POSITIVES)
        log = LOGS[text][0 if mine else 1] if text in LOGS else -1.0
        # Two tokens of the text, whose log-probabilities make up its own, between the prompt and the next token.
        middle = begin + 1 if text != "!" else begin
        offsets, logs = [0, begin, middle, len(prompt)], [None, log / 4, 3 * log / 4, -1.0]
        if text == "!":
            offsets, logs = [0, begin, len(prompt)], [None, log, -1.0]
        whole = completion(body, ".")
        whole["choices"][0]["logprobs"] = {
            "tokens": ["x"] * len(logs),
            "text_offset": offsets,
            "token_logprobs": logs,
            "top_logprobs": [{}] * len(logs),
        }
        return whole

    return answer


@pytest.mark.parametrize("omega", [0.05, 0.5, 1.0])
def test_the_draft_with_the_greatest_contrast_of_its_probabilities_is_chosen(
    tmp_path: Path, plugin: Path, omega: float
) -> None:
    settings: dict[str, Any] = {"plugins": [str(plugin)], "judge__name": "told"}
    settings |= {"generate__omega": omega, "generate__drafts": 3}

    def best(texts: tuple[str, ...]) -> str:
        return max(texts, key=lambda text: LOGS[text][0] - omega * LOGS[text][1])

    expected = {0.05: "amber", 0.5: "blue", 1.0: "coral"}[omega]
    assert {best(POSITIVES), best(NEGATIVES)} == {f"3 {expected}", f"1 {expected}"}, "each ω chooses another"
    sentences = save_sentences(tmp_path / "s.txt", COUNT)
    with (
        Server(vllm(Drafting(POSITIVES, NEGATIVES))) as server,
        open_run(tmp_path / "run", sentences, server.url, **settings) as work,
    ):
        go_on(work)
        assert written(work) == COUNT * [("sequence", best(POSITIVES), best(NEGATIVES))]
        made = calls(work)
        assert made["generate"] == COUNT * 2 * 3
        assert made["generate: choice"] == COUNT * 2 * 3 * 2, "each draft under both prompts"
        assert sum(made.values()) == server.tally.requests
        (recipe,) = [work.store.recipe(work.store.get_meta("generate"))]
        assert (recipe["mode"], recipe["drafts"], recipe["options"]["omega"]) == ("sequence", 3, omega)


def test_where_the_drafts_cannot_be_scored_the_sentence_fails_and_says_why() -> None:
    texts = iter(["a", "b", "c"] * 2)
    model = FakeModel(lambda request: next(texts), lambda prompt, text: None, frozenset({SCORE, PLAIN}))
    agent = GeneratorAgent(model, PromptLibrary.load(), GenerateConfig(drafts=3), seed=0)
    assert agent.invoke("One.") == Failure(reason="positive: its drafts cannot be told apart: no probabilities")


# --- by the judge ----------------------------------------------------------------------------------------------------


def chat(drafting: Drafting) -> Callable[[Body], str | int]:
    """A server that chats, and as a judge gives what the second sentence says of itself."""

    def answer(body: Body) -> str | int:
        if "messages" not in body:
            return 404
        instruction, text = body["messages"][0]["content"], last(body)
        if instruction.startswith("Rate"):
            return text.split("\n")[1].rpartition(" ")[2]
        if instruction.startswith(("Rewrite", "Change")):
            return drafting(text, rewrites=instruction.startswith("Rewrite"))
        return writer(body)

    return answer


def test_the_judge_s_scores_choose_where_a_server_shows_nothing(tmp_path: Path) -> None:
    drafts = Drafting(("a row 2", "a boat 4", "a bus 3"), ("not 3", "never 1", "no way 2"))
    sentences = save_sentences(tmp_path / "s.txt", COUNT)
    with (
        Server(chat(drafts)) as server,
        open_run(tmp_path / "run", sentences, server.url, generate__omega=0.5, generate__drafts=3) as work,
    ):
        go_on(work)
        assert written(work) == COUNT * [("best-of-n", "a boat 4", "never 1")]
        made = calls(work)
        assert (made["generate"], made["generate: choice"]) == (COUNT * 2 * 3, COUNT * 2 * 3)
        assert made["judge"] == COUNT * 2
        assert sum(made.values()) == server.tally.requests
        recipe = work.store.recipe(work.store.get_meta("generate"))
        assert (recipe["mode"], recipe["drafts"]) == ("best-of-n", 3)
        assert recipe["judge"] == work.store.get_meta("judge")
        scores = work.store.query("SELECT a, b FROM scores")
        assert [tuple(row) for row in scores] == COUNT * [(4.0, 1.0)]


@pytest.mark.parametrize(
    ("positives", "negatives", "chosen"),
    [
        (("x 3/0.1", "y 4/0.9", "z 2/0.0"), ("x 3/0.2", "y 1/0.7", "z 0/0.4"), ("x 3/0.1", "y 1/0.7")),
        (("x 3", "y 4", "z 2"), ("x 3", "y 4", "z 0"), ("y 4", "z 0")),
        (("mute", "y 1", "mute"), ("mute", "x", "z 4"), ("y 1", "z 4")),
        (("anchor 5", "y 1", "anchor 5"), ("anchor 5", "ANCHOR 5", "z 4"), ("y 1", "z 4")),
        (("", "y 1", " "), ("", "z 4", ""), ("y 1", "z 4")),
    ],
    ids=["contradictions count", "similarity alone", "the judge may know nothing", "copies are last", "empty ones"],
)
def test_what_makes_a_draft_the_best_for_its_role(
    plugin: Path, positives: tuple[str, ...], negatives: tuple[str, ...], chosen: tuple[str, str]
) -> None:
    drafts, seen = {True: iter(positives), False: iter(negatives)}, Counter[bool]()

    def write(request: Any) -> str:
        rewrites = request.prompt.endswith("Rewrite:")
        seen[rewrites] += 1
        return next(drafts[rewrites])

    model = FakeModel(write, capabilities=frozenset({PLAIN}))
    agent = GeneratorAgent(
        model, PromptLibrary.load(), GenerateConfig(drafts=3), seed=0, judge=judge("told", file=plugin)
    )
    answer = agent.invoke("anchor 5")
    assert isinstance(answer, Candidate)
    assert seen == {True: 3, False: 3}
    assert answer.mode == "best-of-n"
    assert (answer.positive.text, answer.negative.text) == chosen


def test_where_the_judge_can_tell_none_the_sentence_fails_and_says_why(plugin: Path) -> None:
    texts = iter(["a", "b", "c"] * 2)
    model = FakeModel(lambda request: next(texts), capabilities=frozenset({PLAIN}))
    agent = GeneratorAgent(
        model, PromptLibrary.load(), GenerateConfig(drafts=3), seed=0, judge=judge("told", file=plugin)
    )
    assert agent.invoke("One.") == Failure(reason="positive: the judge can tell none of its drafts: it says nothing")
