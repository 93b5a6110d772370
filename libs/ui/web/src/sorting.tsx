import type { ComponentChildren } from "preact";

/** A column by which a table is ordered; numbers begin with the largest. */
export interface Order<Column extends string> {
  by: Column;
  ascending: boolean;
}

interface Props<Column extends string> {
  column: Column;
  order: Order<Column>;
  set(order: Order<Column>): void;
  isText?: boolean;
  children: ComponentChildren;
}

/** The head of a column that orders its table. */
export function SortHead<Column extends string>({ column, order, set, isText, children }: Props<Column>) {
  const isOrdered = order.by === column;
  const next = isOrdered ? !order.ascending : isText === true;
  return (
    <th
      scope="col"
      class={isText ? undefined : "number"}
      aria-sort={isOrdered ? (order.ascending ? "ascending" : "descending") : undefined}
    >
      <button type="button" onClick={() => set({ by: column, ascending: next })}>
        {children}
        {isOrdered && (order.ascending ? " ▴" : " ▾")}
      </button>
    </th>
  );
}

/** A copy of rows in an order of numbers or texts. */
export function ordered<Row>(
  rows: readonly Row[],
  value: (row: Row) => number | string,
  ascending: boolean,
): Row[] {
  const sign = ascending ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    return left < right ? -sign : left > right ? sign : 0;
  });
}
