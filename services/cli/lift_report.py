"""The lift as people see it: where the right answers stood before, where they stand now, and what did not move."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.terminal import plain
from services.labs.lift import DEPTH, Control, Lift, Standing, Trial
from services.labs.plan import ColdRound, Plan

_QUESTION = 22
_ITEM = 18


def document(cold: ColdRound, lift: Lift) -> dict[str, Any]:
    """The experiment for programs; ranks are counted from 0, absent ones are null."""
    return {
        "depth": DEPTH,
        "asked": cold.asked,
        "on_top_at_once": cold.on_top,
        "discoveries": len(lift.discoveries),
        "lifted": sum(trial.lifted for trial in lift.discoveries),
        "recovered_in_other_words": sum(trial.recovered for trial in lift.discoveries),
        "trials": [_trial(trial) for trial in lift.trials],
        "control": None if lift.control is None else _control(lift.control),
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "question": trial.case.question,
        "paraphrase": trial.case.paraphrase,
        "role": trial.case.role,
        "answer_id": trial.answer,
        "recorded": trial.discovery,
        "before": {"same_words": _standing(trial.cold), "other_words": _standing(trial.cold_paraphrase)},
        "after": {"same_words": _standing(trial.warm), "other_words": _standing(trial.warm_paraphrase)},
    }


def _standing(standing: Standing | None) -> dict[str, Any] | None:
    return None if standing is None else {"rank": standing.rank, "distance": standing.distance}


def _control(control: Control) -> dict[str, Any]:
    return {
        "question": control.question,
        "hits": control.hits,
        "unchanged": control.unchanged,
        "boosted": control.boosted,
        "injected": control.injected,
    }


def lift_table(lift: Lift) -> RenderableType:
    """One line for each question: rank and distance of the right answer, before and after."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    made.add_column("asked for", overflow="fold", min_width=_QUESTION)
    made.add_column("answer", no_wrap=True, overflow="ellipsis", max_width=12)
    made.add_column("in the same words\nbefore → after", no_wrap=True)
    made.add_column("in other words\nbefore → after", no_wrap=True)
    for trial in lift.trials:
        made.add_row(Text(trial.case.label), Text(trial.answer or "none found"), *_journeys(trial))
    return made


def _journeys(trial: Trial) -> tuple[Text, Text]:
    if trial.warm is None or trial.warm_paraphrase is None:
        said = "on top at once" if trial.answer is not None else f"none in the first {DEPTH}"
        return Text(said, style="dim"), Text("nothing to learn", style="dim")
    return _journey(trial.cold, trial.warm), _journey(trial.cold_paraphrase, trial.warm_paraphrase)


def _journey(before: Standing, after: Standing) -> Text:
    good = after.rank == 0
    text = Text(f"{_place(before):<9} → ")
    return text.append(_place(after), style="bold green" if good else "yellow")


def _place(standing: Standing) -> str:
    """A rank counted from 1, and the distance: `#9 0.312`."""
    if standing.rank is None or standing.distance is None:
        return f">{DEPTH}"
    return f"#{standing.rank + 1} {standing.distance:.3f}"


def farthest(lift: Lift) -> Trial | None:
    """The discovery whose answer had the longest way to go."""
    return max(lift.discoveries, key=lambda t: DEPTH if t.cold.rank is None else t.cold.rank, default=None)


def shown_items(trial: Trial) -> list[str]:
    """The items that `close_up` shows."""
    hits = (*trial.hits_before, *trial.hits_after[:2])
    return list(dict.fromkeys([*(hit.id for hit in hits), *([trial.answer] if trial.answer else [])]))


def close_up(trial: Trial, remarks: Mapping[str, str]) -> Iterator[str]:
    """One discovery: what came first before, and what comes first now. Lines of markup."""
    answer = trial.answer or ""
    yield f"[bold]One of them up close:[/] {plain(trial.case.question)}"
    yield "  [dim]asked for the first time[/]"
    for rank, hit in enumerate(trial.hits_before):
        yield _hit(trial, hit.id, Standing(rank=rank, distance=hit.distance), remarks)
    if all(hit.id != answer for hit in trial.hits_before):
        yield _hit(trial, answer, trial.cold, remarks)
    yield "  [dim]asked again[/]"
    for rank, hit in enumerate(trial.hits_after[:2]):
        yield _hit(trial, hit.id, Standing(rank=rank, distance=hit.distance), remarks)
    if trial.warm_paraphrase is not None:
        yield f"  [dim]asked in other words:[/] {plain(trial.case.paraphrase)}"
        yield _hit(trial, answer, trial.warm_paraphrase, remarks)


def _hit(trial: Trial, item: str, standing: Standing, remarks: Mapping[str, str]) -> str:
    shown = item if len(item) <= _ITEM else f"{item[: _ITEM - 1]}…"
    width = min(_ITEM, max(map(len, shown_items(trial))))
    line = f"{_place(standing):<9} {plain(shown.ljust(width))}  {plain(remarks.get(item, ''))}"
    return f"  [bold green]✓ {line}[/]" if item == trial.answer else f"    {line}"


def conclusion(lift: Lift) -> Iterator[str]:
    """What it comes to, in two sentences of markup."""
    found = lift.discoveries
    if not found:
        yield "[bold]No right answer was missing from the top: there was nothing to learn.[/]"
        return
    lifted, recovered = sum(trial.lifted for trial in found), sum(trial.recovered for trial in found)
    before = sum(trial.cold_paraphrase.rank == 0 for trial in found)
    yield (
        f"[bold]The recorded answer now comes first for {lifted} of {len(found)} questions in the same words, "
        f"and for {recovered} of {len(found)} in other words.[/] Before it was recorded: 0 and {before}."
    )
    yield _control_line(lift.control)


def _control_line(control: Control | None) -> str:
    if control is None:
        return "[dim]No control question: too few rows to make one of another kind.[/]"
    asked = f"Control, nothing recorded for it: [dim]{plain(control.question)}[/]"
    if control.unchanged:
        same = f"with and without the playbook the same {control.hits} hits at the same distances"
        return f"{asked}\n  [green]unaffected[/]: {same}."
    return (
        f"{asked}\n  [bold yellow]affected[/]: its hits have changed "
        f"({control.boosted} boosted, {control.injected} injected)."
    )


def how_to_go_on(plan: Plan, lift: Lift, url: str, data: Path) -> str:
    """Lines to copy into a shell, for a mesh that was left running."""
    question = next((trial.case.paraphrase for trial in lift.trials), "a question")
    search = {"query_text": question, "corpora": [plan.dataset], "k": 3, "use_playbook": True}
    statement = {"sql": f'SELECT * FROM "{plan.dataset}" LIMIT 3'}
    address = url.removeprefix("http://")
    return f"""
The mesh keeps running. Ask it with curl:

  curl -s {url}/v1/sql -H 'content-type: application/json' \\
    -d {shlex.quote(json.dumps(statement, ensure_ascii=False))}
  curl -s {url}/v1/matrix/search -H 'content-type: application/json' \\
    -d {shlex.quote(json.dumps(search, ensure_ascii=False))}

or with this command:

  lakehouse status --address {address}
  lakehouse search {shlex.quote(question)} \\
    --corpus {shlex.quote(plan.dataset)} --playbook --explain --address {address}

Stop it, then remove what it wrote:

  lakehouse down --data {shlex.quote(str(data))}
  rm -r {shlex.quote(str(data))}
"""
