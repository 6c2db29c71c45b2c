"""A report: one document, written as Markdown for people, JSON for programs, and plots.

Everything but `timings` is the same for the same seed, data and release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.labs.reality.plots import Plot, draw

NO_PLOTS = "no plots: matplotlib is not installed (pip install 'lakehouse[reports]')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that somebody decides by."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None
    """None where there is no target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, some sentences, and a table."""

    title: str
    text: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    plots: Sequence[str] = ()
    """Names of the plots that belong here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a reality test found."""

    command: str
    """As it can be typed again."""
    title: str
    verdict: str
    """One plain sentence, or two."""
    passed: bool
    setting: Mapping[str, Any]
    """What it ran on: data, judge, seed, what the mesh can do."""
    figures: Sequence[Figure]
    sections: Sequence[Section]
    not_measured: Sequence[str]
    """What could not be measured, each in a sentence with its reason."""
    data: Mapping[str, Any]
    """The numbers behind it, for programs."""
    plots: Sequence[Plot] = ()
    timings: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON form; floats are rounded to six digits."""
        return {
            "title": self.title,
            "command": self.command,
            "verdict": self.verdict,
            "passed": self.passed,
            "setting": _rounded(self.setting),
            "figures": [
                {"name": one.name, "value": one.value, "target": one.target, "met": one.met} for one in self.figures
            ],
            "not_measured": list(self.not_measured),
            "data": _rounded(self.data),
            "timings": _rounded(self.timings),
        }


def write(report: Report, folder: Path) -> list[Path]:
    """Writes report.md, report.json and the plots; returns the files. Without matplotlib the report says so."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(report.plots, folder)
    markdown, document = folder / "report.md", folder / "report.json"
    # Reports are products for the caller, no state of the mesh: hence plain writes.
    markdown.write_text(_markdown(report, drawn), encoding="utf-8")
    document.write_text(json.dumps(report.document(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [markdown, document, *(drawn or {}).values()]


def _markdown(report: Report, drawn: Mapping[str, Path] | None) -> str:
    lines = [f"# {report.title}", "", f"**{report.verdict}**", ""]
    if report.figures:
        lines += _table(
            ("figure", "value", "target", ""),
            [(one.name, one.value, one.target, _mark(one.met)) for one in report.figures],
        )
    if report.not_measured:
        lines += ["## Not measured", "", *(f"- {sentence}" for sentence in report.not_measured), ""]
    for section in report.sections:
        lines += [f"## {section.title}", "", section.text, ""]
        if section.rows:
            lines += _table(section.columns, section.rows)
        for name in section.plots:
            if drawn and name in drawn:
                lines += [f"![{name}]({drawn[name].name})", ""]
    if report.plots and drawn is None:
        lines += [NO_PLOTS[0].upper() + NO_PLOTS[1:] + ".", ""]
    lines += ["## How it was measured", "", *(f"- {key}: {_shown(value)}" for key, value in report.setting.items()), ""]
    if report.timings:
        lines += [f"- {key}: {_shown(value)}" for key, value in report.timings.items()] + [""]
    lines += ["Again, with the same result but for times:", "", f"    {report.command}", ""]
    return "\n".join(lines)


def _mark(met: bool | None) -> str:
    return "" if met is None else "met" if met else "**missed**"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(columns), "|" + "---|" * len(columns), *(line(row) for row in rows), ""]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {str(key): _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
