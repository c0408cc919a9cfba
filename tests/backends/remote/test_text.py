"""Texts and log-probabilities from OpenAI-compatible servers: one that answers as vLLM does, and llama.cpp's own."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from multicsr.backends.remote.model import RemoteModel
from multicsr.config import RemoteConfig
from multicsr.schemas import (
    Capability,
    Completion,
    GenerateRequest,
    Message,
    RequestFailure,
    Sampling,
    ScoreRequest,
    TokenLogProbs,
)
from tests.remoterun import QUICK
from tests.servers import Body, Server, completion, number


def log_prob(before: str, token: str) -> float:
    """A made-up model's: tokens are characters."""
    return -1 - number(before, token) % 100 / 50


def vllm(shift: int = 0, turns: bool = True) -> Any:
    """Answers as vLLM does; with a shift it tells each token the log-probability of the one so far behind it."""

    def answer(body: Body) -> int | Body:
        if "messages" in body:
            whole = completion(body, "3")
            if "prompt_logprobs" in body and turns:
                said = "".join(f"<{m['role'][0]}>{m['content']}" for m in body["messages"])
                said += "<a>" if body["add_generation_prompt"] else ""
                told = [{str(n): {"logprob": log_prob(said[:n], char)}} for n, char in enumerate(said)]
                whole["prompt_logprobs"] = [None, *told[1:]]
            return whole
        prompt, next_token = body["prompt"], "!"
        whole = completion(body, next_token)
        if body.get("logprobs"):
            text = (prompt if body.get("echo") else "") + next_token
            begin = 0 if body.get("echo") else len(prompt)
            whole_text = prompt + next_token
            logs = [log_prob(whole_text[: begin + n], char) for n, char in enumerate(text)]
            logs = logs[shift:] + logs[:shift] if body.get("echo") else logs
            whole["choices"][0]["logprobs"] = {
                "tokens": list(text),
                "text_offset": [begin + n for n in range(len(text))],
                "token_logprobs": [None, *logs[1:]] if body.get("echo") else logs,
                "top_logprobs": [{char: log} for char, log in zip(text, logs, strict=True)],
            }
        return whole

    return answer


@contextmanager
def opened(answer: Any) -> Iterator[RemoteModel]:
    with Server(answer) as server:
        config = RemoteConfig.model_validate(QUICK)
        with closing(RemoteModel.open(f"openai:tiny@{server.url}", config)) as model:
            yield model


def expected(prompt: str, continuation: str) -> tuple[float, ...]:
    return tuple(log_prob(prompt + continuation[:n], char) for n, char in enumerate(continuation))


def test_texts_are_scored_by_their_echo() -> None:
    with opened(vllm()) as model:
        assert Capability.SCORE in model.info.capabilities
        assert model.info.prompts == "completion"
        requests = [ScoreRequest(prompt=f"p{n}", continuations=(" ä b", " c")) for n in range(20)]
        answers = sorted(model.score(requests), key=lambda answer: answer.index)
        for n, answer in enumerate(answers):
            assert isinstance(answer, TokenLogProbs)
            assert answer.log_probs == (expected(f"p{n}", " ä b"), expected(f"p{n}", " c"))


def test_conversations_are_scored_by_vllm_s_prompt_logprobs() -> None:
    talk = (Message(role="user", content="hi"),)
    with opened(vllm()) as model:
        (answer,) = model.score([ScoreRequest(prompt=talk, continuations=("yes", "no"))])
        assert isinstance(answer, TokenLogProbs)
        assert answer.log_probs == (expected("<u>hi<a>", "yes"), expected("<u>hi<a>", "no"))
    with opened(vllm(turns=False)) as model:
        (failure,) = model.score([ScoreRequest(prompt=talk, continuations=("yes",))])
        assert isinstance(failure, RequestFailure)
        assert "no log-probabilities of conversations; use completion prompts" in failure.reason


def test_an_echo_that_tells_a_neighbour_s_probability_is_found_out() -> None:
    with opened(vllm(shift=1)) as model:
        assert Capability.SCORE not in model.info.capabilities


def test_a_text_is_gone_on_with_where_the_server_can() -> None:
    with opened(vllm()) as model:
        (answer,) = model.generate([GenerateRequest(prompt="and so")])
        assert answer == Completion(index=0, text="!", tokens=1, finish="stop")


# --- llama-cpp-python's server ---------------------------------------------------------------------------------------


@contextmanager
def llamacpp_server(gguf: Path, log: Path) -> Iterator[str]:
    """The server that comes with llama-cpp-python, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--n_ctx", "1024", "--logits_all", "true", "--n_threads", "2"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        url = f"http://127.0.0.1:{port}/v1"
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/models", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        assert process.poll() is None, log.read_text("utf-8", "replace")
        yield url
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.bundled
def test_llama_cpp_s_server_with_the_bundled_model(tmp_path: Path) -> None:
    from multicsr.backends.llamacpp.gguf import bundled_gguf

    with llamacpp_server(bundled_gguf(), tmp_path / "log") as url:
        config = RemoteConfig.model_validate(QUICK | {"concurrency": 2, "timeout_s": 120})
        with closing(RemoteModel.open(f"openai:smollm@{url}", config)) as model:
            assert Capability.SCORE not in model.info.capabilities, "its texts begin with no token of their own"
            assert Capability.FIRST_TOKENS in model.info.capabilities
            talk = (Message(role="user", content="Tell a long story about a dog."),)
            requests = [
                GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=6)) for prompt in (talk, "One, two,")
            ]
            answers = sorted(model.generate(requests), key=lambda answer: answer.index)
            assert all(isinstance(answer, Completion) and answer.text and answer.tokens <= 6 for answer in answers)
            assert isinstance(answers[1], Completion)
            assert "three" in answers[1].text
