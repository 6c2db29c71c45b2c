"""`lakehouse stress`: three coordinators, three contracts, 48 simulated hours."""

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
        "stress",
        examples="""
        lakehouse stress
        lakehouse stress --quick --out /tmp/stress
        lakehouse stress --corpora tickets --queries questions.csv
        """,
    )(stress)


async def stress(
    session: Session,
    corpora: reality.CorporaOption = None,
    queries: reality.QueriesOption = None,
    labels: reality.LabelsOption = None,
    judge: reality.JudgeOption = "auto",
    out: Annotated[Path, typer.Option("--out", file_okay=False, help=reality.OUT_HELP)] = Path("lakehouse-stress"),
    seed: reality.SeedOption = reality.SEED,
    quick: reality.QuickOption = False,
    port_base: reality.PortOption = None,
) -> None:
    """Plays 48 hours of three coordinators with a playbook each, and looks whether answers hold.

    Baseline, fresh résumés, a burst of messages, a surge, 200 workers swapped out, playbooks merged,
    a contract handed over (in the same and in other words), split, and everything asked again.
    Tells whether answers differ where they should and are the same where they should.

    Writes report.md, report.json, plots, and every call in calls.jsonl. Your own questions need the
    field `contract` with at least two names.
    """
    # numpy and the sample data are loaded by this command only.
    from services.labs.reality.stress import Stress
    from services.labs.reality.stress_contracts import contracts_of
    from services.labs.reality.stress_report import build, write_calls

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
            world, contracts = contracts_of(world)
            run = Stress(world, contracts, place, say)
            log = await run.run()
            await run.clean_up()
    write_calls(log, out)
    reality.finish(session.terminal, build(world, contracts, log, command=reality.again()), out, began)
