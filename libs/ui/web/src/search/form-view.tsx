import { useEffect, useState } from "preact/hooks";
import type { Range } from "../range";
import { params, setParams } from "../router";
import { EMPTY, type Form, fromQuery, isBound, toQuery } from "./form";
import { services } from "./query";

interface Props {
  query: string;
  range: Range;
  write(query: string): void;
}

/** Fields that write the query, and follow it. */
export function QueryForm({ query, range, write }: Props) {
  const open = params.value.get("form") === "1";
  const [known, setKnown] = useState<string[]>([]);
  // What is typed here stays as it is while the query says the same.
  const [draft, setDraft] = useState<Form>(EMPTY);
  const read = query.trim() === "" ? EMPTY : fromQuery(query);
  const form = toQuery(draft) === query ? draft : read;
  useEffect(() => {
    if (!open) return;
    const stop = new AbortController();
    services(range, stop.signal).then(setKnown, () => {});
    return () => stop.abort();
  }, [open, range.from, range.to]);
  const set = (change: Partial<Form>) => {
    const next = { ...(form ?? EMPTY), ...change };
    setDraft(next);
    write(toQuery(next));
  };
  const attributes = form ? [...form.attributes, { key: "", value: "" }] : [];
  const setAttribute = (at: number, change: Partial<{ key: string; value: string }>) =>
    set({
      attributes: attributes
        .map((pair, index) => (index === at ? { ...pair, ...change } : pair))
        .filter(({ key, value }) => key !== "" || value !== ""),
    });
  return (
    <details
      class="form"
      open={open}
      onToggle={(event) => setParams({ form: event.currentTarget.open ? "1" : null })}
    >
      <summary>Form</summary>
      {!form && <p>The form cannot show all of this query. It runs as written.</p>}
      {form && (
        <div class="fields">
          <label>
            Service
            <input
              value={form.service}
              list="services"
              onInput={(e) => set({ service: e.currentTarget.value })}
            />
          </label>
          <datalist id="services">
            {known.map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
          <label>
            Span name
            <input value={form.name} onInput={(e) => set({ name: e.currentTarget.value })} />
          </label>
          <Bound label="Lasts at least" sign=">" value={form.minimum} set={(minimum) => set({ minimum })} />
          <Bound label="Lasts at most" sign="<" value={form.maximum} set={(maximum) => set({ maximum })} />
          <label class="check">
            <input
              type="checkbox"
              checked={form.failed}
              onChange={(e) => set({ failed: e.currentTarget.checked })}
            />
            failed
          </label>
          {attributes.map(({ key, value }, at) => (
            <fieldset key={at}>
              <label>
                Attribute
                <input value={key} onInput={(e) => setAttribute(at, { key: e.currentTarget.value })} />
              </label>
              <label>
                is
                <input
                  value={value}
                  title='A number in quotes is text: "42"'
                  onInput={(e) => setAttribute(at, { value: e.currentTarget.value })}
                />
              </label>
            </fieldset>
          ))}
        </div>
      )}
    </details>
  );
}

interface BoundProps {
  label: string;
  sign: "<" | ">";
  value: string;
  set(value: string): void;
}

function Bound({ label, sign, value, set }: BoundProps) {
  const [text, setText] = useState(value);
  // What is no duration yet stays as it is written; what the query says otherwise takes its place.
  const shown = value === (isBound(text, sign) ? text : "") ? text : value;
  const isWrong = shown !== "" && !isBound(shown, sign);
  return (
    <label>
      {label}
      <input
        value={shown}
        placeholder="250ms"
        title={`With ${sign} before it, spans that last just as long are left out`}
        aria-invalid={isWrong ? "true" : undefined}
        onInput={(event) => {
          setText(event.currentTarget.value);
          set(isBound(event.currentTarget.value, sign) ? event.currentTarget.value : "");
        }}
      />
    </label>
  );
}
