import type { Skeleton } from "./skeleton";
import type { Source } from "./source";

/** True for a text that is a TraceQL query. */
export function isQuery(text: string): boolean {
  return /^\s*[{(]/.test(text);
}

/** Rows that a TraceQL query finds, ascending. It runs on the server. */
export async function findSpans(
  source: Source,
  trace: Skeleton,
  text: string,
  signal: AbortSignal,
): Promise<number[]> {
  const answer = await source.find(text, signal);
  if (answer.spans !== trace.count) throw new Error("the trace has more spans by now: load it again");
  return rowsOf(answer.rows);
}

/** The rows of a bitmap in base64, the lowest bit first. */
export function rowsOf(base64: string): number[] {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const rows: number[] = [];
  for (let at = 0; at < bytes.length; at += 1) {
    for (let bits = bytes[at]; bits !== 0; bits &= bits - 1)
      rows.push(at * 8 + 31 - Math.clz32(bits & -bits));
  }
  return rows;
}
