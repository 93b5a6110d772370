import { json } from "../api";
import { bytes, counted, duration, integer } from "../format";
import { Heads } from "../heads";
import { useLoaded } from "../loaded";
import type { Range } from "../range";
import { params, setParams } from "../router";
import { Scroll } from "../scroll";
import { type Stage, Stages } from "../stages";
import { Text } from "../text";

/** Most jobs that are listed, the slowest. */
const JOBS = 20;

interface Work {
  readBytes: number;
  decodedBytes: number;
  cachedBytes: number;
  inspectedSpans: number;
  matchedSpans: number;
  pruned: Record<string, number>;
  seconds: Record<string, number>;
}

interface Explain {
  query: string;
  plan: { stages: Stage[] };
  totals: Work & { jobs: number; blocks: number; skippedBlocks: Record<string, number> };
  jobs: (Work & { source: string })[];
}

/** How a search is run: its stages, and what each job read. Opening it runs the search once more. */
export function Plan({ q, range, limit }: { q: string; range: Range; limit: number }) {
  const open = params.value.get("plan") === "1";
  const key = open ? `${q} ${range.from} ${range.to} ${limit}` : null;
  const { value, problem } = useLoaded(key, async (signal) => {
    const query = new URLSearchParams({
      q,
      start: `${range.from}`,
      end: `${range.to}`,
      limit: `${limit}`,
      explain: "true",
    });
    return (await json<{ explain: Explain }>(`search?${query}`, signal)).explain;
  });
  return (
    <details
      class="form"
      open={open}
      onToggle={(event) => setParams({ plan: event.currentTarget.open ? "1" : null })}
    >
      <summary>How it runs</summary>
      {open && problem !== null && <p class="error">✕ {problem}</p>}
      {open && problem === null && value === null && <p role="status">reading…</p>}
      {value && <Explained explain={value} />}
    </details>
  );
}

function seconds(work: Work): number {
  return Object.values(work.seconds).reduce((sum, time) => sum + time, 0);
}

function Explained({ explain: { query, plan, totals, jobs } }: { explain: Explain }) {
  const skipped = Object.entries(totals.skippedBlocks);
  const pruned = Object.entries(totals.pruned);
  const slowest = [...jobs].sort((a, b) => seconds(b) - seconds(a)).slice(0, JOBS);
  return (
    <>
      <p class="mono">
        <Text value={query} />
      </p>
      <Stages stages={plan.stages} />
      <p>
        {counted(totals.jobs, "job")} on {counted(totals.blocks, "block")} and recent spans ·{" "}
        {bytes(totals.readBytes)} read, {bytes(totals.cachedBytes)} from caches, {bytes(totals.decodedBytes)}{" "}
        decoded · {counted(totals.inspectedSpans, "span")} inspected, {integer(totals.matchedSpans)} matched ·{" "}
        {duration(seconds(totals) * 1e9)} of work
      </p>
      {[...skipped, ...pruned].length > 0 && (
        <p>
          Left out:{" "}
          {[
            ...skipped.map(([why, count]) => `${counted(count, "block")} ${why}`),
            ...pruned.map(([why, count]) => `${counted(count, "part")} by ${why}`),
          ].join(", ")}
        </p>
      )}
      <Scroll>
        <table>
          <Heads
            columns={[
              "Job on",
              { number: "Read" },
              { number: "Decoded" },
              { number: "Spans" },
              { number: "Matched" },
              { number: "Time" },
            ]}
          />
          <tbody>
            {slowest.map((job, at) => (
              <tr key={`${at} ${job.source}`}>
                <td class="mono">{job.source}</td>
                <td class="number">{bytes(job.readBytes)}</td>
                <td class="number">{bytes(job.decodedBytes)}</td>
                <td class="number">{integer(job.inspectedSpans)}</td>
                <td class="number">{integer(job.matchedSpans)}</td>
                <td class="number">{duration(seconds(job) * 1e9)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {jobs.length > JOBS && (
        <p class="muted">
          The {JOBS} slowest of {integer(jobs.length)} jobs.
        </p>
      )}
    </>
  );
}
