import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { QueryField } from "../editor/field";
import { shortcuts } from "../keys";
import type { Range } from "../range";
import { RangeSelect } from "../range-select";
import type { QueryError } from "./check";
import { Problem } from "./problem";

interface Props {
  value: string;
  set(value: string): void;
  range: Range;
  label: string;
  placeholder?: string;
  problem: QueryError | null;
  recent?: string[];
  /** The longest range in seconds, 0 for any; without it no range is chosen. */
  limit?: number;
  run(): void;
  /** What else is chosen. */
  children?: ComponentChildren;
  /** What stands behind the button that runs the query. */
  after?: ComponentChildren;
}

/** Where the query of a page is written and run, and what is wrong with it. `/` takes the focus there. */
export function QueryBar({ limit, run, children, after, ...field }: Props) {
  const focusField = useRef<() => void>(() => {});
  const takeFocus = useRef((focus: () => void) => {
    focusField.current = focus;
  });
  useEffect(() => shortcuts({ "/": () => focusField.current() }), []);
  return (
    <>
      <form
        class="query"
        onSubmit={(event) => {
          event.preventDefault();
          run();
        }}
      >
        <QueryField {...field} focus={takeFocus.current} />
        {limit !== undefined && <RangeSelect limit={limit} />}
        {children}
        <button type="submit" class="primary">
          Run
        </button>
        {after}
      </form>
      <div id="query-problem" class="problem" aria-live="polite">
        {field.problem && <Problem problem={field.problem} />}
      </div>
    </>
  );
}
