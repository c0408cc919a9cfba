"""A remote model writes the pairs, a local one judges them; what was accepted, and what was asked for it.

    python examples/remote_generator.py NAME --base-url http://127.0.0.1:8000/v1    # vLLM, llama.cpp, Ollama, …
    OPENAI_API_KEY=… python examples/remote_generator.py NAME                       # OpenAI's own

Needs multicsr[openai]. The run stops at 100,000 tokens; the same command goes on where it stopped, and asks for nothing
again that was answered.
"""

import argparse
from pathlib import Path

import multicsr

SENTENCES = Path(__file__).with_name("sentences.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description="A remote generator with a local judge.")
    parser.add_argument("name", help="of the model, as its server has it")
    parser.add_argument("--base-url", help="its server; by default OpenAI's")
    arguments = parser.parse_args()

    # A chat model shows no probabilities to contrast with, so it writes each sentence once (omega 0). The judge is the
    # bundled model: its calls cost nothing, and no pair is sent anywhere to be judged.
    run = multicsr.Run.create(
        SENTENCES,
        "runs/remote-generator",
        generate={"llm": f"openai:{arguments.name}", "omega": 0},
        remote={"base_url": arguments.base_url},
        judge={"name": "likelihood", "llm": "bundled"},
        budget={"tokens": 100_000},
    ).write_pairs()

    print(run)
    for row in run.rows(everything=True):
        print(f"\n  sentence     {row.anchor}   ({row.status}{f': {row.reason}' if row.reason else ''})")
        if row.similarity_positive is not None and row.similarity_negative is not None:
            print(f"  paraphrase   {row.positive}   (a = {row.similarity_positive:.1f})")
            print(f"  contradicts  {row.negative}   (b = {row.similarity_negative:.1f})")
    print(f"\nwritten by {run.config.generate.llm}, judged by {run.config.judge.llm}")
    print(f"report: {run.write_report()}   (calls and tokens, by stage and model)")


if __name__ == "__main__":
    main()
