"""What `lift`, `stress` and `load` have in common: their options, the mesh they run on, and how they end."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TextColumn, TimeElapsedColumn

from services.cli.command import Session
from services.cli.failure import CommandError
from services.cli.terminal import Terminal, plain, table
from services.labs.plan import UnfitData

if TYPE_CHECKING:
    # The labs load numpy and the sample data, which no other command needs: imported where they are used.
    from services.labs.matrix import MatrixClient
    from services.labs.reality.report import Report
    from services.labs.world import Say, World

SEED = 7
_FIELDS = "docs/learning.md lists the fields of a file of questions"
_HINTS = {
    "WRONG_SHAPE": _FIELDS,
    "NO_CONTRACTS": _FIELDS,
    "NO_JUDGE": _FIELDS,
    "CORPUS_NOT_FOUND": "`lakehouse corpus build` makes a corpus from a dataset",
    "SANITY": "do not believe anything else before this is mended: `lakehouse doctor`, `lakehouse logs`",
}

CorporaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--corpora",
        "-c",
        metavar="CORPUS[,CORPUS]",
        help="Your corpora, on the mesh at --address. [dim]default: sample data on a mesh of its own[/]",
    ),
]
QueriesOption = Annotated[
    Path | None,
    typer.Option(
        "--queries",
        "-q",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="Your questions, CSV or JSON: `query`, and if you have them `id`, `paraphrases`, `role`, `category`, "
        "`expected`, `answers`, `out_of_domain`, `where`, `not_like`, `contract`. docs/learning.md explains them.",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="What people said of answers, CSV or JSON: `query`, `id`, `rating` (1 to 5).",
    ),
]
JudgeOption = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="auto|truth|rubric|human",
        help="Who rates answers: known truth (sample data), a rubric of `expected` fields, people's labels.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same report but for times.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="A small sample, in seconds: to see that it works.")]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port-base",
        min=1,
        max=65_000,
        help="The gateway's port, for the mesh of its own. [dim]default: 3110, or the next free one[/]",
    ),
]
OUT_HELP = "Where report.md, report.json and the plots go."


def names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Corpora as they were given: repeated, or with commas between."""
    return tuple(dict.fromkeys(part.strip() for value in given or () for part in value.split(",") if part.strip()))


def check_options(corpora: Sequence[str], queries: Path | None, labels: Path | None, judge: str) -> None:
    """Raises BadParameter for options that do not go together."""
    if judge not in ("auto", "truth", "rubric", "human"):
        raise typer.BadParameter(f"{judge!r} is not one of auto, truth, rubric, human", param_hint="--judge")
    if corpora and queries is None:
        raise typer.BadParameter("your own corpora need your own questions: --queries FILE", param_hint="--corpora")
    if not corpora and (queries is not None or labels is not None):
        raise typer.BadParameter("say which corpora the questions are for", param_hint="--corpora")
    if not corpora and judge in ("rubric", "human"):
        raise typer.BadParameter("the sample data are judged by the truth", param_hint="--judge")


@asynccontextmanager
async def client(
    session: Session, *, own: bool, port_base: int | None, say: Say
) -> AsyncIterator[tuple[MatrixClient, Path]]:
    """A client of the mesh at --address when the data are the user's own, else of a new mesh that is stopped again.

    With it comes a directory for scratch files.
    """
    from services.cli.demo_stack import choose_port_base, directory, own_mesh
    from services.labs.matrix import MatrixClient

    timeout = session.timeout if session.timeout is not None else 60.0
    async with AsyncExitStack() as stack:
        if own:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lakehouse-reality-")))
            url = f"http://{session.address}"
        else:
            say("starting a mesh of its own")
            place = stack.enter_context(directory(None, keep=False))
            base = port_base if port_base is not None else choose_port_base()
            url = await stack.enter_async_context(own_mesh(place, base, keep=False))
        token = session.token()
        yield await stack.enter_async_context(MatrixClient(url, token=token, timeout=timeout)), place


async def world_of(
    calls: MatrixClient,
    place: Path,
    *,
    corpora: Sequence[str],
    queries: Path | None,
    labels: Path | None,
    judge: str,
    seed: int,
    quick: bool,
    say: Say,
    exact: bool = True,
) -> World:
    """The sample world, as it is when not `exact`, or the user's own. Raises ServiceError and UnfitData."""
    from services.labs.sample import FULL, QUICK, Sample
    from services.labs.world import own_world, sample_world

    if queries is not None:
        return await own_world(calls, corpora, queries, labels, judge, seed)
    say("drawing workers")
    return await sample_world(calls, Sample.draw(QUICK if quick else FULL, seed), place / "sample", say, exact=exact)


@contextmanager
def running(session: Session) -> Iterator[Say]:
    """Shows what is being done, on a terminal; turns data that will not do into the command's failure."""
    with session.terminal.progress(TextColumn("{task.description}"), TimeElapsedColumn()) as bar:
        task = bar.add_task("starting", total=None)
        try:
            yield lambda words: bar.update(task, description=words)
        except UnfitData as error:
            raise CommandError(str(error), reason=error.reason, hint=_HINTS.get(error.reason, "")) from error


def again() -> str:
    """The command as it was typed, to be run again."""
    return shlex.join(["lakehouse", *sys.argv[1:]])


def finish(terminal: Terminal, report: Report, folder: Path, began: float) -> None:
    """Writes the report and shows its verdict, its figures, and where the rest is."""
    from services.labs.reality.plots import can_draw
    from services.labs.reality.report import NO_PLOTS, write

    files = write(report, folder)
    terminal.document({**report.document(), "files": [str(file) for file in files]})
    style = "green" if report.passed else "yellow"
    terminal.say(f"[bold {style}]{plain(report.verdict)}[/]")
    marks = {None: "", True: "met", False: "missed"}
    rows = [(one.name, one.value, one.target, marks[one.met]) for one in report.figures]
    if rows:
        terminal.show("", table(("figure", "value", "target", ""), rows))
    for sentence in report.not_measured:
        terminal.say(f"[yellow]not measured:[/] {plain(sentence)}")
    if report.plots and not can_draw():
        terminal.note(plain(NO_PLOTS))
    terminal.say(f"\n[dim]{time.monotonic() - began:.0f} s; all of it: {plain(files[0])}[/]")
