import { ErrorMessage } from "../error-message";
import { bytes, duration, integer, notShown } from "../format";
import { Heads } from "../heads";
import { type Loaded, useLoaded } from "../loaded";
import { messageOf, NotWhole } from "../partial";
import { address } from "../router";
import { Scroll } from "../scroll";
import { Chip } from "../search/results";
import { Label } from "../text";
import type { Against, Typical } from "./against";
import type { Computation } from "./compute";
import type { Model } from "./model";
import type { Call } from "./paths";
import type { TraceState } from "./state";

interface Props {
  model: Model;
  computation: Computation;
  state: TraceState;
  isStored: boolean;
  usual: Loaded<Typical>;
}

/** The calls of a trace beside those of the newest traces that began as it did. A row leads to its longest span. */
export function AgainstTypical({ model, computation, state, isStored, usual }: Props) {
  const { trace, extent } = model;
  const { value } = usual;
  const ask = async () => value && computation.ask({ kind: "against", typical: value });
  const differing = useLoaded(value && value.traces > 0 ? trace.traceId : null, ask);
  const problem = usual.problem ?? differing.problem;
  if (problem !== null) return <ErrorMessage text={problem} />;
  if (value === null || (value.traces > 0 && !differing.value)) return <p role="status">reading…</p>;
  const { rows, hidden } = differing.value ?? { rows: [], hidden: 0 };
  const unread = <NotWhole messages={[messageOf(value)]} />;
  if (value.traces === 0) {
    return (
      <>
        {unread}
        <p class="hint">No other trace of this operation within an hour.</p>
      </>
    );
  }
  const { p50, p95 } = value.duration;
  return (
    <Scroll kind="sheet">
      {unread}
      <p>
        <strong>{signed(extent - p50)}</strong> against the median of {integer(value.traces)}{" "}
        {value.traces === 1 ? "trace" : "traces"} of this operation, which is {duration(p50)}; 95 % of them
        take {duration(p95)} at most. {bytes(value.inspectedBytes)} read.{" "}
        {isStored && <a href={address(`compare/typical...${trace.traceId}`)}>Compare call by call</a>}
      </p>
      <table>
        <Heads
          columns={[
            "Call",
            { number: "This trace" },
            { number: "Median" },
            { number: "95 %" },
            { number: "Difference" },
            { number: "In traces" },
          ]}
        />
        <tbody>
          {rows.map((row, at) => (
            <Row key={at} row={row} traces={value.traces} state={state} />
          ))}
        </tbody>
      </table>
      {hidden > 0 && <p class="strip">! {notShown(hidden, "call")}</p>}
    </Scroll>
  );
}

function Row({ row, traces, state }: { row: Against<Call>; traces: number; state: TraceState }) {
  const { service, name, path, usual, more } = row;
  const label = (
    <>
      <Chip name={service} /> <Label value={name} />
    </>
  );
  const isSlow = path !== null && usual !== null && path.total > usual.p95;
  return (
    <tr>
      <td>
        {path ? (
          <button type="button" class="link" onClick={() => state.select(path.longest)}>
            {label}
          </button>
        ) : (
          label
        )}
        {!usual && <strong class="warning"> only here</strong>}
        {!path && <strong class="warning"> missing</strong>}
        {isSlow && <strong class="warning"> slower than 95 %</strong>}
      </td>
      <td class="number">
        {path && path.calls > 1 && <span class="muted">×{integer(path.calls)} </span>}
        {path && path.errors > 0 && <span class="error">✕{integer(path.errors)} </span>}
        {path ? duration(path.total) : "–"}
      </td>
      <td class="number">{usual ? duration(usual.p50) : "–"}</td>
      <td class="number">{usual ? duration(usual.p95) : "–"}</td>
      <td class="number">{signed(more)}</td>
      <td class="number">{Math.round(((usual?.traces ?? 0) / traces) * 100)} %</td>
    </tr>
  );
}

function signed(nanos: number): string {
  return `${nanos < 0 ? "−" : "+"}${duration(Math.abs(nanos))}`;
}
