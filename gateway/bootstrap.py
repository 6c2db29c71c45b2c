"""Generates Envoy's configuration from the contract, the backends and the settings of the edge.

Nothing secret is in it: Envoy prints a configuration it cannot read. The token is in edge.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from gateway.config import Backend, EdgeConfig
from gateway.contract import Contract, ContractError, Method, Route
from services.runtime.auth import networks

Json: TypeAlias = dict[str, Any]

JSON_BYTES = 32 << 20
"""The limit of JSON bodies where a route has none of its own."""
RESPONSE_BYTES = 64 << 20
"""The limit of unary answers: as large as a message can be."""
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 8 << 20
CONNECTION_IDLE_SECONDS = 60
HEADERS_SECONDS = 15
DESCRIPTORS_FILE = "descriptors.binpb"
FILTER_FILE = "filter.lua"

_EXPOSED_HEADERS = "etag,retry-after,x-lakehouse-request-id,x-lakehouse-trace-id,grpc-status,grpc-message"
_ALLOWED_HEADERS = (
    "authorization,content-type,if-none-match,traceparent,tracestate,"
    "x-lakehouse-bucket,x-lakehouse-request-id,x-lakehouse-trace-id,x-grpc-web,grpc-timeout"
)


def bootstrap(contract: Contract, backends: Sequence[Backend], config: EdgeConfig, admin: Json) -> Json:
    """Returns the bootstrap. Raises ContractError when a backend's service is not in the contract."""
    unknown = sorted({backend.service for backend in backends} - set(contract.services))
    if unknown:
        raise ContractError(f"no method of {', '.join(unknown)} is in the descriptor set: run `make gen`")
    return {
        "admin": {"address": admin, "profile_path": "/dev/null"},
        "overload_manager": _overload_manager(config),
        # What a large body needed goes back to the system soon after it.
        "memory_allocator_manager": {"bytes_to_release": 32 << 20, "memory_release_interval": "1s"},
        "static_resources": {
            "listeners": [_listener(contract, backends, config)],
            "clusters": [_cluster(backend) for backend in backends],
        },
    }


def _typed(kind: str, **fields: Any) -> Json:
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _seconds(number: float) -> str:
    return f"{number}s"


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}


_CALL_HEADERS = [
    _header("x-lakehouse-request-id", "%REQ(X-LAKEHOUSE-REQUEST-ID?X-REQUEST-ID)%"),
    _header("x-lakehouse-trace-id", "%REQ(X-LAKEHOUSE-TRACE-ID)%"),
]
"""What every answer tells about its call, Envoy's own ones included."""

_ANY_ERROR = {
    "status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "edge"}}}
}


# ---- The listener and what every request passes ----


def _listener(contract: Contract, backends: Sequence[Backend], config: EdgeConfig) -> Json:
    return {
        "name": "edge",
        "address": _address(config.host, config.port),
        # A second Envoy on the port must fail, not share it in silence.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": STREAM_WINDOW,
        "filter_chains": [{"filters": [_connection_manager(contract, backends, config)]}],
    }


def _named(name: str, config: Json) -> Json:
    return {"name": name, "typed_config": config}


def _connection_manager(contract: Contract, backends: Sequence[Backend], config: EdgeConfig) -> Json:
    manager = _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        codec_type="AUTO",
        # Makes x-envoy-external-address the caller's own, whatever it sent (X4).
        use_remote_address=True,
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        common_http_protocol_options={
            "idle_timeout": _seconds(CONNECTION_IDLE_SECONDS),
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        http2_protocol_options=_http2(),
        max_request_headers_kb=64,
        request_headers_timeout=_seconds(HEADERS_SECONDS),
        server_name="lakehouse",
        local_reply_config={"mappers": [{"filter": _ANY_ERROR, "headers_to_add": _CALL_HEADERS}]},
        route_config=_route_config(contract, backends, config),
        http_filters=_http_filters(contract, backends, config),
    )
    return _named("envoy.filters.network.http_connection_manager", manager)


def _http2() -> Json:
    return {
        "max_concurrent_streams": 256,
        "initial_stream_window_size": STREAM_WINDOW,
        "initial_connection_window_size": CONNECTION_WINDOW,
    }


def _http_filters(contract: Contract, backends: Sequence[Backend], config: EdgeConfig) -> list[Json]:
    filters = [
        _named("envoy.filters.http.lua", _filter()),
        _named("envoy.filters.http.grpc_json_transcoder", _transcoder(backends)),
        _named("envoy.filters.http.router", _typed("extensions.filters.http.router.v3.Router")),
    ]
    if config.allowlist:
        filters.insert(0, _named("envoy.filters.http.rbac", _allowlist(contract, config)))
    if config.cors_origins:
        filters.insert(0, _named("envoy.filters.http.cors", _typed("extensions.filters.http.cors.v3.Cors")))
    return filters


def _filter() -> Json:
    return _typed(
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"filename": FILTER_FILE},
        clear_route_cache=False,
    )


def _transcoder(backends: Sequence[Backend]) -> Json:
    return _typed(
        "extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=DESCRIPTORS_FILE,
        services=[backend.service for backend in backends],
        convert_grpc_status=True,
        url_unescape_spec="ALL_CHARACTERS",
        # HTTP clients and forms write a space in a query as "+", and a plus sign as "%2B".
        query_param_unescape_plus=True,
        max_response_body_size=RESPONSE_BYTES,
        print_options={"always_print_primitive_fields": True, "preserve_proto_field_names": True},
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
    )


def _allowlist(contract: Contract, config: EdgeConfig) -> Json:
    public = [method for method in contract.methods if method.rule.public]
    paths = [path for method in public for path in (method.path, *(route.path for route in method.routes))]
    callers = [
        {"direct_remote_ip": {"address_prefix": str(entry.network_address), "prefix_len": entry.prefixlen}}
        for entry in networks(config.allowlist, "auth.allowlist")
    ]
    policies: Json = {"callers": {"permissions": [{"any": True}], "principals": callers}}
    if paths:
        permissions = [{"url_path": {"path": {"exact": path}}} for path in paths]
        policies["public"] = {"permissions": permissions, "principals": [{"any": True}]}
    return _typed("extensions.filters.http.rbac.v3.RBAC", rules={"action": "ALLOW", "policies": policies})


# ---- Routes ----

_PLAIN = {
    "name": "content-type",
    "string_match": {"prefix": "application/grpc"},
    "treat_missing_header_as_empty": True,
    "invert_match": True,
}
"""Matches requests before transcoding; what leaves the transcoder is native gRPC."""


def _route_config(contract: Contract, backends: Sequence[Backend], config: EdgeConfig) -> Json:
    clusters = {backend.service: backend.name for backend in backends}
    served = [method for method in contract.methods if method.service in clusters]
    routes: list[Json] = []
    for method in served:
        routes.append(_native_route(method, clusters[method.service], config))
        routes += [_plain_route(_path_match(route), method.json_bytes, backends[0]) for route in _limited(method)]
    routes.append(_plain_route({"prefix": "/"}, JSON_BYTES, backends[0]))
    host: Json = {
        "name": "edge",
        "domains": ["*"],
        "routes": routes,
        "request_headers_to_add": [_header("x-lakehouse-request-id", "%REQ(X-REQUEST-ID)%")],
        "response_headers_to_add": _CALL_HEADERS,
    }
    if config.cors_origins:
        host["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(config)}
    return {"name": "edge", "virtual_hosts": [host]}


def _native_route(method: Method, cluster: str, config: EdgeConfig) -> Json:
    """The route of a call, native or transcoded. Silence ends it only after its own time-out could."""
    timeout = 0 if method.streams_down else method.timeout_seconds
    idle = config.stream_idle_seconds if method.streams_down else max(timeout, CONNECTION_IDLE_SECONDS) + 5
    action: Json = {"cluster": cluster, "timeout": _seconds(timeout), "idle_timeout": _seconds(idle)}
    if method.is_retriable:
        action["retry_policy"] = {
            "retry_on": "unavailable,connect-failure,refused-stream,reset-before-request",
            "num_retries": 2,
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
        }
    return {"match": {"path": method.path}, "route": action}


def _limited(method: Method) -> list[Route]:
    """The routes whose JSON bodies have a limit of their own."""
    if method.json_bytes == JSON_BYTES:
        return []
    return [route for route in method.routes if method.body_type(route) is not None]


def _path_match(route: Route) -> Json:
    match: Json = {"safe_regex": {"regex": route.pattern}} if route.variables else {"path": route.path}
    return match


def _plain_route(match: Json, limit: int, backend: Backend) -> Json:
    """Sets how much of a body may be buffered ahead of the transcoder, which then finds the real route (X7)."""
    return {
        "match": {**match, "headers": [_PLAIN]},
        "route": {"cluster": backend.name},
        "request_body_buffer_limit": limit,
    }


def _cors(config: EdgeConfig) -> Json:
    origins = [{"prefix": ""} if origin == "*" else {"exact": origin} for origin in config.cors_origins]
    return _typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origins,
        allow_methods="GET,POST,PUT,PATCH,DELETE",
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
        max_age="600",
    )


# ---- Backends ----


def _cluster(backend: Backend) -> Json:
    return {
        "name": backend.name,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": STREAM_WINDOW,
        "load_assignment": {
            "cluster_name": backend.name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(backend.host, backend.port)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http2_protocol_options": _http2()},
            )
        },
        # The only endpoint, when unhealthy, is not tried all the same: callers hear it at once.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "5s",
                "interval": "2s",
                "no_traffic_interval": "1s",
                "unhealthy_interval": "0.5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": backend.service},
            }
        ],
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": 256, "max_pending_requests": 1024, "max_requests": 2048, "max_retries": 16}
            ]
        },
    }


def _overload_manager(config: EdgeConfig) -> Json:
    """Sheds load in steps as the heap fills, so that no number of large bodies ends the process (X7)."""

    def at(threshold: float) -> list[Json]:
        return [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}]

    heap = _typed("extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=config.heap_bytes)
    open_connections = _typed(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=config.connections,
    )
    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [
            _named("envoy.resource_monitors.fixed_heap", heap),
            _named("envoy.resource_monitors.global_downstream_max_connections", open_connections),
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": at(0.8)},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": at(0.95)},
        ],
    }
