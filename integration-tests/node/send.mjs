// Sends one trace of two spans with the OpenTelemetry SDK over OTLP/HTTP JSON and prints its id.
// node send.mjs http://127.0.0.1:4318/v1/traces [gzip]
import { SpanKind, SpanStatusCode, context, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [url, compression = "none"] = process.argv.slice(2);
const exporter = new OTLPTraceExporter({ url, compression });
const failures = [];
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node-shop", "node.flag": true }),
  spanProcessors: [
    new BatchSpanProcessor({
      export: (spans, done) =>
        exporter.export(spans, (result) => {
          if (result.code !== 0) failures.push(result.error);
          done(result);
        }),
      shutdown: () => exporter.shutdown(),
      forceFlush: () => exporter.forceFlush(),
    }),
  ],
});
const tracer = provider.getTracer("node-test", "1.2.3");

const root = tracer.startSpan("GET /cart", {
  kind: SpanKind.SERVER,
  attributes: { "http.status_code": 200, ratio: 0.5, cached: false, tags: ["a", "b"], note: "grüße ☃" },
});
const child = tracer.startSpan("SELECT", { kind: SpanKind.CLIENT }, trace.setSpan(context.active(), root));
child.recordException(new Error("no such table"));
child.setStatus({ code: SpanStatusCode.ERROR, message: "no such table" });
child.end();
root.end();
await provider.shutdown();
if (failures.length > 0) {
  console.error(failures);
  process.exit(1);
}
console.log(root.spanContext().traceId);
