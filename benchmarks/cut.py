"""A GGUF without some layers of another: a weaker language model, or a smaller encoder, made offline.

    python -m benchmarks.cut OUT.gguf --layers 4 [--last 0] [--source FILE]

Without --source it is the bundled model, of 30 layers. An encoder does with the first layers alone; a language model
that shall still write needs its last ones too. The other weights, the tokenizer and the template stay as they are.
Needs multicsr[gguf].
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from benchmarks.study import errors_told
from multicsr.errors import UsageError


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--layers", type=click.IntRange(min=1), required=True, help="How many layers stay.")
@click.option("--last", type=click.IntRange(min=0), default=0, help="How many of these are the last ones.")
@click.option("--source", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="By default the bundled.")
def main(out: Path, layers: int, last: int, source: Path | None) -> None:
    """Writes OUT.gguf."""
    with errors_told():
        click.echo(cut(out, layers, last=last, source=source))


def cut(out: Path, layers: int, *, last: int = 0, source: Path | None = None) -> Path:
    """Writes the file, if it is not there.

    Args:
        out: the new file.
        layers: how many stay: the first ones, and as many of the last as are asked for.
        last: how many of these are the last ones.
        source: the GGUF to cut; None is the bundled one.

    Raises:
        UsageError: it has no more layers than are to stay, or more last ones are to stay than layers.
    """
    from gguf import GGUFReader, GGUFWriter

    from multicsr.backends.llamacpp.gguf import bundled_gguf

    if out.is_file():
        return out
    whole = GGUFReader(source or bundled_gguf())
    architecture = whole.fields["general.architecture"].contents()
    count = whole.fields[f"{architecture}.block_count"].contents()
    if layers >= count:
        raise UsageError(f"--layers {layers}: the model has {count}; nothing would be cut")
    if last > layers:
        raise UsageError(f"--last {last}: only {layers} layers are to stay")
    kept = [*range(layers - last), *range(count - last, count)]
    places = {layer: place for place, layer in enumerate(kept)}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    copy = GGUFWriter(partial, architecture)
    for name, field in whole.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":  # which the writer puts there itself
            value = layers if name == f"{architecture}.block_count" else field.contents()
            copy.add_key_value(name, value, field.types[0], sub_type=field.types[-1] if len(field.types) > 1 else None)
    for tensor in whole.tensors:
        layer = re.match(r"blk\.(\d+)\.(.*)", tensor.name)
        if layer is None or int(layer[1]) in places:
            name = f"blk.{places[int(layer[1])]}.{layer[2]}" if layer else tensor.name
            copy.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    copy.write_header_to_file()
    copy.write_kv_data_to_file()
    copy.write_tensors_to_file()
    copy.close()
    partial.replace(out)
    return out


if __name__ == "__main__":
    main()
