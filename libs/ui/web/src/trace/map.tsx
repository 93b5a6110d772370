import { integer } from "../format";
import { useLoaded } from "../loaded";
import { drawn, MOST_EDGES } from "../map/drawn";
import { edgesIn } from "../map/edges";
import { Graph, NotDrawn } from "../map/graph";
import { quote } from "../search/form";
import type { Skeleton } from "./skeleton";
import type { Source } from "./source";

/** Which services call which within the trace. A service leads to its spans. */
export function TraceMap({ trace, source }: { trace: Skeleton; source: Source }) {
  const { value, problem } = useLoaded(trace.traceId, async (signal) => {
    const all = edgesIn(trace).sort((a, b) => b.calls - a.calls);
    return { ...(await drawn(all.slice(0, MOST_EDGES), signal)), hidden: all.length - MOST_EDGES };
  });
  if (problem !== null) return <p class="error">✕ {problem}</p>;
  if (value === null) return <p role="status">reading…</p>;
  if (value.edges.length === 0) return <p class="hint">No service calls another in this trace.</p>;
  return (
    <div class="sheet">
      <NotDrawn count={value.hidden} />
      <Graph
        drawn={value}
        label={(edge) => `×${integer(edge.calls)}`}
        lead={(name) => source.address(trace.traceId, { find: `{ resource.service.name = ${quote(name)} }` })}
      />
    </div>
  );
}
