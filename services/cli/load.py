"""`lakehouse load`: how much the mesh can take, and how long callers wait."""

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
        "load",
        examples="""
        lakehouse load
        lakehouse load --concurrency 50 --duration 300 --scenario multitier
        lakehouse load --corpora tickets --queries questions.csv --address mesh:3110
        """,
    )(load)


async def load(
    session: Session,
    corpora: reality.CorporaOption = None,
    queries: reality.QueriesOption = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=1000, help="How many callers, each asking again when answered.")
    ] = 10,
    duration: Annotated[float, typer.Option("--duration", min=0.1, metavar="SECONDS", help="For how long.")] = 10.0,
    scenario: Annotated[
        str,
        typer.Option(
            "--scenario",
            metavar="search|multitier",
            help="search: one question after the other. multitier: searches, fills with recording, swaps, repeats and "
            "recorded answers asked for again, weighted 35, 15, 15, 15, 10. It writes a playbook `reality_load` and "
            "removes it.",
        ),
    ] = "search",
    out: Annotated[Path, typer.Option("--out", file_okay=False, help=reality.OUT_HELP)] = Path("lakehouse-load"),
    seed: reality.SeedOption = reality.SEED,
    quick: reality.QuickOption = False,
    port_base: reality.PortOption = None,
) -> None:
    """Loads the mesh with searches through its gateway, and tells pace, waiting times and failures.

    A closed loop: each caller asks again as soon as it is answered, so the pace is what the mesh
    gives. Anything but a 2xx answer is a failure. The caller costs the machine it runs on, too.

    Writes report.md, report.json and plots.
    """
    # numpy and the sample data are loaded by this command only.
    from services.labs.reality import load as test
    from services.labs.reality.load_report import build

    began = time.monotonic()
    given = reality.names(corpora)
    if scenario not in ("search", "multitier"):
        raise typer.BadParameter(f"{scenario!r} is not one of search, multitier", param_hint="--scenario")
    reality.check_options(given, queries, None, "auto")
    scenarios = test.MULTITIER if scenario == "multitier" else test.SEARCHES
    with reality.running(session) as say:
        async with reality.client(session, own=bool(given), port_base=port_base, say=say) as (calls, place):
            world = await reality.world_of(
                calls,
                place,
                corpora=given,
                queries=queries,
                labels=None,
                judge="none",
                exact=False,
                seed=seed,
                quick=quick,
                say=say,
            )
            measured = await test.run(
                calls.base_url,
                session.token(),
                world.corpora,
                world.queries,
                scenarios,
                callers=concurrency,
                seconds=duration,
                seed=seed,
                told=lambda done: say(f"{done:,} done at {concurrency} at a time"),
            )
            await calls.drop_index(test.PLAYBOOK)
    report = build(world, measured, scenarios, callers=concurrency, seconds=duration, command=reality.again())
    reality.finish(session.terminal, report, out, began)
