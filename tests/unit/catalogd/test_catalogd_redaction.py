"""No credential reaches a manifest, whatever form an address has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalogd.redaction import redacted

FORMS = [
    "postgres://alice:{}@db.example:5432/sales",
    "postgresql+psycopg://{}@db.example/sales?sslmode=require",
    "mysql://alice:{}@db.example/sales?charset=utf8",
    "jdbc:postgresql://db.example/sales?user=alice&password={}",
    "alice:{}@tcp(db.example:3306)/sales",
    "host=db.example user=alice password={} dbname=sales",
    "host=db.example password='{}' dbname=sales",
    "Server=db;User Id=alice;Pwd={};Database=sales",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core",
    "https://store.example/a.csv?X-Amz-Credential=abc&X-Amz-Signature={}",
    "https://store.example/a.csv?sv=1&sig={}",
    "https://alice:{}@store.example/a.csv",
    "read from https://store.example/@team/a.csv and postgres://alice:{}@db/sales",
    "aws_secret_access_key={} region=eu",
    '{{"api_key": "{}", "path": "/a.csv"}}',
    "clientSecret: {}",
    "Authorization: Bearer {}",
]
# What a password may hold inside an address without being escaped there.
PASSWORDS = st.text(st.sampled_from("abcXYZ0189!$*+,-._~@/%:()"), min_size=6, max_size=20)


@pytest.mark.parametrize("form", FORMS)
def test_a_password_is_gone_and_the_rest_still_says_where(form: str) -> None:
    text = redacted(form.format("hunter2secret"))
    assert "hunter2secret" not in text
    assert "***" in text
    assert any(
        word in text for word in ("db", "store.example", "core", "region=eu", "/a.csv", "client", "Authorization")
    )


@settings(deadline=None)
@given(st.sampled_from(FORMS), PASSWORDS)
def test_no_password_survives_in_any_form(form: str, password: str) -> None:
    # No form has a Q of its own: one that is left belongs to the password.
    assert "Q" not in redacted(form.format(f"Q{password}Q"))


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.builds(str.format, st.sampled_from(FORMS), PASSWORDS)))
def test_doing_it_twice_changes_nothing_more(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@settings(deadline=None)
@given(st.sampled_from(["a", "pass", "'", '"', "=", ":", "@", "://", " "]), st.integers(1, 4_096))
def test_long_texts_take_no_time(repeated: str, count: int) -> None:
    redacted(repeated * count)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "workers.csv",
        "/data/inbox/Größe 100%/a:b.csv",
        "https://store.example/@team/2024/a.csv",
        "https://store.example:8443/a.csv?page=2",
        "s3://bucket/dir@2024/a.parquet",
        "postgres://db.example:5432/sales",
        "alice@example.com",
        "public.workers",
        "design=4 keys=7 tokens=9",
    ],
)
def test_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text
