"""How often a language model copies the sentence instead of writing its contradiction or paraphrase, by ω.

    python -m benchmarks.copies [SENTENCES.txt] [--llm MODEL] [--omega 0 --omega 0.5] [--limit N]

A copy is what the `copy` filter calls one. One line per ω: share of copies, tokens a second.
"""

from __future__ import annotations

import time

import click

from multicsr.agents.generator import GeneratorAgent
from multicsr.backends.opening import open_model
from multicsr.config import GenerateConfig
from multicsr.ingest import read_sentences
from multicsr.registry import Registry
from multicsr.schemas import Anchor, Candidate, Sentence, Triplet
from multicsr.templates import PromptLibrary


@click.command()
@click.argument("source", default="bundled")
@click.option("--llm", default="bundled")
@click.option("--omega", "omegas", type=float, multiple=True, default=(0.0, 0.5))
@click.option("--plausibility", default=0.1)
@click.option("--limit", type=int)
@click.option("--seed", default=0)
def main(source: str, llm: str, omegas: tuple[float, ...], plausibility: float, limit: int | None, seed: int) -> None:
    """Prints the share of copies for each ω."""
    sentences = [item.text for item in read_sentences(source) if isinstance(item, Sentence)]
    sentences = list(dict.fromkeys(sentences))[:limit]
    copies = Registry.load().get("filter", "copy", "filters").target
    prompts = PromptLibrary.load()
    model = open_model(llm, on_note=click.echo)
    click.echo(f"{len(sentences)} sentences of {source}, {model.info.spec}, α_p = {plausibility:g}, greedy")
    click.echo(f"{'ω':>5} {'contradiction copies':>21} {'paraphrase copies':>18} {'tokens/s':>9}")
    try:
        for omega in omegas:
            config = GenerateConfig(llm=llm, omega=omega, plausibility=plausibility)
            agent = GeneratorAgent(model, prompts, config, seed=seed)
            begun = time.perf_counter()
            written = agent.batch([Anchor(text=text) for text in sentences])
            answers = [answer for answer in written if isinstance(answer, Candidate)]
            seconds = time.perf_counter() - begun
            negative = sum(_is_copy(copies, answer.anchor, answer.negative.text) for answer in answers)
            positive = sum(_is_copy(copies, answer.anchor, answer.positive.text) for answer in answers)
            tokens = sum(answer.positive.tokens + answer.negative.tokens for answer in answers)
            shares = f"{negative / len(answers):>21.1%} {positive / len(answers):>18.1%}"
            click.echo(f"{omega:>5g} {shares} {tokens / seconds:>9.1f}")
    finally:
        model.close()


def _is_copy(copies, anchor: str, written: str) -> bool:  # type: ignore[no-untyped-def]
    # The other sentence of the triplet is a dummy that copies neither.
    return not copies(Triplet(anchor=anchor, positive=written, negative="")).accepted


if __name__ == "__main__":
    main()
