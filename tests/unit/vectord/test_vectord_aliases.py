"""Aliases: a table that is exactly what was last written, whatever was done to it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.names import same_name
from services.vectord.errors import AliasNotFound, NothingToRollBack
from services.vectord.tree.aliases import HISTORY, Alias, Aliases

NAMES = st.sampled_from(["live", "LIVE", "test", "Straße", "STRASSE"])
TARGETS = st.sampled_from(["a", "A", "b", "c"])
STEPS = st.lists(st.tuples(st.sampled_from(["set", "back", "remove", "reopen"]), NAMES, TARGETS), max_size=40)


@pytest.mark.requirement("V10")
@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_an_alias_stands_for_what_it_was_last_set_to(steps: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aliases"
        table = Aliases(path)
        model: dict[str, list[str]] = {}
        for action, name, target in steps:
            _do(table, action, name, target)
            _model(model, action, same_name(name), target)
            if action == "reopen":
                table = Aliases(path)
            assert {same_name(alias.name): [alias.index, *alias.previous] for alias in table.all()} == model
        for target in ("a", "b", "c"):
            standing = {same_name(name) for name in table.of(target)}
            assert standing == {name for name, past in model.items() if same_name(past[0]) == target}


def _do(table: Aliases, action: str, name: str, target: str) -> None:
    present = table.find(name)
    if action == "set":
        table.put(present.to(target, 2) if present else Alias(name=name, index=target, updated_ns=1))
    elif action == "remove" and present:
        table.remove(name)
    elif action == "back" and present and present.previous:
        table.put(present.back(3))


def _model(model: dict[str, list[str]], action: str, name: str, target: str) -> None:
    past = model.get(name)
    if action == "set" and (past is None or same_name(past[0]) != same_name(target)):
        model[name] = [target, *(past or [])]
    elif action == "remove":
        model.pop(name, None)
    elif action == "back" and past and len(past) > 1:
        del past[0]


@pytest.mark.requirement("V10")
def test_an_alias_remembers_the_last_fifty_indexes() -> None:
    alias = Alias(name="live", index="0", updated_ns=0)
    for number in range(1, HISTORY + 10):
        alias = alias.to(str(number), number)
    assert len(alias.previous) == HISTORY == 50
    assert alias.previous[0] == str(HISTORY + 8)
    for _ in range(HISTORY):
        alias = alias.back(99)
    assert alias.index == "9"
    with pytest.raises(NothingToRollBack):
        alias.back(99)


def test_an_unknown_alias_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AliasNotFound):
        Aliases(tmp_path / "aliases").remove("nobody")


@pytest.mark.requirement("X11")
def test_a_damaged_file_of_aliases_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "aliases"
    path.write_bytes(b"nonsense")
    table = Aliases(path)
    assert table.all() == []
    assert (tmp_path / "aliases.damaged").read_bytes() == b"nonsense"
    assert "aliases.damaged" in caplog.text
    table.put(Alias(name="live", index="a", updated_ns=1))
    assert [alias.index for alias in Aliases(path).all()] == ["a"]
