/** What may stand at a place of a query. */
export type Kind =
  /** Nothing is written yet, or a parenthesis has just been opened. */
  | "start"
  /** An attribute, in a condition or an expression. */
  | "field"
  /** An operator behind an attribute. */
  | "operator"
  /** What an attribute is compared with. */
  | "value"
  /** Behind a comparison. */
  | "logic"
  /** Behind spans: what relates them to others, or a pipe. */
  | "relation"
  /** A filter, behind what relates it. */
  | "spans"
  | "stage"
  /** Behind a stage that only a pipe can follow. */
  | "pipe"
  /** What the number of an aggregate is compared with stands behind this. */
  | "comparison"
  /** An attribute alone. */
  | "argument"
  | "measure"
  /** Behind a metrics function. */
  | "series"
  /** Behind a pipe behind a metrics function. */
  | "limit"
  | "hint"
  | "hint value"
  | "none";

export interface Place {
  kind: Kind;
  /** The word that is being written: where it begins and ends. The cursor is in it or behind it. */
  from: number;
  to: number;
  /** That word, up to the cursor. */
  word: string;
  /** Of a value: the attribute or the hint that it is for. */
  key: string;
  /** Of a value: the condition without its comparison, as a filter. Empty if it says nothing. */
  filter: string;
}

const TOKEN = new RegExp(
  [
    /\s+|\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/u, // blanks and comments
    /"(?:[^"\\\n]|\\.)*"?|`[^`]*`?/u, // strings, perhaps not at their end yet
    /(?:(?:span|resource|event|link|instrumentation|parent)\.|\.(?!\d))(?:"(?:[^"\\]|\\.)*"?|[^\s{}()=~!<>&|^,"])*/u,
    /[\d.][\w.µ]*/u, // numbers and durations
    /[\p{L}_][\p{L}\p{Nd}_]*(?::[A-Za-z]*)?/u, // words and intrinsics
    /!>>|!<<|&>>|&<<|&&|\|\||>=|<=|=~|!~|!=|!>|!<|>>|<<|&>|&<|&~|[\s\S]/u,
  ]
    .map(({ source }) => source)
    .join("|"),
  "guy",
);
const SKIPPED = /^(?:\s|\/\/|\/\*)/;
const WORD = /^[\p{L}\p{Nd}_."`]/u;
const NAME = /^(?:[\p{L}_]|\.(?!\d))/u;

const COMPARISONS = new Set(["=", "!=", "=~", "!~", "<", "<=", ">", ">="]);
const ARITHMETIC = new Set(["+", "-", "*", "/", "%", "^"]);
const LOGIC = new Set(["&&", "||"]);
const RELATIONS = new Set("> < >> << ~ !> !< !>> !<< !~ &> &< &>> &<< &~ && ||".split(" "));
const LIMITS = new Set(["topk", "bottomk"]);
const AGGREGATES = new Set(["count", "avg", "max", "min", "sum"]);
/** Functions whose argument is an attribute. */
const OF_ATTRIBUTE = new Set(
  "min_over_time max_over_time avg_over_time sum_over_time quantile_over_time histogram_over_time".split(" "),
);
const METRICS = new Set([...OF_ATTRIBUTE, "rate", "count_over_time", "compare", "service_graph"]);

interface Token {
  text: string;
  from: number;
  to: number;
}

/** What has been opened. The whole query is one without a bracket. */
interface Frame {
  open: "" | "{" | "(";
  from: number;
  /** The function that a parenthesis belongs to; "" for one that groups. */
  call: string;
  /** The tokens in it so far; what was opened and closed among them is its last one. */
  before: Token[];
  /** What was closed last. */
  closed: Frame | null;
  /** A metrics function was among it: what follows is about series. */
  isSeries: boolean;
}

function tokensOf(text: string): Token[] {
  return [...text.matchAll(TOKEN)].map(({ 0: text, index }) => ({
    text,
    from: index,
    to: index + text.length,
  }));
}

function opened(open: Frame["open"], from: number, call: string): Frame {
  return { open, from, call, before: [], closed: null, isSeries: false };
}

/** What is open behind these tokens, outermost first. */
function framesOf(tokens: Token[]): Frame[] {
  const frames = [opened("", 0, "")];
  for (const token of tokens) {
    const frame = frames[frames.length - 1];
    const { text, from } = token;
    if (text === "{") frames.push(opened("{", from, ""));
    else if (text === "(") {
      const call = frame.before.at(-1)?.text ?? "";
      frames.push(opened("(", from, NAME.test(call) && frame.open !== "{" ? call : ""));
      if (METRICS.has(call)) frame.isSeries = true;
    } else if (text === "}" || text === ")") {
      if (frames.length === 1 || (text === "}") !== (frame.open === "{")) continue;
      frames.pop();
      const outer = frames[frames.length - 1];
      outer.closed = frame;
      outer.before.push(token);
    } else frame.before.push(token);
  }
  return frames;
}

/** In braces, and in a function of an expression. */
function inCondition(frame: Frame): Kind {
  const before = frame.before.map(({ text }) => text);
  const last = before.at(-1);
  if (last === undefined || LOGIC.has(last) || last === "!" || ARITHMETIC.has(last)) return "field";
  if (COMPARISONS.has(last)) return "value";
  const clause = before.slice(before.findLastIndex((text) => LOGIC.has(text)) + 1);
  return last === ")" || clause.some((text) => COMPARISONS.has(text)) ? "logic" : "operator";
}

function inCall(frame: Frame, outer: Frame): Kind {
  const { call, before } = frame;
  const last = before.at(-1)?.text;
  const isListed = last === undefined || last === ",";
  if (call === "with") {
    if (isListed) return "hint";
    return last === "=" ? "hint value" : "none";
  }
  if (call === "service_graph") return last === undefined ? "measure" : "none";
  if (call === "select" || (call === "by" && outer.isSeries)) return isListed ? "argument" : "none";
  // Behind the attribute of a quantile come numbers.
  if (OF_ATTRIBUTE.has(call)) return last === undefined ? "argument" : "none";
  if (call === "by" || (AGGREGATES.has(call) && call !== "count")) return inCondition(frame);
  return "none";
}

function outside(frame: Frame): Kind {
  const before = frame.before.map(({ text }) => text);
  const last = before.at(-1);
  if (last === undefined) return "start";
  if (last === "|") return frame.isSeries ? "limit" : "stage";
  const call = last === ")" ? (frame.closed?.call ?? "") : "";
  if (METRICS.has(call) || LIMITS.has(call) || (call === "by" && frame.isSeries)) return "series";
  if (AGGREGATES.has(call)) return "comparison";
  if (last === "}" || (last === ")" && call === "")) return frame.closed?.isSeries ? "series" : "relation";
  if (last === ")") return call === "with" ? "none" : "pipe";
  if (/^[\d.]/.test(last)) return frame.isSeries ? "series" : "pipe";
  const isRelated = RELATIONS.has(last) && (before.at(-2) === "}" || frame.closed?.call === "");
  return isRelated && !frame.isSeries ? "spans" : "none";
}

/** A filter of what its braces say beside one comparison. */
function rest(text: string, { from: open }: Frame, from: number, to: number): string {
  let depth = 0;
  // A quote that is not closed yet takes what is behind it for its own.
  const close = tokensOf(text.slice(to)).find(({ text }) => {
    if (text === "{") depth += 1;
    return text === "}" && depth-- === 0;
  });
  const before = text.slice(open + 1, from);
  const behind = text.slice(to, close ? to + close.from : text.length);
  // In the place of the comparison: what says nothing, with `||` as well.
  return /^[\s&|()!]*$/.test(before + behind) ? "" : `{${before}true${behind}}`;
}

/**
 * What may stand at the cursor. It looks at tokens, not at the tree: good enough to help while somebody writes what is not yet a
 * query.
 */
export function placeOf(text: string, cursor: number): Place {
  const tokens = tokensOf(text);
  const under = tokens.find(({ from, to }) => from < cursor && cursor <= to);
  const isWord = under !== undefined && WORD.test(under.text);
  const from = isWord ? under.from : cursor;
  const place: Place = {
    kind: "none",
    from,
    to: cursor,
    word: text.slice(from, cursor),
    key: "",
    filter: "",
  };
  if (isWord) {
    // A quote that is not closed yet may end at one that opens something else.
    const behind = text.slice(cursor, under.to);
    if (!/^["`]/.test(under.text) || /^[^\s&|{}]*$/.test(behind)) place.to = under.to;
  }
  // Within a comment, or at the end of one that goes on.
  if (under && SKIPPED.test(under.text) && under.text.trim() !== "") {
    if (cursor < under.to || !under.text.endsWith("*/")) return place;
  }
  const before = tokens.filter((token) => token.to <= from && !SKIPPED.test(token.text));
  const frames = framesOf(before);
  const frame = frames[frames.length - 1];
  const calling = frames.findLast(({ open, call }) => open === "{" || call !== "");
  if (calling?.open === "{") place.kind = inCondition(frame);
  else if (frame.call !== "") place.kind = inCall(frame, frames[frames.length - 2]);
  else place.kind = calling ? inCondition(frame) : outside(frame);
  if (place.kind === "value" || place.kind === "hint value") {
    const key = frame.before.at(-2);
    if (!key || !NAME.test(key.text)) return { ...place, kind: "none" };
    place.key = key.text;
    if (calling?.open === "{") place.filter = rest(text, calling, key.from, place.to);
  }
  return place;
}
