import { useEffect } from "preact/hooks";
import { ApiError, arrived, request } from "../api";
import { ErrorMessage } from "../error-message";
import { counted, duration, integer, notShown } from "../format";
import { Heads } from "../heads";
import { useLoaded } from "../loaded";
import { messageOf, NotWhole } from "../partial";
import { address, params, setParams, TYPICAL } from "../router";
import { Scroll } from "../scroll";
import { Chip } from "../search/results";
import { Label } from "../text";
import type { Typical } from "../trace/against";
import { inBackground } from "../trace/compute";
import type { Call } from "../trace/paths";
import { decode, extent, lacking, nameOf, type Skeleton, serviceOf } from "../trace/skeleton";
import { typical } from "../trace/typical";
import type { Calls, Comparison } from "./align";

interface Side {
  /** Null for what is typical. */
  id: string | null;
  title: string;
  count: string;
  /** Nanoseconds. */
  extent: number;
  /** What is to be said if it is not whole; else empty. */
  message: string;
}

interface Compared extends Comparison {
  sides: [Side, Side];
}

async function load(
  id: string,
  signal: AbortSignal,
): Promise<{ trace: Skeleton; side: Side; columns: ArrayBuffer }> {
  const path = `traces/${id}/skeleton`;
  const response = await request(path, "application/vnd.tactus.skeleton", signal).catch((error) => {
    const isUnknown = error instanceof ApiError && error.status === 404;
    throw isUnknown ? new ApiError(404, `Trace ${id} is not stored.`) : error;
  });
  const columns = await arrived(response.arrayBuffer(), signal);
  const trace = decode(columns);
  const title = trace.count > 0 ? `${serviceOf(trace, 0)} ${nameOf(trace, 0)}` : id;
  const count = counted(trace.count, "span");
  const side = { id, title, count, extent: extent(trace), message: lacking(trace).join(" ") };
  return { trace, side, columns };
}

async function loadBoth(a: string, b: string, signal: AbortSignal): Promise<Compared> {
  if (a !== TYPICAL) {
    // One after the other: the server holds a large trace while it writes its columns.
    const one = await load(a, signal);
    const other = await load(b, signal);
    return { sides: [one.side, other.side], ...(await compare([one.columns, other.columns], signal)) };
  }
  const { trace, side, columns } = await load(b, signal);
  if (trace.count === 0) throw new ApiError(0, "A trace without spans cannot be compared.");
  const found = await typical(trace, signal);
  if (found.traces === 0) throw new ApiError(0, "There is no other trace of this operation within an hour.");
  const usual: Side = {
    id: null,
    title: `Typical ${side.title}`,
    count: `the median of ${counted(found.traces, "trace")}`,
    extent: found.duration.p50,
    message: messageOf(found),
  };
  return { sides: [usual, side], ...(await compare([found, columns], signal)) };
}

/** Large traces have a million calls: another thread lays them over each other. */
function compare(sides: [ArrayBuffer | Typical, ArrayBuffer], signal: AbortSignal): Promise<Comparison> {
  const columns = sides.filter((side) => side instanceof ArrayBuffer);
  return inBackground({ kind: "compare", sides }, signal, columns);
}

/** Two traces over each other: what takes longer, what only one of them does. */
export function ComparePage({ a, b }: { a: string; b: string }) {
  const { value, problem } = useLoaded(`${a} ${b}`, (signal) => loadBoth(a, b, signal));
  const only = params.value.get("only") === "1";
  const calls = value && (only ? value.only : value.all);
  useEffect(() => {
    document.title = "Compare – Tactus";
  }, []);
  return (
    <main>
      <h1>{a === TYPICAL ? "Compare with typical traces" : "Compare two traces"}</h1>
      <ErrorMessage text={problem} />
      {problem === null && !value && <p role="status">reading…</p>}
      {value && calls && (
        <>
          {value.sides.map(({ message }, at) => (
            <NotWhole key={at} messages={[message && `${"AB"[at]}: ${message}`]} />
          ))}
          <Head letter="A" side={value.sides[0]} />
          <Head letter="B" side={value.sides[1]} />
          <p>
            B takes <strong>{signed(value.sides[1].extent - value.sides[0].extent)}</strong> ·{" "}
            {a !== TYPICAL && (
              <>
                <a href={address(`compare/${b}...${a}`)}>swap sides</a> ·{" "}
              </>
            )}
            <label>
              <input
                type="checkbox"
                checked={only}
                onChange={(event) => setParams({ only: event.currentTarget.checked ? "1" : null })}
              />{" "}
              only what one of them has
            </label>
          </p>
          {calls.hidden > 0 && <p class="strip">! {notShown(calls.hidden, "call")}</p>}
          <Table calls={calls} />
        </>
      )}
    </main>
  );
}

function signed(nanos: number): string {
  return `${nanos < 0 ? "−" : "+"}${duration(Math.abs(nanos))}`;
}

function Head({ letter, side: { id, title, count, extent } }: { letter: string; side: Side }) {
  return (
    <p>
      <strong>{letter}</strong>{" "}
      {id === null ? (
        <Label value={title} />
      ) : (
        <a href={address(`trace/${id}`)}>
          <Label value={title} />
        </a>
      )}{" "}
      · {duration(extent)} · {count} <span class="mono muted">{id}</span>
    </p>
  );
}

function Table({ calls: { pairs } }: { calls: Calls }) {
  const most = Math.max(1, ...pairs.map(({ change }) => Math.abs(change)));
  if (pairs.length === 0) return <p class="hint">Both traces make the same calls.</p>;
  return (
    <Scroll>
      <table>
        <Heads columns={["Call", { number: "A" }, { number: "B" }, { number: "B − A" }]} />
        <tbody>
          {pairs.map((pair, at) => {
            const { service, name } = (pair.a ?? pair.b) as Call;
            return (
              <tr key={at}>
                <td style={{ paddingInlineStart: `${8 + Math.min(20, pair.depth - 1) * 14}px` }}>
                  <Chip name={service} /> <Label value={name} />
                  {!pair.a && <strong class="warning"> only B</strong>}
                  {!pair.b && <strong class="warning"> only A</strong>}
                </td>
                <Cell path={pair.a} />
                <Cell path={pair.b} />
                <td class="number">
                  {signed(pair.change)}
                  <meter min={0} max={most} value={Math.abs(pair.change)} aria-hidden="true" />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

function Cell({ path }: { path: Call | null }) {
  if (!path) return <td class="number muted">–</td>;
  return (
    <td class="number">
      {path.calls > 1 && <span class="muted">×{integer(path.calls)} </span>}
      {path.errors > 0 && <span class="error">✕{integer(path.errors)} </span>}
      {duration(path.total)}
    </td>
  );
}
