"""One trace of two spans by jaeger-client over UDP; prints its id. Arguments: host of the agent, its port."""
import logging
import sys
import time

from jaeger_client import Config

host, port = sys.argv[1], int(sys.argv[2])
logging.basicConfig(level=logging.WARNING)
config = Config(
    config={"sampler": {"type": "const", "param": 1}, "local_agent": {"reporting_host": host, "reporting_port": port}},
    service_name="python-jaeger-client", validate=True)
tracer = config.initialize_tracer()
with tracer.start_span("GET /users", tags={"span.kind": "server", "http.status_code": 500}) as root:
    root.set_tag("error", True)
    root.log_kv({"event": "error", "message": "no such user"})
    with tracer.start_span("query", child_of=root) as child:
        child.set_tag("db.system", "postgresql")
        child.set_tag("user.count", 100)
# The reporter's queue is flushed by its own thread.
closed = tracer.close()
deadline = time.monotonic() + 10
while not closed.done() and time.monotonic() < deadline:
    time.sleep(0.01)
assert closed.done(), "the reporter did not flush"
print(format(root.trace_id, "032x"))
