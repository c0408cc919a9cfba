"""Wrong usages: one clear line each, exit code 2, no traceback, nothing overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multicsr.cli import main

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
    "unknown option": ({}, ["run", "--omgea", "1"], ["--omgea", "--omega"]),
    "unknown command": ({}, ["trian"], ["trian", "did you mean `train`"]),
    "no such shell": ({}, ["completion", "tcsh"], ["tcsh", "'bash', 'zsh', 'fish'"]),
    "configuration of no run": ({}, ["config", "show", "nowhere"], ["nowhere", "no run", "multicsr run -o"]),
    "configuration with a wrong value": ({}, ["config", "show", "--phi", "2"], ["train.phi = 2", "command line", "1"]),
    "configuration with two wrong keys": (
        {"c.yaml": "rouns: 3\ntrain: {phi: x}\n"},
        ["config", "show", "-c", "c.yaml"],
        ["rouns", "`rounds`", "train.phi = 'x' (c.yaml)"],
    ),
    "a section that is no mapping": (
        {"c.yaml": "generate: fast\n"},
        ["config", "show", "-c", "c.yaml"],
        ["generate = 'fast' (c.yaml)", "must be a mapping", "multicsr init"],
    ),
    "the same key twice": ({"c.yaml": "seed: 1\nseed: 2\n"}, ["config", "show", "-c", "c.yaml"], ["c.yaml:2", "seed"]),
    "the same seed twice": ({}, ["config", "show", "--set", "train.seeds=[1, 1]"], ["train.seeds", "different seeds"]),
    "a filter switched off that is none": (
        {},
        ["config", "show", "--set", "filters.copi=null"],
        ["filters.copi", "length, copy"],
    ),
    "doctor of no run": ({}, ["doctor", "nowhere"], ["nowhere", "no run"]),
    "explain without a number": ({}, ["explain", "nowhere", "first"], ["first", "integer"]),
    "plugin without a name": ({}, ["plugins", "new", "Bad Name"], ["Bad Name", "small letters"]),
    "check of no plugin": ({}, ["plugins", "check", "politeness"], ["politeness", "multicsr plugins list"]),
    "init into no folder": ({}, ["init", "no/c.yaml"], ["no/c.yaml", "cannot be written"]),
    "limit no number": ({}, ["run", "--limit", "many"], ["--limit", "many"]),
    "fork of nothing": ({}, ["run", "--fork", "new"], ["--fork new", "-o RUN"]),
}


def test_there_are_fifty_and_each_message_is_looked_at() -> None:
    assert len(WRONG) >= 50
    assert all(wanted for _, _, wanted in WRONG.values())


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    files, arguments, wanted = WRONG[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["multicsr", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr().err
    assert ended.value.code == 2, said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 4, said
    for text in wanted:
        assert text in said, said
    for path, text in files.items():
        assert (tmp_path / path).read_text("utf-8") == text, "nothing is overwritten"


def test_a_process_ends_the_same_way(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "multicsr", "run", "nothing.txt", "--omega", "-1", "--set", "rouns=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: rouns: no such configuration key; did you mean `rounds`?")
    assert second.startswith("error: generate.omega = -1 (command line): ")
