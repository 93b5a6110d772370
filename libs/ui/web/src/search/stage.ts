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
