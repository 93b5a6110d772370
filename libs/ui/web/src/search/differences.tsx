import { config, json } from "../api";
import { ErrorMessage } from "../error-message";
import { counted, percent } from "../format";
import { Heads } from "../heads";
import { useLoaded } from "../loaded";
import { type Marked, messageOf, NotWhole } from "../partial";
import { type Range, tooLong } from "../range";
import { fixed } from "../range-select";
import { address } from "../router";
import { Scroll } from "../scroll";
import { Label } from "../text";
import { conditionsOf } from "./stage";

interface Value {
  /** Null where the attribute is missing. */
  value: string | null;
  /** Spans. */
  selection: number;
  baseline: number;
  /** The condition of TraceQL that finds them. */
  condition: string | null;
}

interface Attribute {
  name: string;
  score: number;
  implied: boolean;
  values: Value[];
  movesWith: string[];
}

interface Found extends Marked {
  selection: number;
  baseline: number;
  attributes: Attribute[];
}

/** Attributes and values of each that are shown. */
const ATTRIBUTES = 20;
const VALUES = 3;
const NAMES = 3;

interface Props {
  /** The spans that are looked at. */
  all: string;
  /** Those of them that are held against the others. */
  selection: string;
  range: Range;
  /** How what is looked at is told, if it is not plain. */
  where?: string;
}

/** What the spans of a selection have that others have not, what tells most first. */
export function Differences({ all, selection, range, where }: Props) {
  const wrong = tooLong(range, config.value?.limits.metricsSeconds ?? 0, "What differs");
  const query = new URLSearchParams({ q: all, selection, start: `${range.from}`, end: `${range.to}` });
  const { value, problem } = useLoaded(wrong === null ? `${query}` : null, (signal) =>
    json<Found>(`differences?${query}`, signal),
  );
  const said = wrong ?? problem;
  if (said !== null) return <ErrorMessage text={said} />;
  if (value === null) return <p role="status">reading…</p>;
  const shown = distinct(value.attributes.filter(({ implied }) => !implied)).slice(0, ATTRIBUTES);
  return (
    <section aria-label="What differs" class="differences">
      <h2>What differs</h2>
      <p class="muted">
        {counted(value.selection, "span")} of the selection against {counted(value.baseline, "other")} of the
        same time
        {where === undefined ? (
          "."
        ) : (
          <>
            , all of <code>{where}</code>.
          </>
        )}
      </p>
      <NotWhole messages={[messageOf(value)]} />
      {shown.length === 0 && <p class="hint">No attribute distinguishes these spans from the others.</p>}
      {shown.length > 0 && (
        <Scroll>
          <table>
            <Heads columns={["Attribute", "Value", { number: "Selection" }, { number: "Others" }]} />
            <tbody>
              {shown.flatMap((attribute) =>
                typicalFirst(attribute, value)
                  .slice(0, VALUES)
                  .map((one, at) => (
                    <Row
                      key={`${attribute.name} ${at}`}
                      attribute={at === 0 ? attribute : null}
                      one={one}
                      found={value}
                      {...{ all, selection, range }}
                    />
                  )),
              )}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

/** Values that the selection has more often, and then those that it lacks. */
function typicalFirst({ values }: Attribute, found: Found): Value[] {
  const isMore = ({ selection, baseline }: Value) =>
    selection * Math.max(1, found.baseline) >= baseline * Math.max(1, found.selection);
  return [...values.filter(isMore), ...values.filter((one) => !isMore(one))];
}

/** Without those whose values have the shares of the ones of an attribute before, beside which they are named. */
function distinct(attributes: Attribute[]): Attribute[] {
  const shares = ({ values }: Attribute) =>
    values
      .slice(0, VALUES)
      .map(({ selection, baseline }) => `${selection} ${baseline}`)
      .join();
  return attributes.filter(
    (one, at) =>
      !attributes
        .slice(0, at)
        .some((before) => before.movesWith.includes(one.name) && shares(before) === shares(one)),
  );
}

interface RowProps {
  /** Null below the first value of the attribute. */
  attribute: Attribute | null;
  one: Value;
  found: Found;
  all: string;
  selection: string;
  range: Range;
}

/** A filter with one more condition that must hold for the same span; null if it is more than a filter. */
function within(filter: string, condition: string): string | null {
  const body = conditionsOf(filter);
  if (body === null) return null;
  return body === "" ? `{ ${condition} }` : `{ (${body}) && ${condition} }`;
}

function Row({ attribute, one, found, all, selection, range }: RowProps) {
  const text = one.value === null ? <em>missing</em> : <Label value={one.value} none="(empty)" />;
  const places = { from: fixed(range).from, to: fixed(range).to };
  // What the selection has not is to be seen among the others.
  const q = one.condition && within(one.selection > 0 ? selection : all, one.condition);
  return (
    <tr>
      <td>
        {attribute && (
          <>
            <Label value={attribute.name} />
            {attribute.movesWith.length > 0 && (
              <span class="muted"> + {attribute.movesWith.slice(0, NAMES).join(", ")}</span>
            )}
          </>
        )}
      </td>
      <td>{q ? <a href={address("search", { q, ...places })}>{text}</a> : text}</td>
      <Share count={one.selection} of={found.selection} />
      <Share count={one.baseline} of={found.baseline} />
    </tr>
  );
}

function Share({ count, of }: { count: number; of: number }) {
  const share = of > 0 ? count / of : 0;
  return (
    <td class="number">
      {percent(share)} <meter min={0} max={1} value={share} aria-hidden="true" />
    </td>
  );
}
