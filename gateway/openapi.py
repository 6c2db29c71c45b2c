"""Writes the contract as OpenAPI 3.1: `python -m gateway.openapi gen/openapi.yaml`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.api import http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract import Contract, Method, Route, is_raw
from gateway.json_schema import KNOWN_TYPES, Json, Schemas, is_required

ROOT = Path(__file__).resolve().parent.parent

_ERRORS = "google/rpc/error_details.proto"
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_ERROR_SCHEMAS = """
ErrorInfo:
  type: object
  description: Why, for programs.
  required: ["@type", reason, domain, metadata]
  properties:
    "@type": {const: type.googleapis.com/google.rpc.ErrorInfo}
    reason: {type: string, description: One of the documented reasons.}
    domain: {const: lakehouse}
    metadata: {type: object, additionalProperties: {type: string}, description: What the message names.}
BadRequest:
  type: object
  description: Which fields are bad.
  required: ["@type", field_violations]
  properties:
    "@type": {const: type.googleapis.com/google.rpc.BadRequest}
    field_violations:
      type: array
      items:
        type: object
        properties: {field: {type: string}, description: {type: string}, reason: {type: string}}
Error:
  type: object
  description: The one shape of an error.
  required: [code, message, details]
  properties:
    code: {type: integer, description: A google.rpc.Code.}
    message: {type: string, description: What to do about it. The wording may change.}
    details:
      type: array
      items:
        anyOf: [{$ref: "#/components/schemas/ErrorInfo"}, {$ref: "#/components/schemas/BadRequest"}]
"""


def describe(proto: Path) -> bytes:
    """Compiles every contract below `proto` to a FileDescriptorSet with imports and comments."""
    contracts = [str(path.relative_to(proto)) for path in sorted(proto.rglob("*.proto"))]
    installed = Path(http_pb2.__file__).parents[2]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto}", f"-I{installed}", "--include_imports"]
    command += ["--include_source_info", "--descriptor_set_out=/dev/stdout", *contracts, _ERRORS]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def document(descriptors: bytes, version: str) -> Json:
    """Returns the OpenAPI document of a FileDescriptorSet with comments."""
    contract, schemas = Contract(descriptors), Schemas(descriptors)
    paths: Json = {}
    for method, route in sorted(contract.routes(), key=lambda pair: pair[1].path):
        path = re.sub(r"=[^}]*", "", route.path)
        paths.setdefault(path, {})[route.verb.lower()] = _operation(schemas, method, route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lakehouse", "version": version},
        "servers": [{"url": "http://127.0.0.1:3110"}],
        "security": [{}, {"token": []}],
        "tags": [{"name": _word(name), "description": schemas.comment(name)} for name in contract.services],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": _answer("What went wrong.", {"$ref": "#/components/schemas/Error"})},
            "schemas": {**yaml.safe_load(_ERROR_SCHEMAS), **dict(sorted(schemas.components.items()))},
        },
    }


def _word(service: str) -> str:
    """lakehouse.vector.v1.VectorService -> vector"""
    return service.split(".")[-3]


def _operation(schemas: Schemas, method: Method, route: Route) -> Json:
    comment = schemas.comment(method.descriptor.full_name)
    summary, _, description = (*re.split(r"\.(\s+|$)", comment, maxsplit=1), "", "")[:3]
    number = method.routes.index(route) + 1
    return {
        "operationId": f"{_word(method.service)}.{method.descriptor.name}{number if number > 1 else ''}",
        "tags": [_word(method.service)],
        "summary": f"{summary}.",
        **({"description": description} if description else {}),
        "parameters": list(_parameters(schemas, method.descriptor.input_type, route)),
        **({"requestBody": _body(schemas, method, route)} if route.body else {}),
        "responses": _answers(schemas, method, route, comment),
        **({"security": []} if method.rule.public else {}),
    }


def _parameters(schemas: Schemas, request: Descriptor, route: Route) -> Iterator[Json]:
    for name in route.variables:
        parameter = _parameter(schemas, request.fields_by_name[name], name, "path")
        if f"{{{name}=**}}" in route.path:
            parameter["description"] += " It may hold slashes."
        yield {**parameter, "required": True}
    if route.body != "*":
        taken = (*route.variables, route.body)
        yield from _query(schemas, [field for field in request.fields if field.name not in taken])


def _query(schemas: Schemas, fields: list[FieldDescriptor], prefix: str = "") -> Iterator[Json]:
    """Parameters for every field that is one value or a list of them, and for those one message further down."""
    for field in fields:
        message = field.message_type
        if message is None or KNOWN_TYPES.get(message.full_name, {}).get("type") == "string":
            yield _parameter(schemas, field, prefix + field.name, "query")
        elif not prefix and not field.is_repeated and message.full_name not in KNOWN_TYPES:
            yield from _query(schemas, list(message.fields), f"{field.name}.")


def _parameter(schemas: Schemas, field: FieldDescriptor, name: str, place: str) -> Json:
    schema = schemas.field(field)
    description = schema.pop("description", "")
    required = {"required": True} if is_required(field) else {}
    return {"name": name, "in": place, "description": description, **required, "schema": schema}


def _body(schemas: Schemas, method: Method, route: Route) -> Json:
    message = method.body_type(route)
    if message is None:
        return {"required": True, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
    schema = schemas.message(message, leave_out=route.variables) if route.variables else schemas.reference(message)
    if method.rule.tolerates_unknown_fields:
        schema = {**schemas.message(message, leave_out=route.variables), "additionalProperties": True}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _answers(schemas: Schemas, method: Method, route: Route, comment: str) -> Json:
    message = method.descriptor.output_type
    field = message.fields_by_name.get(route.response_body)
    description = schemas.comment(message.full_name) or "OK."
    if field is not None and is_raw(field):
        success = _answer(description, {"type": "string", "format": "binary"}, "*/*")
    else:
        schema = schemas.reference(message)
        success = _answer(description, {"type": "array", "items": schema} if method.streams_down else schema)
    statuses = {_STATUSES[code] for code in re.findall(r"\b[A-Z_]+\b", comment) if code in _STATUSES}
    error = {"$ref": "#/components/responses/Error"}
    return {"200": success, **{str(status): error for status in sorted(statuses)}, "default": error}


def _answer(description: str, schema: Json, media: str = "application/json") -> Json:
    return {"description": description, "content": {media: {"schema": schema}}}


class _Dumper(yaml.SafeDumper):
    """Writes every value where it is used, and texts of several paragraphs as they read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def main() -> None:
    """Writes the document to the file named by the only argument."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    written = document(describe(ROOT / "proto"), version)
    text = yaml.dump(written, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
