import { bytes, integer } from "../format";
import type { Checked } from "./check";

/** What a query would read, before it runs. */
export function Cost({ cost }: { cost: Checked["cost"] }) {
  if (!cost?.estimate) return null;
  const { blocks, bytes: size, jobs, ofBlocks, ofBytes } = cost.estimate;
  const stored = `${integer(ofBlocks)} ${ofBlocks === 1 ? "block" : "blocks"}, ${bytes(ofBytes)}`;
  return (
    <p class="muted cost">
      Would read at most {integer(blocks)} {blocks === 1 ? "block" : "blocks"}, {bytes(size)} of {stored}
      {jobs > 0 && ` in ${integer(jobs)} ${jobs === 1 ? "job" : "jobs"}`}, and recent spans
      {cost.plan?.readsWholeTraces && " · looks at whole traces"}
    </p>
  );
}
