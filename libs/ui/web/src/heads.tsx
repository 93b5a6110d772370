import type { ComponentChildren } from "preact";

/** The heads of a table's columns; those of numbers stand to the right, as the numbers do. */
export function Heads({ columns }: { columns: (ComponentChildren | { number: string })[] }) {
  return (
    <thead>
      <tr>
        {columns.map((column, at) =>
          typeof column === "object" && column !== null && "number" in column ? (
            <th key={at} scope="col" class="number">
              {column.number}
            </th>
          ) : (
            <th key={at} scope="col">
              {column}
            </th>
          ),
        )}
      </tr>
    </thead>
  );
}
