"""`multicsr explain`."""

from __future__ import annotations

from pathlib import Path

import click

from multicsr.cli.options import run_argument
from multicsr.cli.saying import say, say_json


@click.command(short_help="Tells the whole story of one sentence.")
@run_argument
@click.argument("sentence_id", metavar="ID", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(folder: Path, sentence_id: int, as_json: bool) -> None:
    """Tells the whole story of one sentence.

    Every attempt, what was written from which prompts by which model, the judge's scores, what each filter said, and
    how it ended. IDs are shown in the report; they count the sentences from 1.
    """
    import json

    from multicsr.reading import reading
    from multicsr.rows import REVIEW
    from multicsr.stages.explain import story

    with reading(folder) as run:
        told = story(run.store, sentence_id)
    if as_json:
        say_json(json.dumps(told, indent=1, ensure_ascii=False))
        return
    say(f"{told['id']}: {told['text']}  (line {told['line']})")
    for attempt in told["attempts"]:
        say(f"\nround {attempt['attempt'] + 1}, {attempt['mode'] or 'not written'}, {attempt['model']}")
        for name in ("prompts", "positive", "negative", "failure"):
            if attempt[name]:
                say(f"  {name:<9} {attempt[name]!s}")
        for score in attempt["scores"]:
            found = score["failure"] or f"a = {score['a']:.2f}, b = {score['b']:.2f}"
            say(f"  judge     {score['judge']} (version {score['version']}): {found}")
        for verdict in (one for one in attempt["verdicts"] if one["filter"] != REVIEW):
            why = ": ".join(text for text in (verdict["reason"], verdict["detail"]) if text)
            by = f"{verdict['filter']} (version {verdict['version']})"
            say(f"  filter    {by}: {verdict['verdict']}{f' – {why}' if why else ''}")
        for review in attempt["reviews"]:
            say(f"  person    {review['verdict']} by {review['reviewer']}, {review['at']}")
            for name in ("positive", "negative"):
                if review[name] not in ("", attempt["positive"], attempt["negative"]):
                    say(f"    {name}, edited  {review[name]}")
    say(f"\nended: {told['status']}" + (f" by {told['layer']}: {told['reason']}" if told["layer"] else ""))
