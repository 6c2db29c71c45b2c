"""The demonstration as it is told: four steps over REST, each with what went out and what came back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.rule import Rule

from services.cli import lift_report
from services.cli.command import Session
from services.cli.failure import CommandError
from services.cli.terminal import indented, plain, size, table
from services.labs.lift import Experiment, Lift
from services.labs.plan import ColdRound, Plan, UnfitData
from services.labs.rest import RestClient, Table

_CELL = 40


class Story:
    """Tells people step by step, and gathers one document for programs."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self._terminal = session.terminal
        self._token = session.token()
        self._plan = plan
        self._told: dict[str, Any] = {}

    def begin(self, port_base: int, *, usual: bool) -> None:
        """Says what is about to happen, and on which ports when they are not the usual or chosen ones."""
        other = "" if usual else " (the usual ports are taken)"
        self._terminal.note(f"Starting a mesh of its own behind Envoy on port {port_base}{other} …")

    async def tell(self, url: str) -> None:
        """Runs the four steps against the gateway. Raises ServiceError."""
        async with RestClient(url, token=self._token) as client:
            self._told["gateway"] = url
            self._terminal.say(f"A mesh of its own serves at [bold]{plain(url)}[/]. All that follows is REST.")
            await self._ingest(client)
            await self._ask_sql(client)
            await self._check(client)
            await self._embed(client)
            await self._learn(client)

    def _step(self, number: int, title: str) -> None:
        self._terminal.show("")
        if not self._terminal.as_json:
            self._terminal.show(Rule(f"[bold]{number}  {plain(title)}[/]", align="left", style="dim"))

    async def _ingest(self, client: RestClient) -> None:
        self._step(1, "A file becomes a dataset")
        began = time.monotonic()
        with self._terminal.busy(f"POST /v1/ingest?name={self._plan.dataset}") as told:
            answer = await client.ingest(self._plan.file, self._plan.dataset, told)
        seconds = time.monotonic() - began
        self._ingested = answer
        self._told["ingest"] = answer
        received = size(int(answer["bytes_received"]))
        personal = [column["name"] for column in answer["columns"] if column["pii"]]
        self._terminal.say(
            f"[dim]POST /v1/ingest?name={plain(self._plan.dataset)}[/]\n"
            f"{plain(self._plan.file.name)}: [bold]{answer['row_count']:,} rows[/], {len(answer['columns'])} columns, "
            f"{received} in {seconds:.1f} s."
        )
        if personal:
            self._terminal.say(f"Personal data found in: {plain(', '.join(personal))}.")

    async def _ask_sql(self, client: RestClient) -> None:
        self._step(2, "It answers SQL")
        self._told["sql"] = []
        for question in self._plan.questions(self._ingested):
            answer = await client.sql(question.statement)
            self._told["sql"].append({"title": question.title, "sql": question.statement, **_document(answer)})
            self._terminal.say(f"[bold]{plain(question.title)}[/]\n[dim]{plain(question.statement)}[/]")
            self._terminal.show(indented(_shown(answer)), "")

    async def _check(self, client: RestClient) -> None:
        try:
            await self._plan.check(client)
        except UnfitData as error:
            hint = "choose another column with --id"
            raise CommandError(str(error), reason=error.reason, hint=hint) from error

    async def _embed(self, client: RestClient) -> None:
        self._step(3, "It is embedded, so that plain language finds it")
        began = time.monotonic()
        with self._terminal.busy("POST /v1/matrix/corpora/build") as told:
            job = await client.build_corpus(self._plan.corpus, told)
        seconds = time.monotonic() - began
        self._told["corpus"] = job
        rate = job["done"] / seconds if seconds else 0.0
        self._terminal.say(
            f"[dim]POST /v1/matrix/corpora/build {plain(json.dumps(self._plan.corpus, ensure_ascii=False))}[/]\n"
            f"[bold]{job['done']:,} {plain(job['unit'])}[/] in {seconds:.1f} s ({rate:,.0f}/s)."
        )
        if job["failed"]:
            self._terminal.say(f"[yellow]{job['failed']:,} of them cannot be found:[/] {plain(job['failures'][0])}.")

    async def _learn(self, client: RestClient) -> None:
        self._step(4, "It learns which answer was right")
        experiment = Experiment(client, self._plan.dataset)
        with self._terminal.busy("asking for the first time") as told:
            cold = await self._plan.ask(client, experiment, told)
        with self._terminal.busy("recording, and asking again"):
            lift = await experiment.run(cold.trials, cold.control)
        self._lift = lift
        self._told["lift"] = lift_report.document(cold, lift)
        self._terminal.say(_introduction(self._plan, cold, lift))
        if lift.trials:
            self._terminal.show("", lift_report.lift_table(lift), "")
        trial = lift_report.farthest(lift)
        if trial is not None:
            remarks = await self._plan.remarks(client, trial, lift_report.shown_items(trial))
            for line in lift_report.close_up(trial, remarks):
                self._terminal.say(line)
        self._terminal.show("")
        for line in lift_report.conclusion(lift):
            self._terminal.say(line)

    def end(self, seconds: float, url: str, kept: Path | None) -> None:
        """Says how it ended and how to go on."""
        self._told["seconds"] = round(seconds, 1)
        self._told["kept"] = None if kept is None else {"data": str(kept), "stop": f"lakehouse down --data {kept}"}
        self._terminal.document(self._told)
        if kept is None:
            self._terminal.say(f"\n[dim]Done in {seconds:.0f} s; the mesh has stopped. --keep leaves it running.[/]")
        elif not self._terminal.as_json:
            self._terminal.raw(lift_report.how_to_go_on(self._plan, self._lift, url, kept))


def _introduction(plan: Plan, cold: ColdRound, lift: Lift) -> str:
    found = len(lift.discoveries)
    if cold.asked == 0:
        return "No row has a text of its own with words enough for a question, so there is nothing to show here."
    return (
        f"{plain(plan.truth)}\n"
        f"{cold.asked} questions asked; the right answer was on top at once for {cold.on_top}. "
        f"For {found} it was not, so it was recorded in the playbook, and all were asked again."
    )


def _document(answer: Table) -> dict[str, Any]:
    columns = [{"name": name, "type": kind} for name, kind in zip(answer.columns, answer.types, strict=True)]
    return {"columns": columns, "rows": [list(row) for row in answer.rows]}


def _shown(answer: Table) -> Any:
    right = [
        index for index in range(len(answer.columns)) if all(isinstance(row[index], int | float) for row in answer.rows)
    ]
    rows = [[_cell(value) for value in row] for row in answer.rows]
    return table(answer.columns, rows, right=right)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    text = str(value).replace("\n", " ")
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"
