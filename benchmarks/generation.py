"""Contrastive generation: the engine against what one would write with llama-cpp-python's high-level API.

    python -m benchmarks.generation [SENTENCES.txt] [--limit N] [--naive N]

The alternative makes one call per prompt, with a second model instance for the opposite stream and a logits
processor. Both run on the same weights, in turn, and the ratio of their useful tokens a second is printed.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import click
import numpy as np

from multicsr.agents.generator import GeneratorAgent
from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.opening import open_model
from multicsr.config import GenerateConfig
from multicsr.ingest import read_sentences
from multicsr.schemas import Anchor, Candidate, Sentence
from multicsr.templates import PromptLibrary
from multicsr.threads import share_cores


@click.command()
@click.argument("source", default="bundled")
@click.option("--limit", default=128, help="Sentences for the engine.")
@click.option("--naive", default=6, help="Sentences for the alternative.")
def main(source: str, limit: int, naive: int) -> None:
    """Prints useful tokens a second of both, and their ratio."""
    share_cores()
    items = (item.text for item in read_sentences(source) if isinstance(item, Sentence))
    sentences = list(itertools.islice(items, limit))
    config = GenerateConfig()
    model = open_model("bundled", on_note=click.echo)
    try:
        agent = GeneratorAgent(model, PromptLibrary.load(), config, seed=0)
        begun = time.perf_counter()
        answers = [
            answer
            for at in range(0, len(sentences), config.chunk)
            for answer in agent.batch([Anchor(text=text) for text in sentences[at : at + config.chunk]])
        ]
        engine = _tokens(answers) / (time.perf_counter() - begun)
        anchors = [Anchor(text=text) for text in sentences[:naive]]
        requests = [request for anchor in anchors for request in agent.requests(anchor, *agent.draw(0))]
    finally:
        model.close()
    alternative = _naive(requests)
    click.echo(f"engine       {engine:8.1f} useful tokens/s ({len(sentences)} sentences)")
    click.echo(f"alternative  {alternative:8.1f} useful tokens/s ({naive} sentences)")
    click.echo(f"ratio        {engine / alternative:8.1f}")


def _tokens(answers: list[Any]) -> int:
    return sum(a.positive.tokens + a.negative.tokens for a in answers if isinstance(a, Candidate))


def _naive(requests: list[Any]) -> float:
    from llama_cpp import Llama, LogitsProcessorList

    path = str(bundled_gguf())
    main_model, other = (Llama(path, n_ctx=1024, verbose=False) for _ in range(2))
    tokens, begun = 0, time.perf_counter()
    for request in requests:
        prompt = main_model.tokenize(request.prompt.encode())
        other.reset()
        other.eval(other.tokenize(request.opposite.encode()))
        fed = 0

        def contrast(ids: Any, scores: Any, prompt: Any = prompt, request: Any = request) -> Any:
            nonlocal fed
            new = list(ids[len(prompt) :])
            if len(new) > fed:
                other.eval(new[fed:])
                fed = len(new)
            opposite = np.array(other._ctx.get_logits_ith(-1)[: other.n_vocab()])
            plausible = scores >= scores.max() + np.log(request.plausibility)
            return np.where(plausible, scores - request.omega * opposite, -1e30).astype(np.float32)

        sampling = request.sampling
        answer = main_model(
            request.prompt,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            temperature=0.0,
            logits_processor=LogitsProcessorList([contrast]),
        )
        tokens += answer["usage"]["completion_tokens"]
    return tokens / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
