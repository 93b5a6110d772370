import { useEffect, useMemo } from "preact/hooks";
import { ApiError, request } from "../api";
import { duration, integer } from "../format";
import { Heads } from "../heads";
import { useLoaded } from "../loaded";
import { address, params, setParams, TYPICAL } from "../router";
import { Scroll } from "../scroll";
import { Chip } from "../search/results";
import { Label } from "../text";
import { typicalPaths } from "../trace/against";
import { selfTimes } from "../trace/analysis";
import { nameOf, serviceOf } from "../trace/model";
import { type Path, pathsOf } from "../trace/paths";
import { decode, extent, type Skeleton } from "../trace/skeleton";
import { typical } from "../trace/typical";
import { Wrong } from "../wrong";
import { align, flatten, type Pair } from "./align";

const SHOWN = 500;

interface Side {
  /** Null for what is typical. */
  id: string | null;
  title: string;
  count: string;
  paths: Path;
  /** Nanoseconds. */
  extent: number;
}

async function load(id: string, signal: AbortSignal): Promise<{ trace: Skeleton; side: Side }> {
  const path = `traces/${id}/skeleton`;
  const response = await request(path, "application/vnd.tactus.skeleton", signal).catch((error) => {
    const isUnknown = error instanceof ApiError && error.status === 404;
    throw isUnknown ? new ApiError(404, `Trace ${id} is not stored.`) : error;
  });
  const trace = decode(await response.arrayBuffer());
  const title = trace.count > 0 ? `${serviceOf(trace, 0)} ${nameOf(trace, 0)}` : id;
  const side = { id, title, count: `${integer(trace.count)} spans`, extent: extent(trace) };
  return { trace, side: { ...side, paths: pathsOf(trace, selfTimes(trace)) } };
}

async function loadBoth(a: string, b: string, signal: AbortSignal): Promise<[Side, Side]> {
  if (a !== TYPICAL) {
    const [one, other] = await Promise.all([load(a, signal), load(b, signal)]);
    return [one.side, other.side];
  }
  const { trace, side } = await load(b, signal);
  if (trace.count === 0) throw new ApiError(0, "A trace without spans cannot be compared.");
  const found = await typical(trace, signal);
  if (found.traces === 0) throw new ApiError(0, "There is no other trace of this operation within an hour.");
  const usual: Side = {
    id: null,
    title: `Typical ${side.title}`,
    count: `the median of ${integer(found.traces)} traces`,
    paths: typicalPaths(found),
    extent: found.duration.p50,
  };
  return [usual, side];
}

/** Two traces over each other: what takes longer, what only one of them does. */
export function ComparePage({ a, b }: { a: string; b: string }) {
  const { value, problem } = useLoaded(`${a} ${b}`, (signal) => loadBoth(a, b, signal));
  const only = params.value.get("only") === "1";
  const found = useMemo(() => {
    if (!value) return null;
    const { pairs, hidden } = flatten(align(value[0].paths, value[1].paths), SHOWN);
    return { pairs, hidden };
  }, [value]);
  useEffect(() => {
    document.title = "Compare – Tactus";
  }, []);
  return (
    <main>
      <h1>{a === TYPICAL ? "Compare with typical traces" : "Compare two traces"}</h1>
      <Wrong text={problem} />
      {problem === null && !value && <p role="status">reading…</p>}
      {value && found && (
        <>
          <Head letter="A" side={value[0]} />
          <Head letter="B" side={value[1]} />
          <p>
            B takes <strong>{signed(value[1].extent - value[0].extent)}</strong> ·{" "}
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
          {found.hidden > 0 && <p class="strip">! {integer(found.hidden)} more calls are not shown.</p>}
          <Table pairs={only ? found.pairs.filter(({ a, b }) => !a || !b) : found.pairs} />
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

function Table({ pairs }: { pairs: Pair[] }) {
  const most = Math.max(1, ...pairs.map(({ change }) => Math.abs(change)));
  if (pairs.length === 0) return <p class="hint">Both traces make the same calls.</p>;
  return (
    <Scroll>
      <table>
        <Heads columns={["Call", { number: "A" }, { number: "B" }, { number: "B − A" }]} />
        <tbody>
          {pairs.map((pair, at) => {
            const { service, name } = (pair.a ?? pair.b) as Path;
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

function Cell({ path }: { path: Path | null }) {
  if (!path) return <td class="number muted">–</td>;
  return (
    <td class="number">
      {path.calls > 1 && <span class="muted">×{integer(path.calls)} </span>}
      {path.errors > 0 && <span class="error">✕{integer(path.errors)} </span>}
      {duration(path.weight)}
    </td>
  );
}
