"""`lakehouse index tune` and what belongs to it: eval sets, trials, promotions, the agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from google.protobuf import json_format

from lakehouse.vector.v1 import parameters_pb2, trial_pb2

from services.cli.client import pages
from services.cli.command import Session, YesOption, command
from services.cli.jobs import follow
from services.cli.terminal import moment, plain, table

IndexArgument = Annotated[str, typer.Argument(metavar="INDEX", help="The index, or an alias of it.")]
SetArgument = Annotated[str, typer.Argument(metavar="SET", help="The eval set.")]
EvalOption = Annotated[
    str, typer.Option("--eval", metavar="SET", help="The eval set to measure with. [dim]default: one is generated[/]")
]
RecallOption = Annotated[
    float | None,
    typer.Option("--minimum-recall", min=0.0, max=1.0, help="The least recall that may win. [dim]default: 0.9[/]"),
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Start the job and return; `lakehouse jobs watch` follows it.")
]


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    evals = typer.Typer(no_args_is_help=True, help="Eval sets: the questions with which an index is measured.")
    command(
        evals,
        "create",
        examples="""
        lakehouse index eval create tickets usual --sample 500
        lakehouse index eval create tickets mine --queries vectors.jsonl
        """,
    )(create_eval_set)
    command(evals, "list", examples="lakehouse index eval list tickets")(list_eval_sets)
    command(evals, "delete", examples="lakehouse index eval delete tickets usual --yes")(delete_eval_set)
    group.add_typer(evals, name="eval")
    command(
        group,
        "tune",
        examples="""
        lakehouse index tune tickets
        lakehouse index tune tickets --try 80/60 --try 160/100 --promote
        """,
    )(tune)
    command(group, "trials", examples="lakehouse index trials tickets")(list_trials)
    command(group, "promote", examples="lakehouse index promote tickets 00000004")(promote)
    command(group, "rollback", examples="lakehouse index rollback tickets")(roll_back)
    command(group, "promotions", examples="lakehouse index promotions tickets")(list_promotions)
    command(group, "agent", examples="lakehouse index agent\nlakehouse index agent --run tickets")(agent)


async def create_eval_set(
    session: Session,
    name: IndexArgument,
    eval_set: SetArgument,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", exists=True, dir_okay=False, help="A file with a JSON list of numbers on each line."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=10, max=10_000, help="Questions to generate. [dim]default: 100[/]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The seed of generated ones. [dim]default: 42[/]")] = None,
    k: Annotated[
        int | None, typer.Option("--k", min=1, max=1000, help="How many neighbours count. [dim]default: 10[/]")
    ] = None,
) -> None:
    """Makes an eval set of your own questions, or of items of the index, slightly moved."""
    request = trial_pb2.CreateEvalSetRequest(
        name=name, eval_set=eval_set, sample=sample, seed=seed, k=k, queries=_queries(queries) if queries else ()
    )
    async with session.connect() as client:
        answer = await client.vector.CreateEvalSet(request, timeout=client.timeout)
    session.terminal.document(answer)
    made = answer.eval_set
    session.terminal.say(f"[bold]{plain(made.name)}[/] has {made.size:,} {made.origin} questions.")


def _queries(path: Path) -> list[trial_pb2.EvalQuery]:
    made = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            made.append(trial_pb2.EvalQuery(values=orjson.loads(line)))
        except (ValueError, TypeError) as error:
            raise typer.BadParameter(f"line {number} is not a JSON list of numbers", param_hint="--queries") from error
    return made


async def list_eval_sets(session: Session, name: IndexArgument) -> None:
    """Lists the eval sets of an index."""
    async with session.connect() as client:
        answer = await client.vector.ListEvalSets(trial_pb2.ListEvalSetsRequest(name=name), timeout=client.timeout)
    session.terminal.document(answer)
    if not answer.eval_sets:
        session.terminal.say("No eval sets yet. Tuning generates one; [bold]lakehouse index eval create[/] makes more.")
        return
    rows = [(one.name, f"{one.size:,}", one.k, one.origin, moment(one.created_at)) for one in answer.eval_sets]
    session.terminal.show(table(["eval set", "questions", "k", "origin", "made"], rows, right=(1, 2)))


async def delete_eval_set(session: Session, name: IndexArgument, eval_set: SetArgument, yes: YesOption = False) -> None:
    """Removes an eval set. Trials that were made with it stay."""
    async with session.connect() as client:
        request = trial_pb2.DeleteEvalSetRequest(name=name, eval_set=eval_set)
        answer = await client.vector.DeleteEvalSet(request, timeout=client.timeout)
    session.terminal.document(answer)
    session.terminal.say(f"Removed the eval set {plain(answer.eval_set.name)}.")


async def tune(
    session: Session,
    name: IndexArgument,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="CONSTRUCTION/SEARCH",
            help="Candidates when a node is linked, and of a search. Repeatable. [dim]default: a grid of five[/]",
        ),
    ] = None,
    m: Annotated[int, typer.Option("--m", min=0, max=128, help="Links of a node. [dim]default: as it is[/]")] = 0,
    eval_set: EvalOption = "",
    minimum_recall: RecallOption = None,
    promote: Annotated[bool, typer.Option("--promote", help="Give the index the parameters that win.")] = False,
    detach: DetachOption = False,
) -> None:
    """Builds graphs aside with several parameters, measures each, and names the winner.

    The index serves as it is meanwhile. The best recall wins, then the fastest; nobody below the minimum.
    """
    request = trial_pb2.AutotuneRequest(
        name=name,
        eval_set=eval_set,
        grid=[_parameters(one, m) for one in given or ()],
        minimum_recall=minimum_recall,
        promote=promote,
    )
    async with session.connect() as client:
        job = (await client.vector.Autotune(request, timeout=client.timeout)).job
        if detach:
            session.terminal.document(job)
            session.terminal.say(f"Started. Follow it with [bold]lakehouse jobs watch {plain(job.id)}[/]")
            return
        job = await follow(session.terminal, client, job.id)
    session.terminal.document(job)
    result = json_format.MessageToDict(job.result)
    _show_trials(session, [json_format.ParseDict(one, trial_pb2.Trial()) for one in result["trials"]])
    if "winner" not in result:
        session.terminal.say("Nobody wins: none found enough. Try more candidates, for example --try 200/100.")
    elif result["promoted"]:
        session.terminal.say(f"Trial {plain(result['winner']['id'])} wins, and the index has its parameters now.")
    else:
        trial_id = plain(result["winner"]["id"])
        session.terminal.say(
            f"Trial {trial_id} wins. Promote it: [bold]lakehouse index promote {plain(name)} {trial_id}[/]"
        )


def _parameters(text: str, m: int) -> parameters_pb2.BuildParameters:
    construction, _, search = text.partition("/")
    if not (construction.isdigit() and search.isdigit()):
        raise typer.BadParameter(f"{text!r} is not like 80/30", param_hint="--try")
    return parameters_pb2.BuildParameters(m=m, ef_construction=int(construction), ef_search=int(search))


async def list_trials(session: Session, name: IndexArgument) -> None:
    """Lists the trials of an index, the newest first."""
    async with session.connect() as client:
        request = trial_pb2.ListTrialsRequest(name=name, page_size=1000)
        found = pages(client.vector.ListTrials, request, timeout=client.timeout)
        trials = [trial async for page in found for trial in page.trials]
    session.terminal.document(trial_pb2.ListTrialsResponse(trials=trials))
    if not trials:
        session.terminal.say("No trials yet. [bold]lakehouse index tune[/] runs some.")
        return
    _show_trials(session, trials)


def _show_trials(session: Session, trials: list[trial_pb2.Trial]) -> None:
    rows = [
        (
            trial.id,
            words(trial.parameters),
            f"{trial.recall:.4f}",
            f"{trial.p50_ms:.3f}",
            f"{trial.p99_ms:.3f}",
            f"{trial.build_seconds:.1f}",
            f"{trial.items:,}",
            trial.started_by,
        )
        for trial in trials
    ]
    headings = ["trial", "m, construction/search", "recall", "p50 ms", "p99 ms", "build s", "items", "by"]
    session.terminal.show(table(headings, rows, right=(2, 3, 4, 5, 6)))


def words(given: parameters_pb2.BuildParameters) -> str:
    """Parameters in short."""
    return f"{given.m}, {given.ef_construction}/{given.ef_search or 'measured'}"


async def promote(
    session: Session,
    name: IndexArgument,
    trial_id: Annotated[str, typer.Argument(metavar="TRIAL", help="The id of the trial.")],
    minimum_recall: RecallOption = None,
    detach: DetachOption = False,
) -> None:
    """Gives an index the parameters of a trial, and builds it anew while it serves."""
    request = trial_pb2.PromoteTrialRequest(name=name, trial_id=trial_id, minimum_recall=minimum_recall)
    async with session.connect() as client:
        answer = await client.vector.PromoteTrial(request, timeout=client.timeout)
        if not detach:
            answer.job.CopyFrom(await follow(session.terminal, client, answer.job.id))
    session.terminal.document(answer)
    session.terminal.say(f"[bold]{plain(name)}[/] has {plain(words(answer.promotion.parameters))} now.")


async def roll_back(session: Session, name: IndexArgument, detach: DetachOption = False) -> None:
    """Takes the last promotion back, and builds the index anew while it serves."""
    async with session.connect() as client:
        request = trial_pb2.RollbackPromotionRequest(name=name)
        answer = await client.vector.RollbackPromotion(request, timeout=client.timeout)
        if not detach:
            answer.job.CopyFrom(await follow(session.terminal, client, answer.job.id))
    session.terminal.document(answer)
    before = words(answer.promotion.parameters) if answer.HasField("promotion") else "its first parameters"
    session.terminal.say(f"[bold]{plain(name)}[/] has {plain(before)} again.")


async def list_promotions(session: Session, name: IndexArgument) -> None:
    """Lists the promotions of an index, the latest first."""
    async with session.connect() as client:
        request = trial_pb2.ListPromotionsRequest(name=name)
        answer = await client.vector.ListPromotions(request, timeout=client.timeout)
    session.terminal.document(answer)
    if not answer.promotions:
        session.terminal.say("No promotions: the index has its first parameters.")
        return
    rows = [
        (moment(one.promoted_at), words(one.parameters), one.trial_id, f"{one.recall:.4f}") for one in answer.promotions
    ]
    session.terminal.show(table(["promoted", "m, construction/search", "trial", "recall"], rows, right=(3,)))


async def agent(
    session: Session,
    run: Annotated[str, typer.Option("--run", metavar="INDEX", help="Wake it for this index, within its limits.")] = "",
) -> None:
    """Shows what the agent that tunes by itself does; it is off unless the setting vector.agent is true."""
    async with session.connect() as client:
        if run:
            woken = await client.vector.RunAgent(trial_pb2.RunAgentRequest(name=run), timeout=client.timeout)
            session.terminal.document(woken)
            session.terminal.say(f"{plain(woken.step.action)}: {plain(woken.step.detail)}")
            if woken.HasField("job"):
                session.terminal.say(f"Follow it with [bold]lakehouse jobs watch {plain(woken.job.id)}[/]")
            return
        answer = await client.vector.GetAgent(trial_pb2.GetAgentRequest(), timeout=client.timeout)
    session.terminal.document(answer)
    seen = answer.agent
    mode = "works by itself" if seen.enabled else "works only when asked"
    limits = f"{seen.trials_last_hour} of {seen.trials_per_hour} trials in the last hour"
    session.terminal.say(f"The agent {mode}; {limits}.")
    if seen.steps:
        rows = [(moment(step.at), step.index, step.action, step.trial_id, step.detail) for step in seen.steps]
        session.terminal.show(table(["when", "index", "did", "trial", "why"], rows))
