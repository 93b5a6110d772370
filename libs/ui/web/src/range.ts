/** Ranges that end now, by the text that the address has. */
export const RANGES = ["5m", "15m", "1h", "3h", "6h", "24h", "2d", "7d"];
const DEFAULT_RANGE = "1h";

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** Unix seconds. */
export interface Range {
  from: number;
  to: number;
}

/** Seconds of `90m` or `2d`; null for another text, and for no time at all. */
export function seconds(text: string): number | null {
  const match = /^(\d{1,9})([smhdw])$/.exec(text);
  return (match && Number(match[1]) * UNITS[match[2]]) || null;
}

/** The range of an address that names none: shorter than usual where a limit in seconds wants that; 0 is none. */
export function defaultRange(limit: number): string {
  const isFitting = (range: string) => limit === 0 || (seconds(range) as number) <= limit;
  if (isFitting(DEFAULT_RANGE)) return DEFAULT_RANGE;
  return RANGES.findLast(isFitting) ?? `${limit}s`;
}

/** Seconds before and after a moment, fewer of them where a limit in seconds wants that; 0 is none. */
export function around(at: number, before: number, after: number, limit: number): Range {
  const share = limit === 0 ? 1 : Math.min(1, limit / (before + after));
  // Second 0 would be no begin at all.
  return { from: Math.max(1, at - Math.floor(before * share)), to: at + Math.floor(after * share) };
}

/** The last second that servers know. */
const LAST = 2 ** 32 - 1;

/** The range that an address fixes; null if it fixes none that there can be. */
export function fixedRange(params: URLSearchParams, now = Date.now()): Range | null {
  const from = Number(params.get("from"));
  const to = params.has("to") ? Number(params.get("to")) : Math.ceil(now / 1000);
  const isTime = (seconds: number) => seconds > 0 && seconds <= LAST && Number.isInteger(seconds);
  return isTime(from) && isTime(to) && to > from ? { from, to } : null;
}

/**
 * The range that an address asks for: `from` and `to` or, without that, now; else `range` before now, or what a `limit` in
 * seconds leaves of the usual one.
 */
export function rangeOf(params: URLSearchParams, limit = 0, now = Date.now()): Range {
  const range = fixedRange(params, now);
  if (range) return range;
  const end = Math.ceil(now / 1000);
  const length = seconds(params.get("range") ?? "") ?? (seconds(defaultRange(limit)) as number);
  return { from: Math.max(0, end - length), to: end };
}

/** Why a range cannot be asked for; null if it can. `limit`: in seconds, 0 is none. */
export function tooLong(range: Range, limit: number, what: string): string | null {
  if (limit === 0 || range.to - range.from <= limit) return null;
  const hours = Math.round(limit / 360) / 10;
  const shown = hours >= 48 ? `${Math.floor(hours / 24)} days` : `${hours} ${hours === 1 ? "hour" : "hours"}`;
  return `${what} can cover ${shown} at most on this server`;
}

/** Unix seconds as a field for local times has them: `2026-03-01T10:00:00`. */
export function fieldOf(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (part: number, width = 2) => String(part).padStart(width, "0");
  const day = `${two(date.getFullYear(), 4)}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * What two fields for local times ask for, or why that is no range. A field that says what it said of the range that is `shown`
 * still means that moment: where a clock is set back, a text stands for two.
 */
export function rangeOfFields(from: string, to: string, shown?: Range): Range | string {
  const read = (text: string, known: number | undefined) =>
    known !== undefined && text === fieldOf(known) ? known : Math.floor(Date.parse(text) / 1000);
  const [first, last] = [read(from, shown?.from), read(to, shown?.to)];
  if (Number.isNaN(first) || Number.isNaN(last)) return "a time is missing";
  const isTime = (seconds: number) => seconds > 0 && seconds <= LAST;
  if (!isTime(first) || !isTime(last)) return "no such time is stored";
  return first < last ? { from: first, to: last } : "it ends before it begins";
}
