"""`multicsr explain`."""

from __future__ import annotations

from pathlib import Path

import click

from multicsr.cli.options import run_argument


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

    from multicsr.stages.explain import story
    from multicsr.store import Store
    from multicsr.text import visible
    from multicsr.workspace import DATABASE, stored_config

    stored_config(folder)
    store = Store.open(folder / DATABASE)
    try:
        told = story(store, sentence_id)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    click.echo(f"{told['id']}: {visible(told['text'])}  (line {told['line']})")
    for attempt in told["attempts"]:
        click.echo(f"\nround {attempt['attempt'] + 1}, {attempt['mode'] or 'not written'}, {attempt['model']}")
        for name in ("prompts", "positive", "negative", "failure"):
            if attempt[name]:
                click.echo(f"  {name:<9} {visible(str(attempt[name]))}")
        for score in attempt["scores"]:
            found = score["failure"] or f"a = {score['a']:.2f}, b = {score['b']:.2f}"
            click.echo(f"  judge     {score['judge']} (version {score['version']}): {visible(found)}")
        for verdict in attempt["verdicts"]:
            why = ": ".join(text for text in (verdict["reason"], verdict["detail"]) if text)
            by = f"{verdict['filter']} (version {verdict['version']})"
            click.echo(f"  filter    {by}: {verdict['verdict']}{f' – {visible(why)}' if why else ''}")
    click.echo(f"\nended: {told['status']}" + (f" by {told['layer']}: {told['reason']}" if told["layer"] else ""))
