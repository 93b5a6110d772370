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

/** Times along an axis; where three digits do not tell them apart, those after the first say how far from it: `+2.00 ms`. */
export function ticks(times: number[]): string[] {
  const shown = times.map(duration);
  if (new Set(shown).size === shown.length) return shown;
  return shown.map((first, at) => (at === 0 ? first : `+${duration(times[at] - times[0])}`));
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

/** What is not shown of a list: `1 more call is not shown.` */
export function notShown(count: number, what: string): string {
  return `${counted(count, `more ${what}`)} ${count === 1 ? "is" : "are"} not shown.`;
}

/** A number that counts nothing in particular: whole from a thousand on, with three digits below. */
export function plain(value: number): string {
  if (Math.abs(value) >= 999.5) return integer(Math.round(value));
  return `${Number(value.toPrecision(3))}`;
}

/** A rate a second with three digits; a minute or an hour where that says more. */
export function rate(perSecond: number): string {
  const shown = (value: number) => (value >= 999.5 || value < 0.1 ? plain(value) : digits(value));
  if (perSecond >= 1) return `${shown(perSecond)}/s`;
  if (perSecond * 60 >= 1) return `${shown(perSecond * 60)}/min`;
  return `${shown(perSecond * 3600)}/h`;
}

/** A share of one. What is there is never shown as nothing. */
export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  return `${value >= 10 ? value.toFixed(0) : Number(value.toPrecision(2))} %`;
}

function two(part: number, width = 2): string {
  return String(part).padStart(width, "0");
}

function clockOf(date: Date): string {
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function dayOf(date: Date): string {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** Local time of unix milliseconds, to the second; with the day if that is not today. */
export function time(millis: number, now = Date.now()): string {
  const date = new Date(millis);
  const isToday = date.toDateString() === new Date(now).toDateString();
  return isToday ? clockOf(date) : `${dayOf(date)} ${clockOf(date)}`;
}

/** As {@link time}, with milliseconds: when something happened. */
export function moment(millis: number, now = Date.now()): string {
  return `${time(millis, now)}.${two(new Date(millis).getMilliseconds(), 3)}`;
}

/** Local time with its day, milliseconds and zone, whatever day it is: others read it elsewhere and later. */
export function dated(millis: number): string {
  const date = new Date(millis);
  return `${dayOf(date)} ${clockOf(date)}.${two(date.getMilliseconds(), 3)} ${zone(millis / 1000)}`;
}

/** How far local time is from universal time at a moment in unix seconds: `UTC+5:30`. */
export function zone(seconds: number): string {
  const minutes = -new Date(seconds * 1000).getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const size = Math.abs(minutes);
  const rest = size % 60 === 0 ? "" : `:${two(size % 60)}`;
  return `UTC${minutes < 0 ? "−" : "+"}${Math.floor(size / 60)}${rest}`;
}

/** The zone of all these moments in unix milliseconds; null if a clock was changed between them. */
export function zoneOf(moments: number[]): string | null {
  const zones = new Set(moments.map((millis) => zone(millis / 1000)));
  return zones.size === 1 ? [...zones][0] : null;
}

/** Tells moments in unix milliseconds that stand among these: as {@link time}, with its zone if a clock was changed between them. */
export function timesAmong(moments: number[]): (millis: number) => string {
  const isOne = zoneOf(moments) !== null;
  return (millis) => (isOne ? time(millis) : `${time(millis)} ${zone(millis / 1000)}`);
}

/** Unix milliseconds of nanoseconds as answers have them. */
export function millisOf(nanos: string | bigint | undefined): number {
  return Number(BigInt(nanos ?? "0") / 1_000_000n);
}
