"""A weaker language model swapped in, and compared by how much of what each writes is good enough.

    python examples/compare_llms.py                             # against a copy with its upper layers cut off
    python examples/compare_llms.py hf:google/flan-t5-small     # against any other: a GGUF file, hf:NAME, …

Both write pairs for the same sentences; the same judge, an encoder's similarity, rates them. So the difference is the
writers' alone. The cut copy needs multicsr[gguf].
"""

import sys
from pathlib import Path

import multicsr

SENTENCES = Path(__file__).with_name("sentences.txt")
LAYERS = 20  # of 30
JUDGE = {"name": "embedding"}


def main() -> None:
    weaker = sys.argv[1] if len(sys.argv) > 1 else f"hf:{cut_copy(Path('runs/weaker-llm'))}"
    runs = []
    for name, llm in (("bundled-llm", "bundled"), ("other-llm", weaker)):
        run = multicsr.Run.create(SENTENCES, f"runs/{name}", generate={"llm": llm}, judge=JUDGE)
        runs.append(run.write_pairs())

    print(f"\n{'':<14}{'accepted':>9}{'yield':>8}   the reasons against the others")
    for run in runs:
        counts = run.counts
        reasons = ", ".join(f"{end.sentences} {end.reason}" for end in counts.reasons[:3])
        print(f"{run.folder.name:<14}{counts.accepted:>9}{run.accepted_share:>8.0%}   {reasons}")
    written = [{row.anchor: row for row in run.rows(everything=True)} for run in runs]
    print()
    for anchor in list(written[0])[:2]:
        print(f"{anchor}\n  bundled:  {written[0][anchor].positive}\n  other:    {written[1][anchor].positive}")


def cut_copy(folder: Path) -> Path:
    """The bundled model without its upper layers, which writes worse: a stand-in for a weaker model, made offline."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from multicsr.backends.llamacpp.gguf import bundled_gguf

    if not folder.is_dir():
        source = bundled_gguf()
        where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
        whole = AutoModelForCausalLM.from_pretrained(**where)
        config = whole.config
        config.num_hidden_layers = LAYERS
        del config.quantization_config
        cut = AutoModelForCausalLM.from_config(config)
        cut.load_state_dict(whole.state_dict(), strict=False)  # what is of the upper layers finds no place
        cut.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
