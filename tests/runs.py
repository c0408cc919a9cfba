"""A run folder that is ready to train: what a language model and a judge would have left, without either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multicsr.configsources import load_config
from multicsr.rows import Decision
from multicsr.schemas import Candidate, Failure, Generated, Score, Sentence, Status
from multicsr.workspace import Workspace


def save_run(
    folder: Path,
    triplets: Sequence[tuple[str, str, str]],
    *,
    scores: Sequence[tuple[float, float] | None] = (),
    swapped: Sequence[int] = (),
    **settings: Any,
) -> Path:
    """A run in which every triplet was accepted.

    Args:
        folder: where.
        triplets: with different anchors.
        scores: similarities of positive and of hard negative; None where the judge failed.
        swapped: numbers of triplets whose two sentences the generator wrote the other way round.
        settings: dotted configuration key, with two underscores for the dot, and value.
    """
    flags = {key.replace("__", "."): value for key, value in settings.items()}
    with Workspace.create(folder, load_config(flags=flags, environ={})) as work:
        store = work.store
        store.replace_input([Sentence(line=n, text=anchor) for n, (anchor, _, _) in enumerate(triplets, 1)], limit=None)
        store.finish_stage("ingest", "", 0.0, {})
        for kind in ("generate", "judge"):
            store.add_recipe(kind, kind, {})
            store.set_meta(kind, kind)
        rows = []
        for (n, anchor), (_, *written) in zip(store.without_candidate("generate", 0), triplets, strict=True):
            positive, negative = written[::-1] if n - 1 in swapped else written
            texts = {"positive": _generated(positive), "negative": _generated(negative)}
            rows.append((n, anchor, Candidate(anchor=anchor, attempt=0, mode="plain", exemplars=(), **texts)))
        store.add_candidates("generate", 0, rows)
        stored = store.without_score("generate", "judge")
        store.add_scores("judge", [(c.key, *_judged(s)) for c, s in zip(stored, scores, strict=False)])
        store.replace_decisions(
            (
                Decision(
                    sentence_id=c.sentence_id,
                    candidate=c.key,
                    status=Status.ACCEPTED,
                    swapped=c.sentence_id - 1 in swapped,
                ),
                [],
            )
            for c in stored
        )
    return folder


def _generated(text: str) -> Generated:
    return Generated(text=text, tokens=len(text.split()), finish="stop")


def _judged(scores: tuple[float, float] | None) -> tuple[Score | Failure, Score | Failure]:
    if scores is None:
        return Failure(reason="silent"), Failure(reason="silent")
    return Score(similarity=scores[0]), Score(similarity=scores[1])
