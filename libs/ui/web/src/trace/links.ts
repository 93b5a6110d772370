import type { LinkTemplate } from "../api";
import { type KeyValue, valueText } from "./details";

/** What templates may take values from. Times in Unix nanoseconds. */
export interface LinkValues {
  traceId: string;
  spanId: string;
  spanName: string;
  service: string;
  start: bigint;
  end: bigint;
  resource: KeyValue[];
  span: KeyValue[];
  /** None but at an event. */
  event?: KeyValue[];
}

export interface MadeLink {
  title: string;
  url: string;
}

/** What a link is shown at: the narrowest thing that it takes a value from. */
export type Place = "resource" | "span" | "event";

const NAMES = /\{([^{}]*)\}/g;
/** Longer addresses are refused by many servers. */
const LONGEST = 8192;

function placeOf({ url, match }: LinkTemplate): Place {
  const names = [...url.matchAll(NAMES)].map(([, name]) => name);
  if (match !== "") names.push(match);
  if (names.some((name) => name.startsWith("event."))) return "event";
  return names.every((name) => name.startsWith("resource.") || name === "service") ? "resource" : "span";
}

/** The links of a place whose values are all there, and which lead where their templates say. */
export function linksAt(place: Place, templates: readonly LinkTemplate[], values: LinkValues): MadeLink[] {
  return templates
    .filter((template) => placeOf(template) === place && isWanted(template.match, values))
    .flatMap(({ title, url }) => {
      const made = filled(url, values);
      return made === null ? [] : [{ title, url: made }];
    });
}

function isWanted(match: string, values: LinkValues): boolean {
  if (match === "") return true;
  const at = match.indexOf("=");
  const value = found(at < 0 ? match : match.slice(0, at), values);
  return value !== null && (at < 0 || value === match.slice(at + 1));
}

/** The address, or null: a value is missing, or would lead elsewhere than the template does. */
export function filled(template: string, values: LinkValues): string | null {
  let isMissing = false;
  const text = template.replace(NAMES, (_, name: string) => {
    const value = found(name, values);
    if (value !== null && value !== "") return encoded(value);
    isMissing = true;
    return "";
  });
  if (isMissing || text.length > LONGEST || !URL.canParse(text)) return null;
  const made = new URL(text);
  const plain = new URL(template.replace(NAMES, "x"));
  const isWeb = made.protocol === "https:" || made.protocol === "http:";
  const isSame = made.origin === plain.origin && made.username === "" && !hasDots(text);
  return isWeb && isSame ? made.href : null;
}

/** Whether a part of the path is `.` or `..`, which would take away what the template says. */
function hasDots(url: string): boolean {
  const path = url.replace(/^[a-z]+:\/\/[^/?#]*/i, "").split(/[?#]/)[0];
  return path.split("/").some((part) => /^(\.|%2e){1,2}$/i.test(part));
}

/** Half of a pair of surrogates is no character that an address can have. */
function encoded(value: string): string {
  return encodeURIComponent(
    value.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd"),
  );
}

const TIME = /^(start|end)(?:([+-])(\d{1,6})([smhd]))?(?::(s|ms|us|ns))?$/;
const SECONDS: Record<string, bigint> = { s: 1n, m: 60n, h: 3_600n, d: 86_400n };
const NANOS: Record<string, bigint> = { s: 1_000_000_000n, ms: 1_000_000n, us: 1_000n, ns: 1n };

function found(name: string, values: LinkValues): string | null {
  const time = TIME.exec(name);
  if (time) {
    const [, from, sign, count = "0", unit = "s", written = "ms"] = time;
    const offset = BigInt(count) * SECONDS[unit] * NANOS.s * (sign === "-" ? -1n : 1n);
    return `${((from === "start" ? values.start : values.end) + offset) / NANOS[written]}`;
  }
  if (name === "traceId" || name === "spanId" || name === "spanName" || name === "service")
    return values[name];
  const scope = (["resource", "span", "event"] as const).find((scope) => name.startsWith(`${scope}.`));
  if (!scope) return null;
  const key = name.slice(scope.length + 1);
  const pair = values[scope]?.find((pair) => pair.key === key);
  return pair ? valueText(pair.value) : null;
}
