import type { QueryError } from "./check";

/** What is wrong with a query, at its place. */
export function Problem({ query, problem }: { query: string; problem: QueryError }) {
  const { line, column } = problem;
  const at = line === undefined || column === undefined ? null : { line, column };
  return (
    <>
      {at && (
        <pre class="mono" aria-hidden="true">
          {query.split("\n")[at.line - 1]}
          {"\n"}
          {" ".repeat(Math.max(0, at.column - 1))}^
        </pre>
      )}
      <p>
        ✕ {problem.message}
        {at && ` (column ${at.column})`}
      </p>
    </>
  );
}
