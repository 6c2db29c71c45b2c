"""The contract as the edge sees it: every method with its REST routes, read from a descriptor set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from lakehouse.options.v1 import options_pb2

from services.runtime.errors import FailedPrecondition

HTTP_BODY = "google.api.HttpBody"
DEFAULT_REQUEST_BYTES = 4 << 20
DEFAULT_TIMEOUT_SECONDS = 60

_JSON_EXPANSION = 8
"""How many bytes of JSON one byte of a message may need: a float takes 4, its decimals up to 20 and more."""
_JSON_LIMIT = 64 << 20
_VARIABLE = re.compile(r"\{(\w+)(?:=(\*\*|\*))?\}")


class ContractError(FailedPrecondition):
    """The descriptors hold something that the edge cannot serve; the message says what to change."""

    reason = "CONTRACT_NOT_SERVABLE"


@dataclass(frozen=True, slots=True)
class Route:
    """One REST route: `PUT /v1/objects/{key=**}`, and which field of the messages its bodies are."""

    verb: str
    path: str
    body: str
    """`*`, the name of a field, or empty."""
    response_body: str
    """The name of a field, or empty for the whole message."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the fields that the path gives."""
        return tuple(match[1] for match in _VARIABLE.finditer(self.path))

    @property
    def pattern(self) -> str:
        """A regular expression (RE2) for paths that take this route."""
        literal = 0
        parts = []
        for match in _VARIABLE.finditer(self.path):
            parts += [re.escape(self.path[literal : match.start()]), ".+" if match[2] == "**" else "[^/]+"]
            literal = match.end()
        return "".join([*parts, re.escape(self.path[literal:])])


@dataclass(frozen=True)
class Method:
    """One method, its routes, and how the contract wants it served."""

    descriptor: MethodDescriptor
    routes: tuple[Route, ...]
    rule: options_pb2.MethodRule
    idempotency: int

    @property
    def path(self) -> str:
        """The path of native calls: `/lakehouse.query.v1.QueryService/Query`."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def service(self) -> str:
        """The full name of the service."""
        return self.descriptor.containing_service.full_name

    @cached_property
    def is_retriable(self) -> bool:
        """Whether a second call after a failed one does no harm, and can be made: uploads pass only once."""
        return self.idempotency != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN and not self.streams_up

    @property
    def streams_up(self) -> bool:
        """Whether the request is a stream (an upload)."""
        return self.descriptor.client_streaming

    @property
    def streams_down(self) -> bool:
        """Whether the answer is a stream."""
        return self.descriptor.server_streaming

    @property
    def timeout_seconds(self) -> int:
        """How long the edge waits for an answer; streams have no such limit."""
        return self.rule.timeout_seconds or DEFAULT_TIMEOUT_SECONDS

    @property
    def request_bytes(self) -> int:
        """The largest request message."""
        return self.rule.max_request_bytes or DEFAULT_REQUEST_BYTES

    @property
    def json_bytes(self) -> int:
        """The largest JSON body: what the largest message may need, within what the edge can hold (X7)."""
        return min(self.request_bytes * _JSON_EXPANSION, _JSON_LIMIT)

    def body_type(self, route: Route) -> Descriptor | None:
        """The message that a route's request body is in JSON; None without a body and for raw bytes."""
        if route.body in ("", "*"):
            return self.descriptor.input_type if route.body else None
        field = self.descriptor.input_type.fields_by_name[route.body]
        return None if is_raw(field) else field.message_type

    def is_upload(self, route: Route) -> bool:
        """Whether the request body is raw bytes."""
        return route.body not in ("", "*") and is_raw(self.descriptor.input_type.fields_by_name[route.body])


def is_raw(field: FieldDescriptor) -> bool:
    """Whether a field holds bytes with a media type, sent and received as they are."""
    return field.message_type is not None and field.message_type.full_name == HTTP_BODY


class Contract:
    """Every service of a descriptor set that has at least one REST route, in order of names."""

    def __init__(self, descriptors: bytes) -> None:
        """Reads a serialised FileDescriptorSet with imports; raises ContractError for what cannot be served."""
        pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors).file
        for file in files:
            pool.AddSerializedFile(file.SerializeToString())
        found = (pool.FindFileByName(file.name) for file in files)
        services = [service for file in found for service in file.services_by_name.values()]
        self.methods: tuple[Method, ...] = tuple(_methods(sorted(services, key=lambda service: service.full_name)))
        _check(self.methods)

    @property
    def services(self) -> tuple[str, ...]:
        """The full names of the services."""
        return tuple(dict.fromkeys(method.service for method in self.methods))

    def routes(self) -> Iterator[tuple[Method, Route]]:
        """Yields every REST route with its method."""
        return ((method, route) for method in self.methods for route in method.routes)


def _methods(services: Iterable[ServiceDescriptor]) -> Iterator[Method]:
    for service in services:
        for descriptor in service.methods:
            options = descriptor.GetOptions()
            routes = tuple(_routes(options.Extensions[annotations_pb2.http]))
            if routes:
                rule = options.Extensions[options_pb2.method]
                yield Method(descriptor, routes, rule, options.idempotency_level)


def _routes(rule: http_pb2.HttpRule) -> Iterator[Route]:
    verb = rule.WhichOneof("pattern")
    if verb is not None:
        yield Route(verb.upper(), getattr(rule, verb), rule.body, rule.response_body)
        for extra in rule.additional_bindings:
            yield from _routes(extra)


def _check(methods: Iterable[Method]) -> None:
    taken: dict[tuple[str, str], str] = {}
    for method in methods:
        for route in method.routes:
            key = (route.verb, _VARIABLE.sub(lambda match: match[2] or "*", route.path))
            if key in taken:
                raise ContractError(f"{method.path} and {taken[key]} both serve {route.verb} {route.path}")
            taken[key] = method.path
            _check_route(method, route)


def _check_route(method: Method, route: Route) -> None:
    where = f"{method.path} ({route.verb} {route.path})"
    rest = _VARIABLE.sub("", route.path)
    if re.search(r"[^\w/.-]", rest) or "=**" in route.path[:-4]:
        # A custom verb (`:search`) would be taken for the end of a name such as `a:search` (X14).
        raise ContractError(f"{where}: use plain segments, {{name}}, and {{name=**}} at the end")
    for name in {*route.variables, route.body, route.response_body} - {"", "*"}:
        message = method.descriptor.output_type if name == route.response_body else method.descriptor.input_type
        if name not in message.fields_by_name:
            raise ContractError(f"{where}: {message.full_name} has no field {name}")
    if method.streams_up and not method.is_upload(route):
        raise ContractError(f"{where}: a streamed request must be a google.api.HttpBody field over REST")
