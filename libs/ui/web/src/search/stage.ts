const TOKEN = /"(?:[^"\\]|\\.)*"?|`[^`]*`?|\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|[A-Za-z_][\w.:]*|[\s\S]/gy;

/** A query without its hints, and the text between their parentheses; of several `with (…)` the last counts. */
function parts(query: string): { body: string; hints: string } {
  let depth = 0;
  for (const { 0: token, index } of query.matchAll(TOKEN)) {
    if (token === "{" || token === "(") depth += 1;
    if (token === "}" || token === ")") depth -= 1;
    if (depth !== 0 || token !== "with") continue;
    const all = [...query.slice(index).matchAll(/with\s*\(([^()]*)\)/g)];
    return { body: query.slice(0, index), hints: all[all.length - 1]?.[1].trim() ?? "" };
  }
  return { body: query, hints: "" };
}

function isBlank(token: string): boolean {
  return token.trim() === "" || token.startsWith("//") || token.startsWith("/*");
}

const SELECTED = /^(\s*\|\s*select\s*\((?:"(?:[^"\\]|\\.)*"|[^()"])*\))*\s*$/;

/** The filter of a query that finds the spans of one alone, whatever it selects of them; null for any other. */
export function filterOf(query: string): string | null {
  const { body } = parts(query);
  let begin = -1;
  let depth = 0;
  for (const { 0: token, index } of body.matchAll(TOKEN)) {
    if (isBlank(token)) continue;
    if (begin < 0) begin = index;
    if (token === "{") depth += 1;
    if (token === "}") depth -= 1;
    if (depth > 0) continue;
    const end = index + token.length;
    return token === "}" && SELECTED.test(body.slice(end)) ? body.slice(begin, end) : null;
  }
  return null;
}

/** The condition of what {@link filterOf} finds, so that more can stand behind it; empty for a filter of all spans. */
export function conditionsOf(query: string): string | null {
  const inside = filterOf(query)?.slice(1, -1).trim();
  if (inside === undefined) return null;
  // A comment ends with its line.
  return inside.includes("//") ? `${inside}\n` : inside;
}

/** Functions that make values of spans: their queries find no traces. */
const FUNCTION =
  /^(rate|count_over_time|(min|max|avg|sum|quantile|histogram)_over_time|compare|service_graph)$/;

/** A function for metrics, the first of a query that has several. */
export interface Metrics {
  /** What finds the spans. */
  spans: string;
  name: string;
  args: string[];
  /** Its values are those of the answer: there is no arithmetic. */
  isPlain: boolean;
}

/** Metrics within more parentheses are not looked for. */
const DEEPEST = 20;

/** What a query for metrics asks for, as far as its text tells; null for any other. */
export function metricsOf(query: string, deepest = DEEPEST): Metrics | null {
  const { body } = parts(query);
  const groups: { from: number; to: number }[] = [];
  let depth = 0;
  let before = "";
  let pipe = 0;
  for (const { 0: token, index } of body.matchAll(TOKEN)) {
    if (depth === 0 && token === "(") groups.push({ from: index, to: body.length });
    if (token === "{" || token === "(") depth += 1;
    if (token === "}" || token === ")") depth -= 1;
    const group = groups.at(-1);
    if (depth === 0 && token === ")" && group) group.to = index;
    if (depth === 0 && before === "|" && FUNCTION.test(token)) {
      const { args, rest } = argumentsIn(body.slice(index + token.length));
      return { spans: body.slice(0, pipe), name: token, args, isPlain: !computes(rest) };
    }
    if (isBlank(token)) continue;
    before = token;
    if (token === "|") pipe = index;
  }
  for (const { from, to } of deepest > 0 ? groups : []) {
    const inner = metricsOf(body.slice(from + 1, to), deepest - 1);
    const around = `${body.slice(0, from)} ${body.slice(to + 1)}`;
    if (inner) return { ...inner, isPlain: inner.isPlain && !computes(around) };
  }
  return null;
}

/** What stands between the first parentheses of a text, and what follows them. */
function argumentsIn(text: string): { args: string[]; rest: string } {
  const args = [""];
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (token === ")") depth -= 1;
    if (depth === 0 && token === ")") return { args, rest: text.slice(index + 1) };
    if (depth === 1 && token === ",") args.push("");
    else if (depth > 0 && !isBlank(token)) args[args.length - 1] += token;
    if (token === "(") depth += 1;
  }
  return { args, rest: "" };
}

/** Whether arithmetic stands in a text outside of parentheses; the sign of a number is none. */
function computes(text: string): boolean {
  let depth = 0;
  let before = "";
  for (const { 0: token } of text.matchAll(TOKEN)) {
    if (token === "{" || token === "(") depth += 1;
    if (token === "}" || token === ")") depth -= 1;
    if (depth === 0 && /^[-+*/]$/.test(token) && !/^[<>=]$/.test(before)) return true;
    if (!isBlank(token)) before = token;
  }
  return false;
}

/** Whether a query is one for metrics, as far as its text tells. */
export function isMetrics(query: string): boolean {
  return metricsOf(query) !== null;
}

/** The value that a query gives a hint; null without one. */
export function hintOf(query: string, name: string): string | null {
  const found = new RegExp(`(?:^|,)\\s*${name}\\s*=\\s*([^,\\s]+)`).exec(parts(query).hints);
  return found?.[1] ?? null;
}

/** Words and signs of a query without its hints; a text is one. */
export function tokensOf(query: string): string[] {
  return [...parts(query).body.matchAll(TOKEN)].map(([token]) => token).filter((token) => !isBlank(token));
}

/** A query with one more stage, which goes before hints. `hint`: one that is added unless the query has its own. */
export function withStage(query: string, stage: string, hint = ""): string {
  const { body, hints } = parts(query);
  const name = hint.split("=")[0];
  const isOwn = hint === "" || hintOf(query, name) !== null;
  const all = [hints, isOwn ? "" : hint].filter(Boolean).join(", ");
  // A comment ends with its line.
  const gap = body.includes("//") ? "\n" : " ";
  return `${body.trimEnd()}${gap}| ${stage}${all === "" ? "" : ` with(${all})`}`;
}
