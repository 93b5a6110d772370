"""One trace of two spans by py_zipkin over HTTP; prints its id. Arguments: encoding (v1-json, v2-json, v2-proto), host, port."""
import sys

import requests
from py_zipkin import Encoding, Kind
from py_zipkin.transport import BaseTransportHandler
from py_zipkin.util import generate_random_64bit_string, generate_random_128bit_string
from py_zipkin.zipkin import ZipkinAttrs, zipkin_client_span, zipkin_span

encoding, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
CHOICES = {
    "v1-json": (Encoding.V1_JSON, "/api/v1/spans", "application/json"),
    "v2-json": (Encoding.V2_JSON, "/api/v2/spans", "application/json"),
    "v2-proto": (Encoding.V2_PROTO3, "/api/v2/spans", "application/x-protobuf"),
}
form, path, media_type = CHOICES[encoding]


class Http(BaseTransportHandler):
    def get_max_payload_bytes(self):
        return None

    def send(self, payload):
        answer = requests.post(f"http://{host}:{port}{path}", data=payload, headers={"Content-Type": media_type}, timeout=10)
        assert answer.status_code == 202, (answer.status_code, answer.text)


trace_id = generate_random_128bit_string()
attributes = ZipkinAttrs(trace_id=trace_id, span_id=generate_random_64bit_string(), parent_span_id=None, flags="0", is_sampled=True)
with zipkin_span(
    service_name=f"py-zipkin-{encoding}", span_name="get /users", transport_handler=Http(), zipkin_attrs=attributes,
    kind=Kind.SERVER, encoding=form, port=8080, host="127.0.0.1",
) as root:
    root.update_binary_annotations({"http.method": "GET"})
    with zipkin_client_span(service_name="database", span_name="select", encoding=form) as child:
        child.update_binary_annotations({"error": "timeout"})
        child.add_sa_binary_annotation(port=5432, service_name="postgres", host="127.0.0.2")
print(trace_id)
