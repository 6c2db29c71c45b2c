"""The relevance filter and the downgrade gate, with exact numbers."""

from __future__ import annotations

import math

import pytest

from services.matrixd.downgrade import ISOLATION, WEAK_MODELS, decide, force_from, is_weak
from services.matrixd.relevance import Chunk, Focus, Scored, sort_chunks
from services.matrixd.symbols import STOP_WORDS, defined_symbols, imported_symbols, words
from services.runtime.errors import InvalidArgument

FOCUS = Focus(
    path="crates/queryd/src/db.rs",
    text="""
use catalogd::Registry;

pub struct Connector { registry: Registry }
""",
)


def scored(focus: Focus, **chunk: str) -> Scored:
    result = sort_chunks(focus, [Chunk(**{"id": "1", "path": "", "text": "", **chunk})], None)
    return (*result.kept, *result.dropped)[0]


def signals(one: Scored) -> dict[str, float]:
    return {signal.name: signal.value for signal in one.signals}


def test_what_a_file_defines_stays_and_what_it_imports_goes() -> None:
    # Words of the focus: catalogd, registry, connector. A chunk that shares one of five words in all
    # has Jaccard 0.2, one that shares one of ten has 0.1.
    connector = Chunk(id="connector", path="", text="Connector opens pools")
    registry = Chunk(id="registry", path="", text="Registry holds manifests, versions, lineage, owners, columns, sizes")
    junk = Chunk(id="junk", path="", text="bread recipes")
    result = sort_chunks(FOCUS, [junk, registry, connector], None)
    assert [one.chunk.id for one in result.kept] == ["connector"]
    assert [one.chunk.id for one in result.dropped] == ["junk", "registry"]
    scores = {one.chunk.id: round(one.score, 12) for one in (*result.kept, *result.dropped)}
    assert scores == {"connector": 0.68, "junk": 0.0, "registry": -0.46}
    assert result.threshold == 0.3


def test_a_chunk_of_the_focus_file_counts_its_path_and_prefix() -> None:
    one = scored(FOCUS, path="crates/queryd/src/db.rs", text="nothing shared here")
    assert signals(one) == {"path": 1.0, "shared_prefix": 0.3}
    assert one.score == 1.3


@pytest.mark.parametrize(
    "identifier", ["crates/queryd/src/db.rs#3", "doc:crates/queryd/src/db.rs", "a\\crates/queryd/src/db.rs"]
)
def test_a_path_inside_an_id_counts_as_path(identifier: str) -> None:
    assert signals(scored(FOCUS, id=identifier, text="nothing shared here")) == {"path": 1.0}


def test_a_longer_path_with_the_same_end_is_another_file() -> None:
    assert signals(scored(Focus(path="src/db.rs"), id="src/db.rs2", text="bread")) == {}


def test_a_text_that_names_the_file_counts() -> None:
    assert signals(scored(Focus(path="crates/queryd/src/db.rs"), text="see db.rs for pools")) == {"filename": 0.6}
    assert signals(scored(Focus(path="crates/queryd/src/db.rs"), text="see mydb.rs")) == {}


def test_a_file_of_the_same_crate_counts_its_prefix() -> None:
    assert signals(scored(FOCUS, path="crates/queryd/tests/x.rs", text="bread")) == {"shared_prefix": 0.3}
    assert signals(scored(FOCUS, path="crates/catalogd/src/db.rs", text="bread")) == {}


def test_listed_symbols_replace_those_of_the_text() -> None:
    focus = Focus(path="a.rs", text=FOCUS.text, defined=["Pool"], imported=["Connector"])
    assert signals(scored(focus, text="Pool"))["defined_symbol"] == 0.6
    assert signals(scored(focus, text="Connector"))["import_only"] == -0.5


def test_imports_beside_a_defined_symbol_cost_nothing() -> None:
    assert "import_only" not in signals(scored(FOCUS, text="Connector asks Registry"))


def test_a_symbol_inside_a_longer_word_is_not_mentioned() -> None:
    assert signals(scored(FOCUS, text="Connectors RegistryEntry")) == {}


def test_stop_words_do_not_count() -> None:
    one = scored(Focus(path="a.rs", text="pub fn and the return self"), text="and the return self with this")
    assert one.signals == []
    assert one.score == 0.0


def test_the_threshold_may_be_given_and_is_inclusive() -> None:
    chunks = [Chunk(id="1", path="crates/queryd/x.rs", text="bread")]
    assert len(sort_chunks(FOCUS, chunks, 0.3).kept) == 1
    assert len(sort_chunks(FOCUS, chunks, 0.31).dropped) == 1
    assert len(sort_chunks(FOCUS, chunks, 0.0).kept) == 1


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_that_is_no_number_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidArgument):
        sort_chunks(FOCUS, [], threshold)


@pytest.mark.parametrize(
    ("path", "text", "defined", "imported"),
    [
        (
            "a.rs",
            (
                "use a::b::{Entry, Store as Keeper, self};\n"
                "pub(crate) async fn open_pool() {}\nenum Kind {}\nconst LIMIT: u8 = 1;"
            ),
            {"open_pool", "Kind", "LIMIT"},
            {"Entry", "Store", "Keeper"},
        ),
        (
            "a.ts",
            (
                "import Base, { Reader as R2, type Chunk } from './x';\n"
                "export default class Loader {}\nexport const limit = 1;"
            ),
            {"Loader", "limit"},
            {"Base", "Reader", "Chunk"},
        ),
        (
            "a.py",
            (
                "from x.y import (\n    Reader,  # reads\n    write_all as dump,\n)\nimport numpy\n"
                "class Loader:\n    async def load(self): ..."
            ),
            {"Loader", "load"},
            {"Reader", "write_all", "dump", "numpy"},
        ),
        ("README", "def reader(): pass\nuse x::Writer;", {"reader"}, {"Writer"}),
    ],
)
def test_symbols_are_read_from_the_text(path: str, text: str, defined: set[str], imported: set[str]) -> None:
    assert defined_symbols(text, path) == defined
    assert imported_symbols(text, path) == imported


def test_words_are_lower_case_and_mean_something() -> None:
    assert words("The Connector of db and Connector_2 is ok") == {"connector", "connector_2"}
    assert {"the", "self", "return"} <= STOP_WORDS


@pytest.mark.parametrize(
    ("mode", "model", "force", "expected"),
    [
        ("lakehouse", "grok-4.1-fast", False, ISOLATION),
        ("lakehouse", "grok-4.1-fast", True, "lakehouse"),
        ("lakehouse", "qwen3.5:latest", False, "lakehouse"),
        ("lakehouse", "vendor/model:free", False, "lakehouse"),
        ("isolation", "grok-4.1-fast", False, "isolation"),
        ("pathway", "grok-4.1-fast", False, "pathway"),
    ],
)
def test_only_a_strong_model_is_downgraded(mode: str, model: str, force: bool, expected: str) -> None:
    decision = decide(mode, model, force=force, weak_models=WEAK_MODELS)
    assert decision.mode == expected
    assert decision.downgraded == (expected != mode)
    assert decision.reason


def test_a_configured_list_replaces_the_built_in_one() -> None:
    assert is_weak("tiny", ["tiny"])
    assert not is_weak("qwen3.5:latest", ["tiny"])
    assert is_weak("other:free", [])


@pytest.mark.parametrize(("mode", "model", "field"), [(" ", "m", "mode"), ("lakehouse", "", "model")])
def test_an_empty_mode_or_model_is_refused(mode: str, model: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        decide(mode, model, force=False, weak_models=())
    assert raised.value.violations[0].field == field


@pytest.mark.parametrize(("value", "forced"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False)])
def test_the_environment_decides_when_force_is_left_out(value: str, forced: bool) -> None:
    assert force_from({"LH_FORCE_FULL_ENRICHMENT": value}) is forced
    assert force_from({}) is False
