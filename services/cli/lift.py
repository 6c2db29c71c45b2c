"""`lakehouse lift`: is the second time better, and can it be worse unnoticed?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from services.cli import reality
from services.cli.command import Session, command


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "lift",
        examples="""
        lakehouse lift
        lakehouse lift --quick --out /tmp/lift
        lakehouse lift --corpora tickets --queries questions.csv --labels said.csv
        lakehouse lift -c tickets,mails -q questions.json --address mesh:3110 --json
        """,
    )(lift)


async def lift(
    session: Session,
    corpora: reality.CorporaOption = None,
    queries: reality.QueriesOption = None,
    labels: reality.LabelsOption = None,
    judge: reality.JudgeOption = "auto",
    k: Annotated[int, typer.Option("-k", min=2, max=100, help="How many hits of a question are judged.")] = 10,
    out: Annotated[Path, typer.Option("--out", file_okay=False, help=reality.OUT_HELP)] = Path("lakehouse-lift"),
    seed: reality.SeedOption = reality.SEED,
    quick: reality.QuickOption = False,
    keep: Annotated[
        bool, typer.Option("--keep-playbooks", help="Leave the playbooks `reality_…` that the test wrote.")
    ] = False,
    port_base: reality.PortOption = None,
) -> None:
    """Measures whether the playbook makes answers better, and whether it ever makes them worse.

    Asks every question cold, has a judge rate the hits, records the best, asks again in the same
    and in other words, and judges again. Then tries to mislead it: questions that look alike and
    ask for something else, other roles at the same place, questions that the data cannot answer.
    Compares dense, lexical and hybrid retrieval. Playbooks of yours are not touched.

    Writes report.md, report.json and plots, with 95 % bootstrap intervals.
    """
    # numpy and the sample data are loaded by this command only.
    from services.labs.reality import lift as test
    from services.labs.reality.lift_report import build

    began = time.monotonic()
    given = reality.names(corpora)
    reality.check_options(given, queries, labels, judge)
    with reality.running(session) as say:
        async with reality.client(session, own=bool(given), port_base=port_base, say=say) as (calls, place):
            world = await reality.world_of(
                calls,
                place,
                corpora=given,
                queries=queries,
                labels=labels,
                judge=judge,
                seed=seed,
                quick=quick,
                say=say,
            )
            outcome = await test.run(world, k=k, folder=place, keep_playbooks=keep, say=say)
    report = build(world, outcome, k=k, command=reality.again())
    reality.finish(session.terminal, report, out, began)
