"""A filter of one's own: contradictions must not simply put a “not” into the sentence.

    python examples/custom_filter.py

A filter is a function of a triplet. It stands in this file, the run loads it from here, and its name, version and
options are part of every verdict. A rejected sentence gets another attempt, since the verdict says `retry`.
"""

import re
from pathlib import Path

import multicsr
from multicsr import Triplet, Verdict, filter


@filter("bare-negation", version="1")
def bare_negation(triplet: Triplet, *, words: tuple[str, ...] = ("not", "no", "never")) -> Verdict:
    """Rejects a contradiction that is its sentence with one of these words, and nothing else, put in."""
    anchor, negative = (re.findall(r"\w+", text.lower()) for text in (triplet.anchor, triplet.negative))
    if negative != anchor and [word for word in negative if word not in words] == anchor:
        return Verdict.reject("bare-negation", f"“{triplet.negative}”", retry=True)
    return Verdict.accept()


def main() -> None:
    triplet = Triplet(anchor="I like tea.", positive="I enjoy tea.", negative="I not like tea.")
    print("called directly:", bare_negation(triplet))

    # This file is loaded by the run as well: what runs stands below `if __name__ == "__main__"`.
    run = multicsr.Run.create(
        Path(__file__).with_name("sentences.txt"),
        "runs/custom-filter",
        plugins=[bare_negation],
        filters={"bare-negation": {"words": ["not", "no", "never", "nobody"]}},
    ).write_pairs()
    print(run)
    for row in run.rows(everything=True):
        for verdict in row.filters:
            if verdict.filter == "bare-negation" and verdict.verdict == "rejected":
                print(f"  {row.anchor}\n    {verdict.detail}: rejected after {row.round} attempt(s)")
    asked = sum(any(verdict.filter == "bare-negation" for verdict in row.filters) for row in run.rows(everything=True))
    print(f"the filter looked at {asked} of {run.counts.sentences} sentences")


if __name__ == "__main__":
    main()
