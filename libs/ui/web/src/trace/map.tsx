import { integer } from "../format";
import { useLoaded } from "../loaded";
import { drawn } from "../map/drawn";
import { edgesIn } from "../map/edges";
import { Graph } from "../map/graph";
import { quote } from "../search/form";
import type { Skeleton } from "./skeleton";
import type { Source } from "./source";

/** Which services call which within the trace. A service leads to its spans. */
export function TraceMap({ trace, source }: { trace: Skeleton; source: Source }) {
  const { value, problem } = useLoaded(trace.traceId, (signal) => drawn(edgesIn(trace), signal));
  if (problem !== null) return <p class="error">✕ {problem}</p>;
  if (value === null) return <p role="status">reading…</p>;
  if (value.edges.length === 0) return <p class="hint">No service calls another in this trace.</p>;
  return (
    <div class="sheet">
      <Graph
        drawn={value}
        label={(edge) => `×${integer(edge.calls)}`}
        lead={(name) => source.address(trace.traceId, { find: `{ resource.service.name = ${quote(name)} }` })}
      />
    </div>
  );
}
