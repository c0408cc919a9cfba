"""Whether the llama.cpp and the transformers engine write the same text from the same float weights.

    python -m benchmarks.agreement [SENTENCES.txt] [--limit 64]

Both decode greedily with contrast from the float32 copy of the bundled model; a sentence agrees if both its paraphrase
and its contradiction are the same, byte for byte.
"""

from __future__ import annotations

import itertools
import time

import click

from multicsr.agents.generator import GeneratorAgent
from multicsr.backends.base import LanguageModel
from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.backends.opening import open_model
from multicsr.config import GenerateConfig, LlamaCppConfig
from multicsr.ingest import read_sentences
from multicsr.schemas import Anchor, Candidate, Sentence
from multicsr.templates import PromptLibrary
from multicsr.threads import share_cores


@click.command()
@click.argument("source", default="bundled")
@click.option("--limit", default=64)
@click.option("--omega", default=0.5)
def main(source: str, limit: int, omega: float) -> None:
    """Prints the share of sentences on which the two engines agree, and their speeds."""
    share_cores()
    items = (item.text for item in read_sentences(source) if isinstance(item, Sentence))
    anchors = [Anchor(text=text) for text in itertools.islice(dict.fromkeys(items), limit)]
    float32 = LlamaCppConfig(weights="f32")
    model = LlamaCppModel.open(bundled_gguf(), spec="bundled", options=float32, on_note=click.echo)
    copy = model.decoded
    first = _write(model, anchors, omega)
    second = _write(open_model(f"hf:{copy}"), anchors, omega)
    same = sum(_texts(a) == _texts(b) for a, b in zip(first, second, strict=True))
    for a, b in zip(first, second, strict=True):
        if _texts(a) != _texts(b):
            click.echo(f"differs: {_texts(a)}\n         {_texts(b)}")
    click.echo(f"the same text for {same} of {len(anchors)} sentences ({same / len(anchors):.1%}), ω = {omega:g}")


def _write(model: LanguageModel, anchors: list[Anchor], omega: float) -> list[object]:
    try:
        agent = GeneratorAgent(model, PromptLibrary.load(), GenerateConfig(omega=omega), seed=0)
        begun = time.perf_counter()
        answers = agent.batch(anchors)
        seconds = time.perf_counter() - begun
        tokens = sum(a.positive.tokens + a.negative.tokens for a in answers if isinstance(a, Candidate))
        click.echo(f"{model.info.backend:>12}: {tokens / seconds:.1f} useful tokens/s")
    finally:
        model.close()
    return list(answers)


def _texts(answer: object) -> tuple[str, str] | None:
    return (answer.positive.text, answer.negative.text) if isinstance(answer, Candidate) else None


if __name__ == "__main__":
    main()
