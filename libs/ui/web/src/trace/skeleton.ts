import { counted, duration } from "../format";

/** All spans of a trace in display order, a value a row. Times in nanoseconds, `start` from that of the trace. */
export interface Skeleton {
  traceId: string;
  /** Unix nanoseconds of the first span. */
  begin: bigint;
  count: number;
  services: string[];
  names: string[];
  partial: boolean;
  message: string;
  missingParents: number;
  start: Float64Array;
  duration: Float64Array;
  /** Eight bytes a row. */
  id: Uint8Array;
  /** Row of the parent, or -1. */
  parent: Int32Array;
  name: Uint32Array;
  service: Uint32Array;
  events: Uint16Array;
  links: Uint16Array;
  flags: Uint8Array;
  /** Where the rows are that the server counts, if not where it puts them. */
  places?: Int32Array;
}

interface Header {
  traceId: string;
  start: string;
  spans: number;
  services: string[];
  names: string[];
  partial: boolean;
  message: string;
  missingParents: number;
  columns: { name: string; type: string; offset: number }[];
}

/** Reads the answer of the server; the columns stay where they are. */
export function decode(buffer: ArrayBuffer): Skeleton {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))) as Header;
  const begin = Math.ceil((4 + length) / 8) * 8;
  const count = header.spans;
  const at = (name: string) => {
    const column = header.columns.find((column) => column.name === name);
    if (!column) throw new Error(`the answer has no column ${name}`);
    return begin + column.offset;
  };
  return {
    traceId: header.traceId,
    begin: BigInt(header.start),
    count,
    services: header.services,
    names: header.names,
    partial: header.partial,
    message: header.message,
    missingParents: header.missingParents,
    start: new Float64Array(buffer, at("start"), count),
    duration: new Float64Array(buffer, at("duration"), count),
    id: new Uint8Array(buffer, at("id"), count * 8),
    parent: new Int32Array(buffer, at("parent"), count),
    name: new Uint32Array(buffer, at("name"), count),
    service: new Uint32Array(buffer, at("service"), count),
    events: new Uint16Array(buffer, at("events"), count),
    links: new Uint16Array(buffer, at("links"), count),
    flags: new Uint8Array(buffer, at("flags"), count),
  };
}

/** What is to be said of a trace that is not whole. */
export function lacking({ partial, message, missingParents }: Skeleton): string[] {
  const all: string[] = [];
  if (partial) all.push(message || "This trace is incomplete.");
  if (missingParents > 0) {
    const shown = missingParents === 1 ? "its parent, shown as a root" : "their parents, shown as roots";
    all.push(`${counted(missingParents, "span")} without ${shown}.`);
  }
  return all;
}

export function nameOf(trace: Skeleton, row: number): string {
  return trace.names[trace.name[row]];
}

export function serviceOf(trace: Skeleton, row: number): string {
  return trace.services[trace.service[row]];
}

/** Hexadecimal digits of the id of a row. */
export function spanId(trace: Skeleton, row: number): string {
  let text = "";
  for (const byte of trace.id.subarray(row * 8, row * 8 + 8)) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** The row of an id, or -1. */
export function rowOf(trace: Skeleton, id: string): number {
  if (!/^[0-9a-f]{16}$/i.test(id)) return -1;
  const bytes = Uint8Array.from({ length: 8 }, (_, at) => Number.parseInt(id.slice(at * 2, at * 2 + 2), 16));
  for (let row = 0; row < trace.count; row += 1) {
    let at = 0;
    while (at < 8 && trace.id[row * 8 + at] === bytes[at]) at += 1;
    if (at === 8) return row;
  }
  return -1;
}

/** The only row that starts in a millisecond of unix time; -1 for none or several. */
export function rowStarting(trace: Skeleton, millis: number): number {
  if (!Number.isSafeInteger(millis)) return -1;
  const from = Number(BigInt(millis) * 1_000_000n - trace.begin);
  let found = -1;
  for (let row = 0; row < trace.count; row += 1) {
    if (trace.start[row] < from || trace.start[row] >= from + 1e6) continue;
    if (found >= 0) return -1;
    found = row;
  }
  return found;
}

export function isError(trace: Skeleton, row: number): boolean {
  return trace.flags[row] >> 3 === 2;
}

export const WITHOUT_END = "without an end";

/** How long a span lasts, if it has ended. */
export function lasts(trace: Skeleton, row: number): string {
  return hasEnd(trace, row) ? duration(trace.duration[row]) : WITHOUT_END;
}

/** Nanoseconds around unix time 0 in which nothing ends: a clock that is put right moves that end, too. */
const NEVER = 86_400e9;

/** Whether a span has ended: one that has not says that it ended at unix time 0. */
export function hasEnd(trace: Skeleton, row: number): boolean {
  const end = Number(trace.begin) + trace.start[row] + trace.duration[row];
  return trace.duration[row] >= 0 || Math.abs(end) > NEVER;
}

const KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"];

export function kind(trace: Skeleton, row: number): string {
  return KINDS[trace.flags[row] & 7] ?? "unspecified";
}

/** Where the last span ends, from the start of the trace. */
export function extent(trace: Skeleton): number {
  let end = 0;
  for (let row = 0; row < trace.count; row += 1) {
    end = Math.max(end, trace.start[row], trace.start[row] + trace.duration[row]);
  }
  return end;
}
