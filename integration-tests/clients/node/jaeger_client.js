// One trace of two spans by jaeger-client over UDP or HTTP; prints its id.
// node jaeger_client.js udp 127.0.0.1 6831 | node jaeger_client.js http 127.0.0.1 14268
"use strict";
const { initTracer } = require("jaeger-client");
const { Tags } = require("opentracing");

const [transport, host, port] = process.argv.slice(2);
const reporter = { logSpans: false, flushIntervalMs: 100 };
if (transport === "udp") Object.assign(reporter, { agentHost: host, agentPort: Number(port) });
else reporter.collectorEndpoint = `http://${host}:${port}/api/traces`;
const failures = [];
const tracer = initTracer(
  { serviceName: `node-jaeger-client-${transport}`, sampler: { type: "const", param: 1 }, reporter, traceId128bit: true },
  { logger: { info() {}, error: (text) => failures.push(text) } },
);
const root = tracer.startSpan("GET /users", {
  tags: { [Tags.SPAN_KIND]: Tags.SPAN_KIND_RPC_SERVER, [Tags.HTTP_METHOD]: "GET", [Tags.HTTP_STATUS_CODE]: 500 },
});
root.setTag(Tags.ERROR, true);
root.log({ event: "error", message: "no such user" });
const child = tracer.startSpan("call", { childOf: root, tags: { "downstream.success": false, [Tags.HTTP_STATUS_CODE]: 503 } });
child.finish();
root.finish();
tracer.close(() => {
  if (failures.length > 0) {
    console.error(failures);
    process.exit(1);
  }
  console.log(root.context().traceIdStr.padStart(32, "0"));
});
