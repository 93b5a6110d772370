import type { QueryError } from "./check";

/** What is wrong with a query, and where. */
export function Problem({ problem: { message, line, column } }: { problem: QueryError }) {
  return (
    <p>
      ✕ {message}
      {line !== undefined && column !== undefined && ` (${line > 1 ? `line ${line}, ` : ""}column ${column})`}
    </p>
  );
}
