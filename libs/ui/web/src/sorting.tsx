import type { ComponentChildren } from "preact";
import { params, setParams } from "./router";

/** A column by which a table is ordered; numbers begin with the largest. */
export interface Order<Column extends string> {
  by: Column;
  ascending: boolean;
}

/** The order that the address has, as `calls` or `-calls`; else the first of a table. */
export function orderOf<Column extends string>(
  text: string,
  columns: readonly Column[],
  first: Order<Column>,
): Order<Column> {
  const isDescending = text.startsWith("-");
  const by = columns.find((column) => column === (isDescending ? text.slice(1) : text));
  return by === undefined ? first : { by, ascending: !isDescending };
}

/** The order of a table, which is in the address, and what sets it. */
export function useOrder<Column extends string>(
  columns: readonly Column[],
  first: Order<Column>,
): { order: Order<Column>; set(order: Order<Column>): void } {
  const order = orderOf(params.value.get("sort") ?? "", columns, first);
  const set = ({ by, ascending }: Order<Column>) => {
    const isFirst = by === first.by && ascending === first.ascending;
    setParams({ sort: isFirst ? null : `${ascending ? "" : "-"}${by}` });
  };
  return { order, set };
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
