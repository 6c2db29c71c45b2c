"""SQL text, the settings of the instance, and what errors say."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.queryd import sql
from services.queryd.config import QueryConfig
from services.queryd.database import Database
from services.queryd.errors import InvalidQuery, OutOfMemory, UnknownTable
from services.queryd.faults import DataFault, EngineBroken, translate

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.requirement("X14")
@given(TEXT)
def test_any_name_and_any_text_survive_quoting(text: str) -> None:
    relation = duckdb.sql(f"SELECT {sql.literal(text)} AS {sql.identifier(text)}")
    assert (relation.columns, relation.fetchall()) == ([text], [(text,)])


@given(st.lists(TEXT, max_size=5))
def test_any_names_can_be_listed(names: list[str]) -> None:
    assert duckdb.sql(sql.list_names(names)).fetchall() == [(name,) for name in names]


@pytest.mark.parametrize("name", ["plain", "c*[a]?", "it's", "x=1", "{a,b}", "é ü", 'say "hi"', "~", "%2F;"])
def test_a_data_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    files = tmp_path / name / "cache"
    files.mkdir(parents=True)
    duckdb.sql("SELECT 1 AS a").write_parquet(str(tmp_path / "f.parquet"))
    (tmp_path / "f.parquet").rename(files / "f.parquet")
    database = Database(files=files, spill=tmp_path / "spill", config=QueryConfig())
    session = database.acquire()
    session.cursor.execute(sql.create_view("v", [files / "f.parquet"]))
    assert session.cursor.execute("FROM v").fetchall() == [(1,)]
    assert [name for name, _ in session.bind("FROM v")] == ["a"]
    database.close()


@pytest.mark.requirement("Q4")
def test_the_instance_is_hardened(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    config = QueryConfig(memory_limit_bytes=100 << 20, spill_limit_bytes=10 << 20, threads=1)
    database = Database(files=tmp_path / "cache", spill=tmp_path / "spill", config=config)
    rows = database.cursor().execute("SELECT name, value FROM duckdb_settings()").fetchall()
    settings: dict[str, str] = dict(rows)
    expected = {
        **dict.fromkeys(
            ("enable_external_access", "python_enable_replacements", "allow_community_extensions"), "false"
        ),
        **dict.fromkeys(("autoinstall_known_extensions", "autoload_known_extensions"), "false"),
        **dict.fromkeys(("allow_persistent_secrets", "allow_unsigned_extensions", "allow_unredacted_secrets"), "false"),
        "lock_configuration": "true",
        # DuckDB itself adds the directory it spills to.
        "allowed_directories": f"[{tmp_path / 'cache'}/, {tmp_path / 'spill'}/]",
        "allowed_paths": "[]",
        "memory_limit": "100.0 MiB",
        "max_temp_directory_size": "10.0 MiB",
        "threads": "1",
        "TimeZone": "UTC",
    }
    assert {name: settings[name].replace("Etc/", "") for name in expected} == expected
    database.close()


@pytest.mark.requirement("Q5", "X9")
@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ('Cannot open file "/data/ä ö/cache/x.parquet": gone', "cache"),
        ("Cannot open file '/data/cache/x.parquet'", "cache"),
        ("Cannot open /data/queryd/cache/x.parquet: gone", "queryd"),
        ("cannot reach postgres://user:pass@host/db", "pass"),
        ("failed in " + "ab" * 32 + ".parquet", "abab"),
    ],
)
def test_messages_hide_paths_and_credentials(text: str, hidden: str) -> None:
    error = translate(duckdb.Error(f"Binder Error: {text}"))
    assert isinstance(error, InvalidQuery)
    assert hidden not in error.message


@pytest.mark.requirement("Q5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Out of Memory Error: {"exception_type":"Out of Memory","exception_message":"no\\n\\nPossible solutions"}',
            OutOfMemory,
        ),
        ('INTERNAL Error: {"exception_type":"INTERNAL","exception_message":"assertion\\nStack"}', EngineBroken),
        ('FATAL Error: {"exception_type":"FATAL","exception_message":"invalidated"}', EngineBroken),
        ("FATAL Error: the database has been invalidated", EngineBroken),
        ('{"exception_type":"Catalog","exception_message":"no","type":"Table","name":"t"}', UnknownTable),
        ("Conversion Error: plain text", InvalidQuery),
        ("Invalid Input Error: {not json", InvalidQuery),
        ("no shape at all", InvalidQuery),
    ],
)
def test_every_shape_of_error_is_understood(text: str, expected: type[Exception]) -> None:
    error = translate(duckdb.Error(text))
    assert type(error) is expected
    assert "Possible solutions" not in str(error)


def test_an_error_about_a_data_file_names_the_file() -> None:
    error = translate(duckdb.Error(f'IO Error: cannot open "/x/cache/{"a" * 64}.parquet"'))
    assert isinstance(error, DataFault)
    assert (error.sha256, "cache" in error.message) == ("a" * 64, False)


@pytest.mark.requirement("X10")
@pytest.mark.parametrize("setting", ["statement_timeout", "row_limit", "workers", "cache_bytes", "refresh_every"])
def test_a_setting_that_cannot_be_used_is_named(setting: str) -> None:
    with pytest.raises(ValueError, match=rf"^{setting}: "):
        QueryConfig(**{setting: 0})
    with pytest.raises(ValueError, match=r"^threads: "):
        QueryConfig(threads=-1)
