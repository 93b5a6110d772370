import { useEffect, useMemo, useState } from "preact/hooks";
import { zone } from "./format";
import {
  defaultRange,
  fieldOf,
  fixedRange,
  RANGES,
  type Range,
  rangeOf,
  rangeOfFields,
  seconds,
} from "./range";
import { params, setParams } from "./router";

/** Chooses the time range of the address. `limit`: the longest that can be asked for, in seconds, 0 is none. */
export function RangeSelect({ limit }: { limit: number }) {
  const [from, to] = [params.value.get("from"), params.value.get("to")];
  const given = useMemo(() => fixedRange(params.value), [from, to]);
  const isFixed = given !== null;
  const isWrong = !isFixed && (params.value.has("from") || params.value.has("to"));
  const asked = params.value.get("range") ?? "";
  // A link may ask for one that is not among them.
  const range = seconds(asked) === null ? defaultRange(limit) : asked;
  return (
    <>
      <label class="hidden" for="range">
        Time range
      </label>
      <select
        id="range"
        value={isFixed ? "fixed" : range}
        onChange={({ currentTarget: { value } }) =>
          setParams(
            value === "fixed" ? fixed(rangeOf(params.value, limit)) : { range: value, from: null, to: null },
            false,
          )
        }
      >
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
        <option value="fixed">from – to</option>
      </select>
      {given && <Times {...given} />}
      {isWrong && <span class="error">✕ the address has no valid range</span>}
    </>
  );
}

/** Begin and end of a range, to be seen and changed. Each change counts when its field is left, or with Enter. */
function Times({ from, to }: Range) {
  const [first, setFirst] = useState(() => fieldOf(from));
  const [last, setLast] = useState(() => fieldOf(to));
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    setFirst(fieldOf(from));
    setLast(fieldOf(to));
    setProblem(null);
  }, [from, to]);
  /** False if the address has changed, which runs the query, or cannot. */
  const ask = () => {
    const asked = rangeOfFields(first, last, { from, to });
    const problem = typeof asked === "string" ? asked : null;
    setProblem(problem);
    if (typeof asked === "string" || (asked.from === from && asked.to === to)) return problem === null;
    setParams(fixed(asked), false);
    return false;
  };
  const field = (label: string, value: string, set: (value: string) => void) => (
    <input
      type="datetime-local"
      step={1}
      aria-label={label}
      aria-invalid={problem !== null}
      value={value}
      onInput={(event) => set(event.currentTarget.value)}
      onBlur={ask}
      onKeyDown={(event) => event.key === "Enter" && !ask() && event.preventDefault()}
    />
  );
  const said = (seconds: number) => <span class="muted nowrap">{zone(seconds)}</span>;
  return (
    <span class="times">
      {field("From", first, setFirst)} {zone(from) !== zone(to) && said(from)}
      {" – "}
      {field("To", last, setLast)} {said(to)}
      {problem !== null && (
        <span class="error" role="alert">
          {" "}
          ✕ {problem}
        </span>
      )}
    </span>
  );
}

/**
 * The range of the address, which stays the same until that changes or `again` is called. `limit`: that of the page. `run` is
 * another number after each call: a range that does not follow the clock stays the same.
 */
export function useRange(limit: number): { range: Range; run: number; again(): void } {
  const [run, setRun] = useState(0);
  const { value } = params;
  const key = `${value.get("range")} ${value.get("from")} ${value.get("to")} ${limit} ${run}`;
  const range = useMemo(() => rangeOf(value, limit), [key]);
  return { range, run, again: () => setRun((run) => run + 1) };
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
