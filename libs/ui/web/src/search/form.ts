import type { AnyValue } from "../trace/details";

/** What the form can say. Empty texts say nothing. */
export interface Form {
  service: string;
  name: string;
  /** A duration; with `>` before it spans that last as long are left out. */
  minimum: string;
  /** The same with `<`. */
  maximum: string;
  failed: boolean;
  attributes: { key: string; value: string }[];
}

export const EMPTY: Form = { service: "", name: "", minimum: "", maximum: "", failed: false, attributes: [] };

const DURATION = /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/;
const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_./-]*$/;
const LITERAL = /^(true|false|-?\d+(\.\d+)?)$/;

/** True for a duration as TraceQL writes it. */
export function isDuration(text: string): boolean {
  return DURATION.test(text);
}

/** True for a duration that may follow a sign. */
export function isBound(text: string, sign: "<" | ">"): boolean {
  return isDuration(text.startsWith(sign) ? text.slice(1).trimStart() : text);
}

/** The condition of a bound; null if it is none. */
function bound(text: string, sign: "<" | ">"): string | null {
  if (!isBound(text, sign)) return null;
  const isStrict = text.startsWith(sign);
  return `duration ${sign}${isStrict ? "" : "="} ${isStrict ? text.slice(1).trimStart() : text}`;
}

export function quote(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&").replace(CONTROLS, (char) => ESCAPES[char])}"`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must be escaped
const CONTROLS = /[\n\r\t\u0000]/g;
const ESCAPES: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u0000": "\\x00" };
const ESCAPED: Record<string, string> = { n: "\n", r: "\r", t: "\t", "\\": "\\", '"': '"' };

/** What a name begins with that has a scope. */
const SCOPED = /^(span|resource|event|link|instrumentation|parent)\./;

/** An attribute as TraceQL names it; `key` may begin with its scope, or with a dot that says that there is none. */
export function attribute(key: string): string {
  const scope = SCOPED.exec(key)?.[0] ?? ".";
  const name = scope === "." ? key.replace(/^\./, "") : key.slice(scope.length);
  // Names know no other escapes.
  return scope + (PLAIN_KEY.test(name) ? name : `"${name.replace(/[\\"]/g, "\\$&")}"`);
}

/** A number or a word as TraceQL writes it. */
const WRITTEN = /^(true|false|-?\d{1,18}(\.\d{1,18})?)$/;
/** Longer values make addresses that some servers refuse. */
const LONGEST = 1_000;

/** The condition that an attribute of a scope has a value; null where TraceQL cannot compare it. */
export function conditionOf(scope: string, key: string, value: AnyValue | undefined): string | null {
  // No name in TraceQL has that letter, in quotes or with an escape.
  if (key === "" || key.includes("\u0000")) return null;
  const named = attribute(`${scope}.${key}`);
  if (value?.stringValue !== undefined) {
    return value.stringValue.length <= LONGEST ? `${named} = ${quote(value.stringValue)}` : null;
  }
  const plain = value?.boolValue ?? value?.intValue ?? value?.doubleValue;
  return WRITTEN.test(`${plain}`) ? `${named} = ${plain}` : null;
}

/** The text between the quotes of a value that is in quotes; null for any other. */
function quoted(value: string): string | null {
  const text = TEXT.exec(value);
  return text?.[0] === value ? unquote(text[1]) : null;
}

/** A value of the form as TraceQL writes it: in quotes it is text, whatever it looks like. */
function literal(value: string): string {
  return LITERAL.test(value) ? value : quote(quoted(value) ?? value);
}

/** A text of a query as the form has it. */
function fieldOf(text: string): string {
  return LITERAL.test(text) || quoted(text) !== null ? quote(text) : text;
}

/** The query that a form stands for. */
export function toQuery(form: Form): string {
  const all: string[] = [];
  if (form.service !== "") all.push(`resource.service.name = ${quote(form.service)}`);
  if (form.name !== "") all.push(`name = ${quote(form.name)}`);
  if (form.failed) all.push("status = error");
  const bounds = [bound(form.minimum, ">"), bound(form.maximum, "<")];
  all.push(...bounds.filter((one) => one !== null));
  for (const { key, value } of form.attributes) {
    if (key !== "") all.push(`${attribute(key)} = ${literal(value)}`);
  }
  return all.length === 0 ? "{ }" : `{ ${all.join(" && ")} }`;
}

const TEXT = /^"((?:[^"\\]|\\.)*)"/;

/** What stands between quotes; null where it has an escape that a form does not write. */
function unquote(text: string): string | null {
  let isKnown = true;
  const plain = text.replace(/\\(.)/gs, (_, char) => {
    isKnown &&= char in ESCAPED;
    return ESCAPED[char];
  });
  return isKnown ? plain : null;
}

/** The form that stands for a query; null if no form can say that. */
export function fromQuery(query: string): Form | null {
  const body = /^\s*\{([\s\S]*)\}\s*$/.exec(query)?.[1];
  if (body === undefined) return null;
  const form: Form = { ...EMPTY, attributes: [] };
  const seen = new Set<string>();
  let rest = body.trim();
  while (rest !== "") {
    const match = /^([A-Za-z.][A-Za-z0-9_./:-]*)(?:"((?:[^"\\]|\\.)*)")?\s*(=|>=|<=|>|<)\s*/.exec(rest);
    if (!match) return null;
    const quoted = match[2] === undefined ? "" : unquote(match[2]);
    if (quoted === null) return null;
    const key = match[1] + quoted;
    const operator = match[3];
    rest = rest.slice(match[0].length);
    const text = TEXT.exec(rest);
    const value = text?.[0] ?? /^[^\s&|(){}"]+/.exec(rest)?.[0];
    if (value === undefined) return null;
    rest = rest.slice(value.length).trimStart();
    if (rest !== "") {
      if (!rest.startsWith("&&")) return null;
      rest = rest.slice(2).trimStart();
      if (rest === "") return null;
    }
    const id = key + operator;
    if (seen.has(id)) return null;
    seen.add(id);
    const plain = text ? unquote(text[1]) : null;
    if (text && plain === null) return null;
    if (key === "duration" && plain === null && isDuration(value)) {
      const side = operator.startsWith(">") ? "minimum" : operator.startsWith("<") ? "maximum" : null;
      // One field has room for one of both.
      if (side === null || form[side] !== "") return null;
      form[side] = operator.endsWith("=") ? value : `${operator} ${value}`;
    } else if (operator !== "=") return null;
    else if (key === "resource.service.name" && plain !== null) form.service = plain;
    else if (key === "name" && plain !== null) form.name = plain;
    else if (key === "status" && value === "error") form.failed = true;
    else if (key.includes(".") && (plain !== null || LITERAL.test(value))) {
      const bare = key.replace(/^\./, "");
      form.attributes.push({
        key: SCOPED.test(bare) ? key : bare,
        value: plain === null ? value : fieldOf(plain),
      });
    } else return null;
  }
  return form;
}
