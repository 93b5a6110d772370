// One trace of two spans by zipkin-js over HTTP; prints its id. node zipkin.js http://127.0.0.1:9411/api/v2/spans v2|v1|default
"use strict";
const { Annotation, BatchRecorder, ExplicitContext, Tracer, jsonEncoder } = require("zipkin");
const { HttpLogger } = require("zipkin-transport-http");

const [endpoint, version] = process.argv.slice(2);
const logger = new HttpLogger({
  endpoint,
  ...({ v1: { jsonEncoder: jsonEncoder.JSON_V1 }, v2: { jsonEncoder: jsonEncoder.JSON_V2 } }[version] ?? {}),
  httpInterval: 50,
});
logger.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
const tracer = new Tracer({
  ctxImpl: new ExplicitContext(),
  recorder: new BatchRecorder({ logger }),
  localServiceName: `zipkin-js-${version}`,
  traceId128Bit: true,
});
let root;
tracer.scoped(() => {
  root = tracer.createRootId();
  tracer.setId(root);
  tracer.recordServiceName(tracer.localEndpoint.serviceName);
  tracer.recordRpc("get /orders");
  tracer.recordAnnotation(new Annotation.ServerRecv());
  tracer.recordBinary("http.status_code", "500");
  tracer.recordBinary("error", "no such order");
  tracer.scoped(() => {
    tracer.setId(tracer.createChildId());
    tracer.recordServiceName(tracer.localEndpoint.serviceName);
    tracer.recordRpc("select");
    tracer.recordAnnotation(new Annotation.ClientSend());
    tracer.recordAnnotation(new Annotation.ServerAddr({ serviceName: "postgres" }));
    tracer.recordAnnotation(new Annotation.ClientRecv());
  });
  tracer.setId(root);
  tracer.recordAnnotation(new Annotation.ServerSend());
});
// The logger's own timer does not keep the process alive.
setTimeout(() => {
  console.error("nothing was sent");
  process.exit(1);
}, 10_000);
logger.once("success", () => {
  console.log(root.traceId.padStart(32, "0"));
  process.exit(0);
});
