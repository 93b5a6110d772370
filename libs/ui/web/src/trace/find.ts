import { ApiError } from "../api";
import { messageOf } from "../partial";
import type { Skeleton } from "./skeleton";
import type { Source } from "./source";

/** True for a text that is a TraceQL query. */
export function isQuery(text: string): boolean {
  return /^\s*[{(]/.test(text);
}

/** Rows that a TraceQL query finds, ascending; `message`: what is to be said if some may be missing. It runs on the server. */
export async function findSpans(
  source: Source,
  trace: Skeleton,
  text: string,
  signal: AbortSignal,
): Promise<{ rows: Int32Array; message: string }> {
  const answer = await source.find(text, signal);
  if (answer.problem !== undefined) throw new ApiError(0, answer.problem);
  if (answer.spans !== trace.count) throw new Error("the trace has more spans by now: load it again");
  const rows = rowsOf(answer.rows, answer.matched);
  const { places } = trace;
  return { rows: places ? rows.map((row) => places[row]).sort() : rows, message: messageOf(answer) };
}

/** The rows of a bitmap in base64, the lowest bit first; so many are set. */
export function rowsOf(base64: string, count: number): Int32Array {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const rows = new Int32Array(count);
  let next = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    for (let bits = bytes[at]; bits !== 0; bits &= bits - 1)
      rows[next++] = at * 8 + 31 - Math.clz32(bits & -bits);
  }
  return rows;
}
