import { bytes, integer } from "../format";
import type { Checked } from "./check";
import type { Estimate } from "./query";

/** What a query would read, before it runs. Its line is there before that is known: nothing below moves then. */
export function Cost({ cost }: { cost: Checked["cost"] }) {
  return (
    <p class="muted cost">
      {cost?.estimate && costOf(cost.estimate)}
      {cost?.plan?.readsWholeTraces && " · looks at whole traces"}
    </p>
  );
}

function blocks(count: number): string {
  return `${integer(count)} ${count === 1 ? "block" : "blocks"}`;
}

export function costOf({ blocks: read, bytes: size, jobs, ofBlocks, ofBytes }: Estimate): string {
  if (ofBlocks === 0) return "Would read only recent spans: no block is stored";
  if (read === 0) return `Would read only recent spans: none of ${blocks(ofBlocks)} is in this range`;
  const of = read === ofBlocks ? "all that is stored" : `of ${blocks(ofBlocks)}, ${bytes(ofBytes)}`;
  return `Would read at most ${blocks(read)}, ${bytes(size)}, ${of}, in ${integer(jobs)} ${
    jobs === 1 ? "job" : "jobs"
  }, and recent spans`;
}
