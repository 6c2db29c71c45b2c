"""Which data a demonstration uses, and whether the named columns are there."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path

from services.cli.failure import CommandError
from services.labs.columns import Preview, preview
from services.labs.file_plan import FilePlan
from services.labs.plan import Plan
from services.labs.staffing_plan import StaffingPlan
from services.runtime.names import check_name


def staffing_plan(place: Path) -> Plan:
    """The sample data, written below `place`."""
    folder = place / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    plan = StaffingPlan(file=folder / "workers.csv")
    plan.write()
    return plan


def file_plan(file: Path, id_column: str, text_columns: Sequence[str]) -> Plan:
    """The user's own file. Raises CommandError when it is no CSV, or a column is not named or not there."""
    try:
        seen = preview(file)
    except ValueError as error:
        raise CommandError(f"{file}: {error}", reason="NOT_A_CSV") from error
    texts = _split(text_columns, seen)
    if not texts or not id_column:
        raise _unnamed(file, seen, id_column, texts)
    for column in (id_column, *texts):
        _must_exist(column, seen)
    return FilePlan(file=file, dataset=check_name(file.stem), id_column=id_column, text_columns=texts)


def _split(given: Sequence[str], seen: Preview) -> tuple[str, ...]:
    """Columns as they are, else separated by commas: a name may hold a comma itself."""
    parts = (part for value in given for part in ([value] if value in seen.columns else value.split(",")))
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _must_exist(column: str, seen: Preview) -> None:
    if column in seen.columns:
        return
    near = difflib.get_close_matches(column, seen.columns, n=1)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    hint = f"the columns are: {', '.join(seen.columns)}"
    raise CommandError(f"the file has no column {column!r}{suggestion}", reason="UNKNOWN_COLUMN", hint=hint)


def _unnamed(file: Path, seen: Preview, id_column: str, texts: Sequence[str]) -> CommandError:
    missing = [option for option, given in (("--id COLUMN", id_column), ("--text COLUMN[,COLUMN]", texts)) if not given]
    ident = id_column or next(iter(seen.likely_ids), "COLUMN")
    text = ",".join(texts) or next(iter(seen.likely_texts), "COLUMN")
    guess = f"lakehouse demo --csv {shlex.quote(str(file))} --id {shlex.quote(ident)} --text {shlex.quote(text)}"
    message = f"say which columns to use: {' and '.join(missing)}. The columns are: {', '.join(seen.columns)}"
    return CommandError(message, reason="COLUMNS_NOT_NAMED", hint=f"a guess: {guess}")
