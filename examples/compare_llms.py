"""A weaker language model swapped in, and compared by how much of what each writes is good enough.

    python examples/compare_llms.py                             # against a copy with its upper layers cut off
    python examples/compare_llms.py hf:google/flan-t5-small     # against any other: a GGUF file, hf:NAME, …

Both write pairs for the same sentences; the same judge, an encoder's similarity, rates them. So the difference is the
writers' alone. The cut copy needs multicsr[gguf].
"""

import re
import sys
from pathlib import Path

import multicsr

SENTENCES = Path(__file__).with_name("sentences.txt")
LAYERS = 28  # of 30
JUDGE = {"name": "embedding"}


def main() -> None:
    weaker = sys.argv[1] if len(sys.argv) > 1 else str(cut_copy(Path("runs/weaker.gguf")))
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


def cut_copy(path: Path) -> Path:
    """The bundled model without its upper layers, which writes worse: a stand-in for a weaker model, made offline."""
    from gguf import GGUFReader, GGUFWriter

    from multicsr.backends.llamacpp.gguf import bundled_gguf

    if path.is_file():
        return path
    whole = GGUFReader(bundled_gguf())
    architecture = whole.fields["general.architecture"].contents()
    copy = GGUFWriter(path, architecture)
    for name, field in whole.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":  # which the writer puts there itself
            value = LAYERS if name == f"{architecture}.block_count" else field.contents()
            copy.add_key_value(name, value, field.types[0], sub_type=field.types[-1] if len(field.types) > 1 else None)
    for tensor in whole.tensors:
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        if layer is None or int(layer[1]) < LAYERS:
            copy.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    path.parent.mkdir(parents=True, exist_ok=True)
    copy.write_header_to_file()
    copy.write_kv_data_to_file()
    copy.write_tensors_to_file()
    copy.close()
    return path


if __name__ == "__main__":
    main()
