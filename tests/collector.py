"""A collector of traces: takes what a worker exports over OTLP/HTTP, and keeps it."""

from __future__ import annotations

import gzip
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """An endpoint for `OTEL_EXPORTER_OTLP_ENDPOINT`."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.url = ""
        self._text = ""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def of(self, trace_id: str, name: str = "") -> list[Span]:
        """The spans of a trace, or those with one name, by their start."""
        found = [span for span in self.spans if span.trace_id.hex() == trace_id and name in {"", span.name}]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    @property
    def text(self) -> str:
        """All that was exported, resources included."""
        return self._text

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()  # decompressed by aiohttp, if it was compressed
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        export = ExportTraceServiceRequest.FromString(body)
        for resource in export.resource_spans:
            self.resources.append(attributes(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self._text += str(export)
        return web.Response(body=b"", content_type="application/x-protobuf")


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes as a plain mapping."""
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    value: AnyValue = pair.value
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
