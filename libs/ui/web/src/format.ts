/** A duration of nanoseconds with three digits: `1.84 s`, `250 ms`; above a minute in units: `2 m 5 s`, `6 d 3 h`. */
export function duration(nanos: number): string {
  const size = Math.abs(nanos);
  if (size === 0) return "0";
  // What three digits make a thousand of has the next unit.
  if (size < 999.5) return `${Math.round(nanos)} ns`;
  if (size < 999.5e3) return `${digits(nanos / 1e3)} µs`;
  if (size < 999.5e6) return `${digits(nanos / 1e6)} ms`;
  if (size < 59.95e9) return `${digits(nanos / 1e9)} s`;
  const seconds = Math.round(size / 1e9);
  const hours = Math.floor(seconds / 3600);
  const parts = [Math.floor(hours / 24), hours % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  const units = ["d", "h", "m", "s"];
  const shown = parts.map((part, at) => (part > 0 ? `${part} ${units[at]}` : "")).filter(Boolean);
  return (nanos < 0 ? "-" : "") + shown.join(" ");
}

function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

/** A number of bytes: `3.1 GB`. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? count : digits(count)} ${units[unit]}`;
}

const number = new Intl.NumberFormat("en");

export function integer(count: number): string {
  return number.format(count).replaceAll(",", " ");
}

/** A number and what it counts: `1 block`, `2 blocks`. */
export function counted(count: number, what: string): string {
  return `${integer(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** Local time of unix milliseconds; with the day if that is not today. */
export function time(millis: number, now = Date.now()): string {
  const date = new Date(millis);
  const two = (part: number, width = 2) => String(part).padStart(width, "0");
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (date.toDateString() === new Date(now).toDateString()) return clock;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock}`;
}
