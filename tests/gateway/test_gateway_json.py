"""The edge takes strict JSON whose keys are the contract's (X2)."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Rest = httpx.AsyncClient


async def say(rest: Rest, body: str | bytes) -> httpx.Response:
    return await rest.post("/v1/say", content=body)


async def heard(rest: Rest, body: str | bytes) -> Any:
    answer = await say(rest, body)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["heard"])


def info_of(answer: httpx.Response) -> dict[str, Any]:
    info: dict[str, Any] = answer.json()["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert info["domain"] == "lakehouse"
    return info


async def test_a_body_reaches_the_daemon_as_it_was(rest: Rest) -> None:
    said = {"query_text": 'Größe € \U0001f600 "\\ /\n', "k": 3, "tags": ["a", ""], "items": [{"id": "1"}]}
    assert await heard(rest, json.dumps(said)) == said
    assert await heard(rest, json.dumps(said, ensure_ascii=False)) == said
    assert await heard(rest, json.dumps(said, indent="\t")) == said


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain", "application/json"])
async def test_any_content_type_will_do(rest: Rest, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await rest.post("/v1/say", content='{"k": 1}', headers=headers)
    assert answer.status_code == 200
    assert json.loads(answer.json()["heard"]) == {"k": 1}


@pytest.mark.parametrize("body", ["", "{}", " \r\n{\t} \n"])
async def test_an_empty_body_is_an_empty_message(rest: Rest, body: str) -> None:
    assert await heard(rest, body) == {}


@pytest.mark.requirement("X2")
@pytest.mark.parametrize(
    ("body", "field", "suggestion"),
    [
        ('{"query_txt": "x"}', "query_txt", "query_text"),
        ('{"queryText": "x"}', "queryText", "query_text"),
        ('{"query": "x"}', "query", "query_text"),
        ('{"items": [{}, {}, {"metdata": {}}]}', "items[2].metdata", "metadata"),
        ('{"first": {"answers": {"answers": {"vectr": []}}}}', "first.answers.answers.vectr", "vector"),
        ('{"phrases": {"a b": {"identifier": 1}}}', "phrases.a b.identifier", None),
        ('{"zzzzzzzz": 1}', "zzzzzzzz", None),
        ('{"": 1}', "", None),
        ('{"query_t\\u00e9xt": 1}', "query_téxt", "query_text"),
        ('{"\\ud83d\\ude00": 1}', "\U0001f600", None),
    ],
)
async def test_an_unknown_field_is_named_with_its_path(
    rest: Rest, body: str, field: str, suggestion: str | None
) -> None:
    answer = await say(rest, body)
    assert answer.status_code == 400
    info, violation = info_of(answer), answer.json()["details"][1]["field_violations"][0]
    assert (info["reason"], info["metadata"]["field"], violation["field"]) == ("UNKNOWN_FIELD", field, field)
    assert info["metadata"].get("suggestion") == suggestion
    assert (suggestion or "known are") in answer.json()["message"]


async def test_keys_of_free_values_belong_to_the_caller(rest: Rest) -> None:
    said = {
        "anything": {"any": {"key": [None, {"goes": True}]}},
        "items": [{"metadata": {"queryText": 1, "nested": {"": [[]]}}}],
        "counts": {"any word": 1},
    }
    assert (await heard(rest, json.dumps(said)))["items"] == [{"metadata": {"queryText": 1.0, "nested": {"": [[]]}}}]


async def test_escapes_in_keys_are_decoded(rest: Rest) -> None:
    assert await heard(rest, '{"\\u0071uery\\u005ftext": "x", "k": 2}') == {"query_text": "x", "k": 2}
    answer = await say(rest, '{"k": 1, "\\u006b": 2}')
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "DUPLICATE_FIELD")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"k": 1, "k": 1}', "k"),
        ('{"items": [{"id": "1"}, {"id": "1", "id": "2"}]}', "items[1].id"),
        ('{"anything": {"a": 1, "a": 2}}', "anything.a"),
    ],
)
async def test_a_repeated_key_is_refused(rest: Rest, body: str, field: str) -> None:
    answer = await say(rest, body)
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "DUPLICATE_FIELD")
    assert info_of(answer)["metadata"] == {"field": field}


@pytest.mark.parametrize(
    "body",
    [
        # Keys, quotes and commas.
        "{k: 1}", "{'k': 1}", "{\"tags\": ['a']}", '{"k": 1,}', '{"tags": ["a",]}', '{"tags": [,]}',
        '{"tags": ["a" "b"]}', '{"k" 1}', '{"k": }', '{"k"', '{"k":1"loud":true}', "{",
        # Numbers and words.
        '{"query_vector": [1,]}', '{"query_vector": [1.]}', '{"query_vector": [.5]}', '{"query_vector": [01]}',
        '{"query_vector": [+1]}', '{"query_vector": [1 2]}', '{"query_vector": [1,,2]}', '{"query_vector": [-]}',
        '{"query_vector": [1e]}', '{"query_vector": [0x10]}', '{"query_vector": [NaN]}', '{"query_vector": [1',
        '{"k": tru}', '{"k": True}', '{"k": nul',
        # More or other than one object.
        '{"k": 1} {}', '{"k": 1} x', '{"k": 1} // note', '{"k": /* note */ 1}', "# note\n{}", "[]", "1", '"x"', "null",
        "\ufeff{}", '{"k": 1}\x00', "\x00", " ",
        # Texts.
        '{"query_text": "a', '{"query_text": "\\x"}', '{"query_text": "\\u12"}', '{"query_text": "\\ud800"}',
        '{"query_text": "\\udc00"}', '{"query_text": "\\ud800\\u0041"}', '{"query_text": "a\nb"}',
        '{"query_text": "a\x00b"}', b'{"query_text": "\xff"}', b'{"query_text": "\xc0\xaf"}',
        b'{"query_text": "\xed\xa0\x80"}', b'{"query_text": "\xf4\x90\x80\x80"}', b'{"query_text": "\xe2\x82"}',
        b'{"query_text": "\x80"}', b'{"\xff": 1}',
    ],
)  # fmt: skip
async def test_what_is_not_json_is_refused(rest: Rest, body: str | bytes) -> None:
    answer = await say(rest, body)
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "MALFORMED_MESSAGE"), answer.text


@pytest.mark.parametrize("number", ["0", "-0", "1", "-12.5", "1e2", "1E+2", "0.5e-3", "123456.25"])
async def test_every_number_of_json_is_taken(rest: Rest, number: str) -> None:
    assert await heard(rest, f'{{"query_vector": [{number} , {number}]}}') == {"query_vector": [float(number)] * 2}


async def test_nesting_has_a_limit(rest: Rest) -> None:
    def nested(depth: int) -> str:
        return '{"anything": ' + "[" * depth + "]" * depth + "}"

    assert (await say(rest, nested(31))).status_code == 200
    for depth in (32, 200, 100_000):
        answer = await say(rest, nested(depth))
        assert (answer.status_code, info_of(answer)["reason"]) == (400, "MALFORMED_MESSAGE")
    answer = await say(rest, '{"anything": ' + '{"a":' * 50_000 + "1" + "}" * 50_001)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        # Told by the filter.
        ('{"k": true}', "k"), ('{"k": [1]}', "k"), ('{"k": {"a": 1}}', "k"), ('{"k": "x"}', "k"),
        ('{"loud": "maybe"}', "loud"), ('{"loud": 1}', "loud"), ('{"query_text": 5}', "query_text"),
        ('{"query_text": ["a"]}', "query_text"), ('{"tags": "a"}', "tags"), ('{"tags": [["a"]]}', "tags[0]"),
        ('{"tags": ["a", null]}', "tags[1]"), ('{"tags": {"a": 1}}', "tags"), ('{"query_vector": 5}', "query_vector"),
        ('{"query_vector": [1, 2, "q"]}', "query_vector[2]"), ('{"query_vector": [1, null]}', "query_vector[1]"),
        ('{"items": {}}', "items"), ('{"items": [null]}', "items[0]"), ('{"items": [[]]}', "items[0]"),
        ('{"items": [{}, {"vector": [1, true]}]}', "items[1].vector[1]"), ('{"first": []}', "first"),
        ('{"items": [{"metadata": []}]}', "items[0].metadata"), ('{"counts": [1]}', "counts"),
        ('{"counts": {"a": "x"}}', "counts.a"), ('{"counts": {"a": null}}', "counts.a"),
        ('{"phrases": {"a": 1}}', "phrases.a"), ('{"pause": 5}', "pause"), ('{"raw": 5}', "raw"),
        # Told by the transcoder.
        ('{"k": 2.5}', "k"), ('{"k": 99999999999}', "k"), ('{"size": 1e30}', "size"), ('{"pause": "soon"}', "pause"),
        ('{"raw": "***"}', "raw"), ('{"items": [{}, {"vector": [1, 1e39]}]}', "items[1].vector"),
    ],
)  # fmt: skip
async def test_a_value_of_the_wrong_sort_is_named(rest: Rest, body: str, field: str) -> None:
    answer = await say(rest, body)
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "INVALID_ARGUMENT"), answer.text
    assert answer.json()["details"][1]["field_violations"][0]["field"] == field


async def test_large_numbers_may_be_texts(rest: Rest) -> None:
    said = '{"size": "9007199254740993", "k": "5", "query_vector": ["Infinity", "-0.5", "NaN"]}'
    heard_back = await heard(rest, said)
    assert (heard_back["size"], heard_back["k"]) == ("9007199254740993", 5)
    assert heard_back["query_vector"] == ["Infinity", -0.5, "NaN"]


async def test_null_leaves_a_field_unset(rest: Rest) -> None:
    assert await heard(rest, '{"k": null, "first": null, "anything": [null]}') == {"anything": [None]}


async def test_a_field_given_by_the_path_is_not_taken_from_the_body(rest: Rest) -> None:
    answer = await rest.post("/v1/rooms/a/say", content='{"room": "b"}')
    assert (answer.status_code, info_of(answer)["metadata"]["field"]) == (400, "room")
    answer = await rest.post("/v1/rooms/a/say", content='{"k": 1}')
    assert json.loads(answer.json()["heard"]) == {"room": "a", "k": 1}


async def test_a_body_that_is_one_field_is_checked_as_that_field(rest: Rest) -> None:
    answer = await rest.put("/v1/rooms/a/first?k=2", content='{"id": "1", "metadata": {"x": 1}}')
    assert json.loads(answer.json()["heard"]) == {"room": "a", "k": 2, "first": {"id": "1", "metadata": {"x": 1.0}}}
    answer = await rest.put("/v1/rooms/a/first", content='{"first": {}}')
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "UNKNOWN_FIELD")


async def test_a_tolerant_method_lets_unknown_fields_through(rest: Rest) -> None:
    answer = await rest.post("/v1/chat", content='{"model": "m", "stream_options": {"a": 1}, "n": 1}')
    assert (answer.status_code, answer.json()) == (200, {"model": "m"})
    answer = await rest.post("/v1/chat", content='{"model": "m",}')
    assert answer.status_code == 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
ONE_CHARACTER = st.sampled_from([*'{}[]:,"\\/ \t\n0123456789.-+eEtrufalsn', "'", "\x00", "é", "\ud800", "u00e9"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, places=st.lists(st.tuples(st.floats(0, 1), ONE_CHARACTER, st.booleans()), max_size=3))
async def test_the_edge_and_python_agree_on_what_json_is(
    rest: Rest, value: Any, places: list[tuple[float, str, bool]]
) -> None:
    text = json.dumps({"anything": value}, ensure_ascii=len(places) % 2 == 0)
    for place, character, replaces in places:
        at = int(place * len(text))
        text = text[:at] + character + text[at + replaces :]
    body = text.encode("utf-8", "surrogatepass")
    answer = await rest.post("/v1/chat", content=body)
    assert (answer.status_code == 200) == is_strict_json(body), (body, answer.text)


def is_strict_json(body: bytes) -> bool:
    """Whether a body is an object as the edge takes it, by Python's reading."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("repeated key")
        return dict(pairs)

    def refuse(word: str) -> None:
        raise ValueError(word)

    def within_range(digits: str) -> float:
        if math.isinf(number := float(digits)):
            raise ValueError(digits)
        return number

    if not body:
        return True
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=members,
            parse_constant=refuse,
            parse_float=within_range,
            parse_int=within_range,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return isinstance(value, dict)
