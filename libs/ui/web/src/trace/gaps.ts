import { duration } from "../format";
import type { Times } from "./analysis";
import { type Finding, label } from "./finding";
import { extent, type Skeleton } from "./skeleton";

/** A stretch is worth a word if it takes this share of the trace. */
const SHARE = 0.2;
/** Places of a trace that are told apart at first. */
const BINS = 4096;

/** A long time in which no span of the trace ran: a message in a queue, or a delay. */
export function idle(trace: Skeleton): Finding | null {
  const whole = extent(trace);
  if (whole <= 0 || isCovered(trace, whole)) return null;
  const middle = emptyPlace(trace, whole);
  if (middle < 0) return null;
  let ended = 0;
  let next = -1;
  for (let row = 0; row < trace.count; row += 1) {
    // Where clocks differ nobody knows when something ran.
    const above = trace.parent[row];
    if (above >= 0 && trace.start[row] < trace.start[above]) return null;
    if (trace.start[row] <= middle) ended = Math.max(ended, trace.start[row] + trace.duration[row]);
    else if (next < 0 || trace.start[row] < trace.start[next]) next = row;
  }
  if (next < 0) return null;
  const time = trace.start[next] - ended;
  if (time < whole * SHARE) return null;
  const share = Math.round((time / whole) * 100);
  return {
    row: next,
    text: `nothing ran for ${duration(time)}, ${share} % of the trace, until ${label(trace, next)} began: a queue, a delay, or spans that are missing`,
  };
}

/** True if one span alone leaves no room for a long gap: that of most traces is their root. */
function isCovered({ count, duration }: Skeleton, whole: number): boolean {
  for (let row = 0; row < count; row += 1) if (duration[row] > whole * (1 - SHARE)) return true;
  return false;
}

/** The middle of the longest stretch without a span, or -1. */
function emptyPlace({ count, start, duration }: Skeleton, whole: number): number {
  // How many spans more run in a bin than in the one before it.
  const changes = new Int32Array(BINS + 1);
  const bin = (time: number) => Math.min(BINS - 1, Math.max(0, Math.floor((time / whole) * BINS)));
  for (let row = 0; row < count; row += 1) {
    changes[bin(start[row])] += 1;
    changes[bin(start[row] + Math.max(0, duration[row])) + 1] -= 1;
  }
  let [from, length, running, empty] = [0, 0, 0, 0];
  for (let at = 0; at < BINS; at += 1) {
    running += changes[at];
    empty = running === 0 ? empty + 1 : 0;
    if (empty > length) [from, length] = [at - empty + 1, empty];
  }
  return length === 0 ? -1 : ((from + length / 2) / BINS) * whole;
}

/** The longest stretch of the span that the trace waited for most in which nothing below it ran. */
export function silent(trace: Skeleton, size: Uint32Array, { critical }: Times): Finding | null {
  let row = -1;
  let total = 0;
  for (let at = 0; at < trace.count; at += 1) {
    total += critical[at];
    if (row < 0 || critical[at] > critical[row]) row = at;
  }
  if (row < 0 || size[row] === 1) return null;
  const [begin, end] = [trace.start[row], trace.start[row] + trace.duration[row]];
  // Where nothing below runs any more; the children around the longest stretch, and the one that ended last.
  let [covered, time, before, after, last] = [begin, 0, -1, -1, -1];
  const look = (to: number, next: number) => {
    if (to - covered > time) [time, before, after] = [to - covered, last, next];
  };
  for (let child = row + 1; child < row + size[row]; child += size[child]) {
    const to = trace.start[child] + trace.duration[child];
    // Outside of its parent, or ended before it began, it says nothing about what that did.
    if (trace.start[child] < begin || to > end || to < trace.start[child]) return null;
    look(trace.start[child], child);
    const ended = Math.min(end, lastEnd(trace, child, size[child]));
    if (ended >= covered) [covered, last] = [ended, child];
  }
  look(end, -1);
  if (time <= 0 || time < total * SHARE || time < critical[row] / 2) return null;
  const where = after >= 0 ? `before ${label(trace, after)}` : `after ${label(trace, before)}`;
  return {
    row: after >= 0 ? after : before,
    text: `${label(trace, row)} has no span for ${duration(time)} ${where}: it waited for a lock or a pool, or worked by itself`,
  };
}

/** When the last of a span and all below it ends: what reads a message runs on after what sent it. */
function lastEnd({ start, duration }: Skeleton, row: number, size: number): number {
  let end = start[row] + duration[row];
  for (let at = row + 1; at < row + size; at += 1) end = Math.max(end, start[at] + duration[at]);
  return end;
}
