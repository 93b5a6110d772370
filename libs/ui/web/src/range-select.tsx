import { useMemo, useState } from "preact/hooks";
import { DEFAULT_RANGE, fixedRange, RANGES, type Range, rangeOf, seconds } from "./range";
import { params, setParams } from "./router";

/** Chooses the time range of the address. `limit`: the longest that can be asked for, in seconds, 0 is none. */
export function RangeSelect({ limit }: { limit: number }) {
  const isFixed = fixedRange(params.value) !== null;
  const isWrong = !isFixed && (params.value.has("from") || params.value.has("to"));
  const asked = params.value.get("range") ?? DEFAULT_RANGE;
  // A link may ask for one that is not among them.
  const range = seconds(asked) === null ? DEFAULT_RANGE : asked;
  return (
    <>
      <label class="hidden" for="range">
        Time range
      </label>
      <select
        id="range"
        value={isFixed ? "fixed" : range}
        onChange={(event) => setParams({ range: event.currentTarget.value, from: null, to: null }, false)}
      >
        {isFixed && <option value="fixed">chosen range</option>}
        {[...new Set([...RANGES, range])].map((range) => {
          const isTooLong = limit > 0 && (seconds(range) ?? 0) > limit;
          return (
            <option
              key={range}
              value={range}
              disabled={isTooLong}
              title={isTooLong ? "Longer than this server allows here" : undefined}
            >
              last {range}
            </option>
          );
        })}
      </select>
      {isWrong && <span class="error">✕ the address has no valid range</span>}
    </>
  );
}

/** The range of the address, which stays the same until that changes or `again` is called. */
export function useRange(): { range: Range; again(): void } {
  const [count, setCount] = useState(0);
  const { value } = params;
  const key = `${value.get("range")} ${value.get("from")} ${value.get("to")} ${count}`;
  const range = useMemo(() => rangeOf(value), [key]);
  return { range, again: () => setCount(count + 1) };
}

/** The range of the address, for the address of another page. */
export function rangeParams(): Record<string, string | null> {
  const { value } = params;
  return { range: value.get("range"), from: value.get("from"), to: value.get("to") };
}

/** Parameters that fix a range. */
export function fixed(range: Range): Record<string, string | null> {
  return { from: `${range.from}`, to: `${range.to}`, range: null };
}
