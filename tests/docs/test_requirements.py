"""The manifest of requirements and the tests that show them agree, both ways."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MANIFEST = tomllib.loads((TESTS / "requirements.toml").read_text(encoding="utf-8"))


def shown() -> Iterator[tuple[str, str]]:
    """Every id on a test, with the file that has it."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
                yield from ((ast.literal_eval(argument), path.name) for argument in node.args)


def test_every_requirement_that_is_built_is_shown_by_a_test() -> None:
    assert sorted(set(MANIFEST["built"]) - {requirement for requirement, _ in shown()}) == []


def test_every_id_on_a_test_is_in_the_manifest() -> None:
    known = {*MANIFEST["built"], *MANIFEST["planned"]}
    assert [(requirement, name) for requirement, name in shown() if requirement not in known] == []


def test_nothing_is_both_built_and_planned() -> None:
    assert set(MANIFEST["built"]) & set(MANIFEST["planned"]) == set()
