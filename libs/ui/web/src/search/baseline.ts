const CONDITION =
  /^\s*((?:[A-Za-z.][A-Za-z0-9_./:-]*)(?:"(?:[^"\\]|\\.)*")?)\s*(=~|!~|!=|>=|<=|=|>|<)\s*("(?:[^"\\]|\\.)*"|`[^`]*`|[^\s&|(){}"`]+)\s*(&&|$)/;
const STATE = /^(span:|trace:)?(status|statusMessage|duration)$/;

/**
 * What the spans of a query are held against: those of the same places, however they went. Without the conditions on status,
 * duration and sizes of `{ service = "a" && status = error }` that is `{ service = "a" }`; all spans if nothing remains, or if
 * the query is more than conditions that all hold.
 */
export function baselineOf(query: string): string {
  let rest = /^\s*\{([\s\S]*)\}\s*$/.exec(query)?.[1].trim() ?? "";
  const kept: string[] = [];
  let dropped = 0;
  while (rest !== "") {
    const match = CONDITION.exec(rest);
    if (!match || (match[4] === "&&" && match[0].length === rest.length)) return "{ }";
    const [whole, name, operator, value] = match;
    if (!STATE.test(name) && (operator === "=" || operator === "=~")) {
      kept.push(`${name} ${operator} ${value}`);
    } else dropped += 1;
    rest = rest.slice(whole.length).trimStart();
  }
  return kept.length === 0 || dropped === 0 ? "{ }" : `{ ${kept.join(" && ")} }`;
}
