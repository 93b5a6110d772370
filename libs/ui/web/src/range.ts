/** Ranges that end now, by the text that the address has. */
export const RANGES = ["5m", "15m", "1h", "3h", "6h", "24h", "2d", "7d"];
export const DEFAULT_RANGE = "1h";

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** Unix seconds. */
export interface Range {
  from: number;
  to: number;
}

/** Seconds of `90m` or `2d`; null for another text. */
export function seconds(text: string): number | null {
  const match = /^(\d{1,9})([smhdw])$/.exec(text);
  return match ? Number(match[1]) * UNITS[match[2]] : null;
}

/** The range that an address asks for: `from` and `to`, else `range` before now. */
export function rangeOf(params: URLSearchParams, now = Date.now()): Range {
  const from = Number(params.get("from"));
  const to = Number(params.get("to"));
  if (from > 0 && to > from && Number.isSafeInteger(from) && Number.isSafeInteger(to)) return { from, to };
  const end = Math.ceil(now / 1000);
  const length = seconds(params.get("range") ?? "") ?? (seconds(DEFAULT_RANGE) as number);
  return { from: Math.max(0, end - length), to: end };
}

/** Why a range cannot be asked for; null if it can. `limit`: in seconds, 0 is none. */
export function tooLong(range: Range, limit: number, what: string): string | null {
  if (limit === 0 || range.to - range.from <= limit) return null;
  const hours = limit / 3600;
  const shown = hours >= 48 ? `${Math.floor(hours / 24)} days` : `${Math.round(hours * 10) / 10} hours`;
  return `${what} can cover ${shown} at most on this server`;
}
