import { useMemo } from "preact/hooks";
import { duration, integer, notShown, percent } from "../format";
import { Scroll } from "../scroll";
import { Chip } from "../search/results";
import { ordered, SortHead, useOrder } from "../sorting";
import { Label } from "../text";
import type { Times } from "./analysis";
import type { Model } from "./model";
import { operationsOf, type Path } from "./paths";
import { lasts } from "./skeleton";
import type { TraceState } from "./state";

const COLUMNS = ["operation", "calls", "errors", "total", "self", "longest"] as const;

/** Rows that are shown: names with ids in them are as many as spans. */
const SHOWN = 1_000;

/** The operations of a trace with what they took. A row leads to its longest span. */
export function OperationTable({ model, times, state }: { model: Model; times: Times; state: TraceState }) {
  const { trace } = model;
  const head = useOrder(COLUMNS, { by: "self", ascending: false });
  const { order } = head;
  const operations = useMemo(() => operationsOf(trace, times.self), [trace, times]);
  const value = (path: Path): number | string => {
    if (order.by === "operation") return `${path.service} ${path.name}`;
    return order.by === "longest" ? trace.duration[path.longest] : path[order.by];
  };
  const total = Math.max(
    1,
    operations.reduce((sum, { self }) => sum + self, 0),
  );
  const hidden = Math.max(0, operations.length - SHOWN);
  return (
    <Scroll kind="sheet">
      {hidden > 0 && <p class="strip">! {notShown(hidden, "operation")}</p>}
      <table>
        <thead>
          <tr>
            <SortHead column="operation" isText {...head}>
              Operation
            </SortHead>
            <SortHead column="calls" {...head}>
              Spans
            </SortHead>
            <SortHead column="errors" {...head}>
              Errors
            </SortHead>
            <SortHead column="total" {...head}>
              Total
            </SortHead>
            <SortHead column="self" {...head}>
              Self time
            </SortHead>
            <SortHead column="longest" {...head}>
              Longest
            </SortHead>
          </tr>
        </thead>
        <tbody>
          {ordered(operations, value, order.ascending)
            .slice(0, SHOWN)
            .map((path) => (
              <tr key={`${path.service} ${path.name}`}>
                <td>
                  <button type="button" class="link" onClick={() => state.select(path.longest)}>
                    <Chip name={path.service} /> <Label value={path.name} />
                  </button>
                </td>
                <td class="number">{integer(path.calls)}</td>
                <td class={path.errors > 0 ? "number error" : "number"}>
                  {path.errors > 0 ? `✕ ${integer(path.errors)}` : "0"}
                </td>
                <td class="number">{duration(path.total)}</td>
                <td class="number">
                  {duration(path.self)} · {percent(path.self / total)}
                  <meter min={0} max={total} value={path.self} aria-hidden="true" />
                </td>
                <td class="number">{lasts(trace, path.longest)}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </Scroll>
  );
}
