// One trace of two spans by the OpenTelemetry SDK through an exporter of another protocol; prints its id.
// node otel.js jaeger-http|jaeger-udp|zipkin 127.0.0.1 PORT
"use strict";
const { SpanKind, SpanStatusCode, context, trace } = require("@opentelemetry/api");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");

const [kind, host, port] = process.argv.slice(2);
function exporter() {
  if (kind === "zipkin") {
    const { ZipkinExporter } = require("@opentelemetry/exporter-zipkin");
    return new ZipkinExporter({ url: `http://${host}:${port}/api/v2/spans` });
  }
  const { JaegerExporter } = require("@opentelemetry/exporter-jaeger");
  if (kind === "jaeger-udp") return new JaegerExporter({ host, port: Number(port) });
  return new JaegerExporter({ endpoint: `http://${host}:${port}/api/traces` });
}
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": `node-${kind}`, "deployment.environment": "production" }),
  spanProcessors: [new BatchSpanProcessor(exporter())],
});
const tracer = provider.getTracer("tests", "1.2.3");
const root = tracer.startSpan("GET /cart", { kind: SpanKind.SERVER, attributes: { "http.status_code": 200, note: "grüße ☃" } });
const child = tracer.startSpan("SELECT", { kind: SpanKind.CLIENT }, trace.setSpan(context.active(), root));
child.addEvent("retry", { attempt: 2 });
child.setStatus({ code: SpanStatusCode.ERROR, message: "no such table" });
child.end();
root.end();
provider.shutdown().then(
  () => console.log(root.spanContext().traceId),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
