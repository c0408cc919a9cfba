"""Wrong usages: one clear line each, exit code 2, no traceback, nothing overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SENTENCES = "The bus was late again.\nTwo dogs play in the snow.\n"
PAIRS = "sentence1\tsentence2\tscore\nThe bus was late.\tThe bus came late.\t5\nA dog.\tA house.\t0\n"

# name → (files to write, arguments, what the message must say)
WRONG: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "missing input": ({}, ["run", "nothing.txt"], ["nothing.txt", "no such file"]),
    "empty input": ({"e.txt": "\n\n"}, ["run", "e.txt"], ["e.txt", "no sentence"]),
    "unknown extension": ({"e.docx": "x"}, ["run", "e.docx"], ["e.docx", ".csv"]),
    "column not there": (
        {"t.csv": "a,b\n1,2\n"},
        ["run", "t.csv", "--column", "text"],
        ["text", "'a', 'b'"],
    ),
    "column for text": ({"s.txt": SENTENCES}, ["run", "s.txt", "--column", "text"], ["column"]),
    "garbage model": (
        {"s.txt": SENTENCES, "m.gguf": "garbage"},
        ["run", "s.txt", "--llm", "m.gguf"],
        ["m.gguf", "not a GGUF file"],
    ),
    "missing model": ({"s.txt": SENTENCES}, ["run", "s.txt", "--llm", "no.gguf"], ["no.gguf", "no such model file"]),
    "no model specification": ({"s.txt": SENTENCES}, ["run", "s.txt", "--llm", "gpt"], ["gpt", "hf:"]),
    "a folder without hf:": ({"s.txt": SENTENCES}, ["run", "s.txt", "--llm", "."], ["hf:."]),
    "unknown key": (
        {"s.txt": SENTENCES, "c.yaml": "generate:\n  omga: 1\n"},
        ["run", "s.txt", "-c", "c.yaml"],
        ["generate.omga", "c.yaml", "generate.omega"],
    ),
    "broken YAML": ({"c.yaml": "generate: [\n"}, ["run", "-c", "c.yaml"], ["c.yaml", "not valid YAML"]),
    "missing configuration": ({}, ["run", "-c", "no.yaml"], ["no.yaml", "cannot read"]),
    "negative omega": ({"s.txt": SENTENCES}, ["run", "s.txt", "--omega", "-1"], ["generate.omega", "-1", "0"]),
    "omega no number": ({"s.txt": SENTENCES}, ["run", "s.txt", "--omega", "much"], ["generate.omega", "much"]),
    "unknown weights": ({"s.txt": SENTENCES}, ["run", "s.txt", "--weights", "q4"], ["llamacpp.weights", "q4", "bf16"]),
    "alpha out of range": ({"s.txt": SENTENCES}, ["run", "s.txt", "--set", "rounds=0"], ["rounds", "0"]),
    "--set without a value": ({"s.txt": SENTENCES}, ["run", "s.txt", "--set", "seed"], ["KEY=VALUE"]),
    "--set of no key": ({"s.txt": SENTENCES}, ["run", "s.txt", "--set", "omega=1"], ["omega", "generate.omega"]),
    "unknown filter": ({"s.txt": SENTENCES}, ["run", "s.txt", "--filter", "politeness"], ["politeness", "curation"]),
    "unknown filter option": (
        {"s.txt": SENTENCES},
        ["run", "s.txt", "--set", "filters.copy.overlap=1"],
        ["filters.copy.overlap", "max_overlap"],
    ),
    "unknown judge": ({"s.txt": SENTENCES}, ["run", "s.txt", "--judge", "salomon"], ["salomon", "likelihood"]),
    "missing plugin": ({"s.txt": SENTENCES}, ["run", "s.txt", "--plugin", "p.py"], ["p.py", "no such file"]),
    "broken plugin": (
        {"s.txt": SENTENCES, "p.py": "1 / 0\n"},
        ["run", "s.txt", "--plugin", "p.py"],
        ["p.py", "ZeroDivisionError"],
    ),
    "missing STS folder": ({"s.txt": SENTENCES}, ["run", "s.txt", "--sts-dir", "sts"], ["sts", "evaluate.sts_dir"]),
    "output is a file": ({"s.txt": SENTENCES, "out": ""}, ["run", "s.txt", "-o", "out"], ["out", "-o"]),
    "output is a foreign folder": (
        {"s.txt": SENTENCES, "out/thesis.txt": "all my work"},
        ["run", "s.txt", "-o", "out"],
        ["out", "not a run"],
    ),
    "stage without a run": ({}, ["filter", "nowhere"], ["nowhere", "no run"]),
    "explain without a run": ({}, ["explain", "nowhere", "1"], ["nowhere", "no run"]),
    "unknown prompt": ({}, ["prompts", "show", "limerick"], ["limerick", "entailment.v1"]),
    "init over a file": ({"multicsr.yaml": "mine"}, ["init"], ["multicsr.yaml", "there already"]),
    "bench without sentences": ({}, ["bench", "generate", "nothing.txt"], ["nothing.txt", "no such file"]),
    "bench of a missing model": ({}, ["bench", "generate", "--llm", "no.gguf"], ["no.gguf", "no such model file"]),
    "bench of nothing": ({}, ["bench", "generate", "--naive", "0"], ["--naive", "0"]),
    "bench with a wrong limit": ({}, ["bench", "score", "--limit", "0"], ["input.limit", "0"]),
    "bench score of transformers": ({}, ["bench", "score", "--llm", "hf:x"], ["hf:x", "GGUF"]),
    "bench of judges without pairs": ({}, ["bench", "judges", "--judge", "embedding"], ["--sts", "--nli"]),
    "calibrate without pairs": ({}, ["calibrate", "--judge", "embedding"], ["--pairs"]),
    "calibrate on a few pairs": ({"p.tsv": PAIRS}, ["calibrate", "--pairs", "p.tsv"], ["p.tsv", "2 pairs", "20"]),
    "calibrate over a file": (
        {"p.tsv": PAIRS, "c.json": "mine"},
        ["calibrate", "--pairs", "p.tsv", "-o", "c.json"],
        ["-o c.json", "there already"],
    ),
    "calibrate checked on nothing": (
        {"p.tsv": PAIRS},
        ["calibrate", "--pairs", "p.tsv", "--check", "no.tsv"],
        ["no.tsv", "cannot read"],
    ),
    "calibrate checked on the same pairs": (
        {"p.tsv": PAIRS},
        ["calibrate", "--pairs", "p.tsv", "--check", "p.tsv"],
        ["p.tsv", "--check"],
    ),
    "bench train of a missing file": ({}, ["bench", "train", "no.csv"], ["no.csv", "cannot read"]),
    "bench train of sentences": ({"s.txt": SENTENCES}, ["bench", "train", "s.txt"], ["s.txt", "sent0", "hard_neg"]),
    "bench train with a wrong precision": ({}, ["bench", "train", "--precision", "fp8"], ["train.precision", "fp8"]),
    "bench train of random GPT": ({}, ["bench", "train", "--encoder", "random:gpt"], ["random:gpt", "bert-base"]),
    "compare without a run": ({}, ["compare", "nowhere"], ["nowhere", "no run"]),
    "compare nothing": ({}, ["compare"], ["RUN"]),
    "evaluate without a run": ({}, ["evaluate", "nowhere", "--mteb", "STS12"], ["nowhere", "no run"]),
    "unknown MTEB task": (
        {"s.txt": SENTENCES},
        ["run", "s.txt", "--set", "evaluate.mteb_tasks=[STS120]"],
        ["evaluate.mteb_tasks", "STS120", "STS12"],
    ),
    "no name of a Hub data set": (
        {"s.txt": SENTENCES},
        ["run", "s.txt", "--set", "evaluate.hub_sets=['a b']"],
        ["evaluate.hub_sets", "a b"],
    ),
    "unknown benchmark": ({}, ["bench", "everything"], ["everything"]),
    "unknown option": ({}, ["run", "--omgea", "1"], ["--omgea"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(name: str, tmp_path: Path) -> None:
    files, arguments, wanted = WRONG[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "multicsr", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 4, said
    for text in wanted:
        assert text in said, said
    for path, text in files.items():
        assert (tmp_path / path).read_text("utf-8") == text, "nothing is overwritten"
