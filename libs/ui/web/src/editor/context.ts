/** What may stand at a place of a query. */
export type Kind = "key" | "operator" | "value" | "logic" | "stage" | "argument" | "none";

export interface Place {
  kind: Kind;
  /** Where the word begins that is being written. */
  from: number;
  /** That word, up to the cursor. */
  word: string;
  /** The attribute that a value is for. */
  key: string;
  /** Between braces. */
  isInside: boolean;
}

const TOKEN =
  /\s+|[a-z]*\."(?:[^"\\]|\\.)*"?|"(?:[^"\\]|\\.)*"?|`[^`]*`?|&&|\|\||>=|<=|=~|!=|!~|!>>|!<<|!>|!<|>>|<<|&>>|&<<|&>|&<|[{}()|,=<>!~+\-*/%^]|[^\s"`{}()|,=<>!~+*/%^&]+|./gy;
const COMPARISONS = new Set(["=", "!=", "=~", "!~", "<", "<=", ">", ">="]);
const LOGIC = new Set(["&&", "||"]);

/** Functions whose arguments are attributes. */
const TAKES_KEYS = new Set([
  "by",
  "select",
  "avg",
  "max",
  "min",
  "sum",
  "avg_over_time",
  "max_over_time",
  "min_over_time",
  "sum_over_time",
  "quantile_over_time",
  "histogram_over_time",
]);

interface Token {
  text: string;
  at: number;
}

function tokens(text: string): Token[] {
  const all: Token[] = [];
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text))
    all.push({ text: match[0], at: match.index });
  return all;
}

/**
 * What may stand at the cursor. It reads tokens, not the grammar: good enough to help while somebody writes what is not yet a
 * query. Whether it is one, the server says.
 */
export function placeOf(query: string, cursor: number): Place {
  const all = tokens(query.slice(0, cursor));
  const last = all.at(-1);
  const isWord = last !== undefined && /^[A-Za-z0-9_."`:µ]/.test(last.text);
  const word = isWord ? last.text : "";
  const before = (isWord ? all.slice(0, -1) : all)
    .map(({ text }) => text)
    .filter((text) => text.trim() !== "");
  let braces = 0;
  const calls: string[] = [];
  for (let at = 0; at < before.length; at += 1) {
    const text = before[at];
    if (text === "{") braces += 1;
    else if (text === "}") braces = Math.max(0, braces - 1);
    else if (text === "(") calls.push(braces > 0 ? "" : (before[at - 1] ?? ""));
    else if (text === ")") calls.pop();
  }
  const isInside = braces > 0;
  const place = (kind: Kind, key = ""): Place => ({ kind, from: cursor - word.length, word, key, isInside });
  const previous = before.at(-1) ?? "";
  if (!isInside) {
    if (previous === "|") return place("stage");
    const call = calls.at(-1) ?? "";
    if (TAKES_KEYS.has(call) && (previous === "(" || previous === ",")) {
      // Behind the attribute of a quantile come numbers.
      return place(call === "quantile_over_time" && previous === "," ? "none" : "argument");
    }
    return place(previous === "}" || previous === ")" ? "logic" : "none");
  }
  if (previous === "{" || previous === "(" || LOGIC.has(previous) || previous === "!") return place("key");
  if (COMPARISONS.has(previous)) return place("value", before.at(-2) ?? "");
  const isCompared = COMPARISONS.has(before.at(-2) ?? "");
  return place(isCompared || previous === ")" ? "logic" : "operator");
}
