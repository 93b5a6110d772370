import { useState } from "preact/hooks";
import { json, reason, request } from "../api";
import { ErrorMessage } from "../error-message";
import { bytes, duration, integer, moment } from "../format";
import { Heads } from "../heads";
import { address, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { type Stage, Stages } from "../stages";
import { Label, Text } from "../text";
import { usePolled } from "./polled";

const EVERY = 2000;

interface Query {
  id: string;
  tenants: string[];
  kind: string;
  query: string;
  startMs: number;
  endMs: number;
  beganMs: number;
  tookMs: number;
  jobs: number;
  doneJobs: number;
  blocks: number;
  inspectedBytes: number;
  plan: { readsWholeTraces: boolean; stages: Stage[] } | null;
  failure?: string | null;
}

interface Listed {
  runningCount: number;
  running: Query[];
  slow: Query[];
  slowAfterMs: number;
}

/** Queries that run, and those that took long. */
export function Queries() {
  const { value, problem, again } = usePolled((signal) => json<Listed>("queries", signal), EVERY);
  const [said, setSaid] = useState<string | null>(null);
  const stop = async (query: Query) => {
    setSaid(null);
    try {
      await request(`queries/${query.id}`, "*/*", undefined, "DELETE");
    } catch (error) {
      setSaid(reason(error));
    }
    again();
  };
  return (
    <>
      <section aria-labelledby="running">
        <h2 id="running">Running queries</h2>
        <ErrorMessage text={problem ?? said} />
        {value && value.running.length === 0 && <p class="muted">None at this query-frontend.</p>}
        {value && value.running.length > 0 && <Table queries={value.running} stop={stop} />}
        {value && value.runningCount > value.running.length && (
          <p class="strip">
            ! {integer(value.runningCount)} queries run; the {integer(value.running.length)} oldest are
            listed.
          </p>
        )}
      </section>
      <section aria-labelledby="slow">
        <h2 id="slow">Slow queries</h2>
        {value && value.slow.length === 0 && (
          <p class="muted">None that took longer than {duration(value.slowAfterMs * 1e6)}.</p>
        )}
        {value && value.slow.length > 0 && <Table queries={value.slow} />}
      </section>
    </>
  );
}

function Table({ queries, stop }: { queries: Query[]; stop?: (query: Query) => void }) {
  return (
    <Scroll>
      <table class="queries">
        <Heads
          columns={[
            "Began",
            "Query",
            { number: "Took" },
            { number: "Jobs" },
            { number: "Blocks" },
            { number: "Inspected" },
            stop ? <span class="hidden">Stop</span> : "Ended",
          ]}
        />
        <tbody>
          {queries.map((query) => (
            <Row key={query.id} query={query} stop={stop && (() => stop(query))} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Row({ query, stop }: { query: Query; stop?: () => void }) {
  return (
    <tr>
      <td class="nowrap">{moment(query.beganMs)}</td>
      <td>
        <span class="muted">
          {query.kind} · {query.tenants.join(", ")}
        </span>{" "}
        {query.plan ? (
          <details
            open={params.value.get("query") === query.id}
            onToggle={({ currentTarget: { open } }) => {
              if (open) setParams({ query: query.id });
              else if (params.peek().get("query") === query.id) setParams({ query: null });
            }}
          >
            <summary class="mono">
              <Label value={query.query} />
            </summary>
            <Stages stages={query.plan.stages} />
            {query.plan.readsWholeTraces && <p class="muted">Reads whole traces.</p>}
            <a href={again(query)}>Run it again</a>
          </details>
        ) : (
          <span class="mono">
            <Text value={query.query} />
          </span>
        )}
      </td>
      <td class="number nowrap">{duration(query.tookMs * 1e6)}</td>
      <td class="number nowrap">
        {query.jobs > 0 ? `${integer(query.doneJobs)} of ${integer(query.jobs)}` : "–"}
      </td>
      <td class="number">{integer(query.blocks)}</td>
      <td class="number nowrap">{bytes(query.inspectedBytes)}</td>
      <td>
        {stop ? (
          <button type="button" onClick={stop} aria-label={`stop the query ${query.query}`}>
            Stop
          </button>
        ) : (
          <span class={query.failure ? "error" : ""}>
            {query.failure ? `✕ ${query.failure}` : "answered"}
          </span>
        )}
      </td>
    </tr>
  );
}

/** The page that asks the same. */
function again({ kind, query, startMs, endMs }: Query): string {
  const range = endMs > 0 ? { from: `${Math.floor(startMs / 1000)}`, to: `${Math.ceil(endMs / 1000)}` } : {};
  return address(kind === "metrics" ? "explore" : "search", { q: query, ...range });
}
