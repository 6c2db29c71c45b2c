"""Writes what the edge's filter knows of the contract: a Lua table of routes and message types (X2).

The type of a value is `any`, `text`, `number`, `boolean`, `word` (an enum), the name of a message, or
the name of an entry in `maps` or `lists`, which tell the type of what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract import HTTP_BODY, Contract, Method, Route

LuaValue: TypeAlias = "str | int | bool | Sequence[LuaValue] | Mapping[str, LuaValue] | None"

_SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
    FieldDescriptor.CPPTYPE_ENUM: "word",
}
_TEXTS = ("Timestamp", "Duration", "FieldMask", "StringValue", "BytesValue")
_NUMBERS = ("Double", "Float", "Int32", "Int64", "UInt32", "UInt64")
_KNOWN_TYPES = {
    "google.protobuf.Value": "any",
    "google.protobuf.Any": "any",
    HTTP_BODY: "any",
    **{
        f"google.protobuf.{name}": "text"
        for name in ("Timestamp", "Duration", "FieldMask", "StringValue", "BytesValue")
    },
    **{f"google.protobuf.{name}Value": "number" for name in _NUMBERS},
    "google.protobuf.BoolValue": "boolean",
}


def edge_table(contract: Contract, token: str | None = None) -> str:
    """Returns edge.lua, which the filter loads. It holds the token, so whoever writes it keeps it private."""
    types = _Types()
    routes = [_route(method, route, types) for method, route in contract.routes()]
    public = [method for method in contract.methods if method.rule.public]
    return "return " + _lua(
        {
            "token": token,
            "public": {path: True for method in public for path in (method.path, *(r.path for r in method.routes))},
            "routes": routes,
            "messages": types.messages,
            "maps": types.maps,
            "lists": types.lists,
        }
    )


class _Types:
    """The message, map and list types reachable from requests, collected while routes are written."""

    def __init__(self) -> None:
        self.messages: dict[str, list[LuaValue]] = {}
        self.maps: dict[str, LuaValue] = {}
        self.lists: dict[str, LuaValue] = {}

    def message(self, message: Descriptor) -> str:
        if message.full_name not in self.messages:
            fields: list[LuaValue] = []
            self.messages[message.full_name] = fields  # before its fields, which may be of the same type
            fields += [[field.name, self._field(field)] for field in message.fields]
        return message.full_name

    def _field(self, field: FieldDescriptor) -> str:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            return self._derived("map", self.maps, message.fields_by_name["value"])
        return self._derived("list", self.lists, field) if field.is_repeated else self._single(field)

    def _derived(self, word: str, types: dict[str, LuaValue], of: FieldDescriptor) -> str:
        inner = self._single(of)
        name = f"{word} of {inner}"
        types[name] = inner
        return name

    def _single(self, field: FieldDescriptor) -> str:
        message = field.message_type
        if message is None:
            return _SCALARS.get(field.cpp_type, "number")
        if message.full_name == "google.protobuf.Struct":
            self.maps["map of any"] = "any"
            return "map of any"
        if message.full_name == "google.protobuf.ListValue":
            self.lists["list of any"] = "any"
            return "list of any"
        return _KNOWN_TYPES.get(message.full_name) or self.message(message)


def _route(method: Method, route: Route, types: _Types) -> LuaValue:
    body = method.body_type(route)
    request = types.message(method.descriptor.input_type)
    return {
        "verb": route.verb,
        "path": route.path,
        "given": [*route.variables, *({route.body} - {"", "*"})],
        "query": None if route.body == "*" else request,
        "body": None if body is None else types.message(body),
        "upload": method.is_upload(route),
        "limit": method.json_bytes,
        "tolerant": method.rule.tolerates_unknown_fields,
    }


def _lua(value: LuaValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + re.sub(r'[\x00-\x1f"\\\x7f]', lambda match: f"\\{ord(match[0]):03d}", value) + '"'
    if isinstance(value, Mapping):
        return (
            "{\n" + "".join(f"[{_lua(key)}]={_lua(item)},\n" for key, item in value.items() if item is not None) + "}"
        )
    if value is None:
        return "nil"
    return "{" + ",".join(map(_lua, value)) + "}"
