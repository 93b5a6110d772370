"""One trace of two spans by the OpenTelemetry SDK; prints its id.

Arguments: exporter (jaeger-udp, jaeger-http, zipkin), host, port."""
import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


def exporter():
    if kind == "jaeger-udp":
        from opentelemetry.exporter.jaeger.thrift import JaegerExporter
        return JaegerExporter(agent_host_name=host, agent_port=port)
    if kind == "jaeger-http":
        from opentelemetry.exporter.jaeger.thrift import JaegerExporter
        return JaegerExporter(collector_endpoint=f"http://{host}:{port}/api/traces?format=jaeger.thrift")
    if kind == "zipkin":
        from opentelemetry.exporter.zipkin.json import ZipkinExporter
        return ZipkinExporter(endpoint=f"http://{host}:{port}/api/v2/spans")
    raise SystemExit(f"no exporter {kind}")


provider = TracerProvider(resource=Resource.create({"service.name": f"python-{kind}"}))
provider.add_span_processor(BatchSpanProcessor(exporter()))
tracer = provider.get_tracer("tests", "1.2.3")
with tracer.start_as_current_span("get_users", kind=SpanKind.SERVER) as root:
    root.set_attribute("user.count", 100)
    with tracer.start_as_current_span("database_query", kind=SpanKind.CLIENT) as child:
        child.set_attribute("db.system", "postgresql")
        child.record_exception(ValueError("no such table"))
        child.set_status(Status(StatusCode.ERROR, "no such table"))
provider.shutdown()
print(format(root.get_span_context().trace_id, "032x"))
