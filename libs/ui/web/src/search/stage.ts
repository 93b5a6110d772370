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

/** Functions that make values of spans: their queries find no traces. */
const FUNCTION =
  /^(rate|count_over_time|(min|max|avg|sum|quantile|histogram)_over_time|compare|service_graph)$/;

/** Whether a query is one for metrics, as far as its text tells. */
export function isMetrics(query: string): boolean {
  let depth = 0;
  let before = "";
  for (const { 0: token } of query.matchAll(TOKEN)) {
    if (token === "{" || token === "(") depth += 1;
    if (token === "}" || token === ")") depth -= 1;
    if (depth === 0 && before === "|" && FUNCTION.test(token)) return true;
    if (!isBlank(token)) before = token;
  }
  return false;
}

/** A query with one more stage, which goes before hints. `hint`: one that is added unless the query has its own. */
export function withStage(query: string, stage: string, hint = ""): string {
  const { body, hints } = parts(query);
  const name = hint.split("=")[0];
  const isOwn = hint === "" || new RegExp(`(^|,)\\s*${name}\\s*=`).test(hints);
  const all = [hints, isOwn ? "" : hint].filter(Boolean).join(", ");
  // A comment ends with its line.
  const gap = body.includes("//") ? "\n" : " ";
  return `${body.trimEnd()}${gap}| ${stage}${all === "" ? "" : ` with(${all})`}`;
}
