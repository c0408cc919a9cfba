"""A judge of one's own, here one that counts shared words, and beside it the one that comes with multicsr.

    python examples/custom_judge.py

A judge gives a pair of sentences a similarity from 0 to 5. Pairs are written once; the second run is a fork of the
first, and takes over what was written.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import multicsr
from multicsr import Pair, Score, judge

SENTENCES = Path(__file__).with_name("sentences.txt")


@judge("shared-words", version="1")
def shared_words(pairs: Sequence[Pair], *, ignore: tuple[str, ...] = ("a", "an", "the", "is", "are")) -> list[Score]:
    """Five times the share of words that both sentences have, of all that either has."""
    scores = []
    for pair in pairs:
        first, second = (set(re.findall(r"\w+", text.lower())) - set(ignore) for text in (pair.first, pair.second))
        scores.append(Score(similarity=5 * len(first & second) / max(len(first | second), 1)))
    return scores


def main() -> None:
    loose = {"curation": {"alpha": 1.0, "beta": 5.0, "gamma": 0.0}}
    usual = multicsr.Run.create(SENTENCES, "runs/usual-judge", filters=loose, rounds=1).write_pairs()
    mine = multicsr.Run.create(
        SENTENCES,
        "runs/custom-judge",
        fork_of=usual.folder,
        plugins=[shared_words],
        judge={"name": "shared-words", "options": {"ignore": ["a", "the"]}},
        filters=loose,
        rounds=1,
    ).write_pairs()

    print(f"\n{'a of the paraphrase':>22} {'likelihood':>11} {'shared-words':>13}")
    scored = {row.anchor: row for row in mine.rows(everything=True)}
    for row in usual.rows(everything=True):
        other = scored[row.anchor]
        if row.similarity_positive is not None and other.similarity_positive is not None:
            print(f"{row.anchor[:22]:>22} {row.similarity_positive:>11.1f} {other.similarity_positive:>13.1f}")
    for name, run in (("likelihood", usual), ("shared-words", mine)):
        print(f"{name}: {run.counts.accepted} of {run.counts.sentences} accepted")


if __name__ == "__main__":
    main()
