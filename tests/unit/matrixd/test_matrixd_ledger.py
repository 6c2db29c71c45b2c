"""What is remembered of embedded texts: it is never wrong, at worst it is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from services.matrixd.corpora.build import Counts
from services.matrixd.corpora.corpora import CorpusInfo
from services.matrixd.corpora.delta import GROUP_PIECES, compare, grouped
from services.matrixd.corpora.ledger import Ledger
from services.matrixd.corpora.passes import summary
from services.matrixd.corpora.plan import BuildRequest, make_plan
from services.matrixd.corpora.recipe import first_recipe, recipe_of
from services.matrixd.corpora.records import Record, Records
from services.matrixd.corpora.rows import Piece

pytestmark = pytest.mark.requirement("M11")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(path, "index 1")
    yield opened
    opened.close()


def reopened(path: Path, identity: str = "index 1") -> Ledger:
    ledger = Ledger(path, identity)
    ledger.close()
    return ledger


def test_a_hash_is_on_disk_when_note_returns(ledger: Ledger, path: Path) -> None:
    ledger.note({"a": "1", "b": "2"})
    ledger.note({"a": "3"})
    ledger.forget(["b", "never heard of"])
    other = reopened(path)
    assert (other.get("a"), other.get("b"), len(other)) == ("3", None, 1)


def test_what_is_known_already_is_not_written_again(ledger: Ledger, path: Path) -> None:
    ledger.note({"a": "1"})
    size = path.stat().st_size
    ledger.note({"a": "1"})
    ledger.forget(["x"])
    assert path.stat().st_size == size


def test_another_index_of_the_same_name_begins_anew(ledger: Ledger, path: Path) -> None:
    ledger.note({"a": "1"})
    assert len(reopened(path, "index 2")) == 0
    assert len(reopened(path, "index 1")) == 0


def test_a_torn_last_record_costs_only_itself(ledger: Ledger, path: Path) -> None:
    ledger.note({"a": "1"})
    ledger.note({"b": "2"})
    path.write_bytes(path.read_bytes()[:-3])
    other = reopened(path)
    assert (other.get("a"), other.get("b")) == ("1", None)


def test_damage_in_the_middle_is_not_believed(ledger: Ledger, path: Path) -> None:
    ledger.note({"a": "1"})
    before = path.stat().st_size
    ledger.forget(["a"])
    ledger.note({"b": "2"})
    data = bytearray(path.read_bytes())
    data[before + 2] ^= 0xFF
    path.write_bytes(data)
    assert len(reopened(path)) == 0


def test_a_log_that_is_mostly_history_is_rewritten(ledger: Ledger, path: Path) -> None:
    for number in range(50):
        ledger.note({"a": str(number), "b": str(number)})
    ledger.keep({"a", "b", "c"})
    size = path.stat().st_size
    assert size < 400
    ledger.note({"c": "9"})
    other = reopened(path)
    assert (other.get("a"), other.get("b"), other.get("c")) == ("49", "49", "9")


def test_only_what_is_kept_stays(ledger: Ledger, path: Path) -> None:
    ledger.note({str(number): "1" for number in range(25_000)})
    ledger.keep({str(number) for number in range(5, 25_000)})
    other = reopened(path)
    assert len(other) == 24_995
    assert (other.get("4"), other.get("24999")) == (None, "1")


def piece(item_id: str, text: str = "nurse", metadata: Mapping[str, Any] | None = None) -> Piece:
    return Piece(row=0, id=item_id, text=text, metadata=metadata if metadata is not None else {"city": "Toledo"})


def struct(values: Mapping[str, Any]) -> Struct:
    made = Struct()
    made.update(values)
    return made


def test_a_piece_is_embedded_unless_index_and_ledger_both_know_it(ledger: Ledger) -> None:
    ledger.note({item_id: piece("").digest for item_id in ("same", "touched", "changed", "gone")})
    stored = {item_id: struct({"city": "Toledo"}) for item_id in ("same", "changed", "unknown")}
    stored["touched"] = struct({"city": "Akron"})
    pieces = [piece("same"), piece("touched"), piece("changed", "cook"), piece("gone"), piece("unknown"), piece("new")]
    delta = compare(pieces, stored, ledger)
    assert [one.id for one in delta.fresh] == ["changed", "gone", "unknown", "new"]
    assert [one.id for one in delta.touched] == ["touched"]
    assert delta.unchanged == 1


@pytest.mark.parametrize(
    ("before", "after"), [({"n": True}, {"n": 1}), ({"n": None}, {}), ({"n": [1]}, {"n": [1, 2]}), ({}, {"n": ""})]
)
def test_the_smallest_change_of_metadata_is_seen(
    ledger: Ledger, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    ledger.note({"a": piece("").digest})
    assert compare([piece("a", metadata=after)], {"a": struct(before)}, ledger).touched
    assert compare([piece("a", metadata=before)], {"a": struct(before)}, ledger).unchanged == 1


def test_a_call_carries_a_bounded_number_of_items() -> None:
    assert [len(group) for group in grouped([piece("a")] * (GROUP_PIECES + 1), 4)] == [GROUP_PIECES, 1]


def info(identity: str = "1", **properties: Any) -> CorpusInfo:
    return CorpusInfo(
        name="workers",
        dimension=4,
        model="hash",
        dataset="people",
        storage_type="float32",
        bucket="primary",
        identity=identity,
        properties=properties,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"text_columns": ("bio",)},
        {"template": "{name}: {bio}", "chunk_size": 100, "chunk_overlap": 20},
        {"text_columns": ("bio", "name"), "metadata_columns": ("city",), "id_prefix": "w-", "batch_size": 7},
    ],
)
def test_a_corpus_can_be_made_again_as_it_was_made(asked: Mapping[str, Any], tmp_path: Path) -> None:
    columns = ("id", "name", "bio", "city")
    plan = make_plan(BuildRequest(corpus="workers", dataset="people", id_column="id", **asked), columns)
    recipe = recipe_of(plan, "hash")
    assert make_plan(recipe, columns) == plan
    created = first_recipe(info(**plan.properties()))
    assert created is not None
    again = make_plan(created, columns)
    assert again.properties() == plan.properties()
    Records(tmp_path).save(Record(corpus="workers", identity="1", recipe=recipe, rows="x"))
    read = Records(tmp_path).get(info())
    assert read is not None
    assert (read.recipe, read.rows) == (recipe, "x")


def test_a_corpus_of_an_earlier_release_does_not_tell_how_it_was_made() -> None:
    assert first_recipe(info(kind="corpus", text_columns=["bio"])) is None


def test_a_record_is_of_one_index_only_and_a_damaged_one_is_lost(tmp_path: Path) -> None:
    records = Records(tmp_path)
    recipe = BuildRequest(corpus="Workers", dataset="people", id_column="id", text_columns=("bio",))
    records.save(Record(corpus="Workers", identity="1", recipe=recipe))
    assert records.get(info("1")) is not None
    assert records.get(info("2")) is None
    for path in tmp_path.glob("*.json"):
        path.write_text("{}")
    assert Records(tmp_path).get(info("1")) is None
    records.remove(records.names())
    assert list(tmp_path.iterdir()) == []


def test_the_items_of_a_pass_are_those_that_are_as_the_dataset_wants_them() -> None:
    counts = Counts(rows=9, failed=1, embedded=2, updated=3, unchanged=4, removed=5)
    assert summary(counts)["items"] == 9
