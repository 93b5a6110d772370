// One gRPC call made by hand, for message encodings that gRPC libraries do not offer. The framed message comes on
// standard input; prints the HTTP status with all headers and trailers as JSON.
// node raw_grpc.mjs http://127.0.0.1:4317 /package.Service/Method ENCODING
import { readFileSync } from "node:fs";
import { connect } from "node:http2";

const [origin, path, encoding] = process.argv.slice(2);
const session = connect(origin);
const request = session.request({
  ":method": "POST",
  ":path": path,
  "content-type": "application/grpc",
  "grpc-encoding": encoding,
  te: "trailers",
});
let fields = {};
request.on("response", (headers) => (fields = { ...fields, ...headers }));
request.on("trailers", (trailers) => (fields = { ...fields, ...trailers }));
request.on("end", () => {
  console.log(JSON.stringify({ ...fields, "grpc-message": decodeURIComponent(fields["grpc-message"] ?? "") }));
  session.close();
});
request.resume();
request.end(readFileSync(0));
