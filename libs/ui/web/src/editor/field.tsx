import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Range } from "../range";
import { visible } from "../text";
import { placeOf } from "./context";
import { type Option, optionsFor } from "./options";

/** What is typed is looked at when it has been left alone for so many milliseconds. */
const OFFER_AFTER = 80;

interface Props {
  value: string;
  set(value: string): void;
  range: Range;
  label: string;
  placeholder?: string;
  isWrong: boolean;
  /** Queries that are offered while nothing is written. */
  recent?: string[];
  /** Called with what takes the focus. */
  focus?: (focus: () => void) => void;
}

/** A field for TraceQL that offers what can be written next. */
export function QueryField({ value, set, range, label, placeholder, isWrong, recent, focus }: Props) {
  const field = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [offer, setOffer] = useState<Option[] | null>(null);
  const [chosen, setChosen] = useState(-1);
  const cursor = useRef<number | null>(null);
  const timer = useRef(0);
  useEffect(() => focus?.(() => field.current?.focus()), [focus]);
  useEffect(() => () => clearTimeout(timer.current), []);
  useLayoutEffect(() => {
    // Where an option leaves the cursor, once the field has the text.
    if (cursor.current === null) return;
    field.current?.setSelectionRange(cursor.current, cursor.current);
    cursor.current = null;
    look();
  });
  useEffect(() => {
    list.current?.querySelector(`#query-option-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }, [chosen]);

  const look = () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(async () => {
      const element = field.current;
      if (!element || document.activeElement !== element) return;
      const at = element.selectionStart ?? element.value.length;
      const text = element.value;
      const options =
        text.trim() === ""
          ? (recent ?? []).map((text) => ({ text, note: "recent" }))
          : await optionsFor(placeOf(text, at), range).catch(() => []);
      // Somebody may have gone on writing.
      if (element.value !== text || element.selectionStart !== at) return;
      setOffer(options.length > 0 ? options : null);
      setChosen(-1);
    }, OFFER_AFTER);
  };
  const close = () => {
    clearTimeout(timer.current);
    setOffer(null);
  };
  const take = (option: Option) => {
    // The offer may be older than what was written since.
    const at = field.current?.selectionStart ?? value.length;
    const isEmpty = value.trim() === "";
    const before = value.slice(0, isEmpty ? 0 : placeOf(value, at).from) + option.text;
    cursor.current = before.length - (option.back ?? 0);
    set(before + (isEmpty ? "" : value.slice(at)));
    close();
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === " " && event.ctrlKey) {
      event.preventDefault();
      look();
      return;
    }
    if (!offer || event.ctrlKey || event.metaKey || event.altKey) return;
    const count = offer.length;
    if (event.key === "ArrowDown") setChosen((chosen + 1) % count);
    else if (event.key === "ArrowUp") setChosen(chosen <= 0 ? count - 1 : chosen - 1);
    else if (event.key === "Escape") close();
    else if (event.key === "Enter" && chosen >= 0) take(offer[chosen]);
    else if (event.key === "Tab" && !event.shiftKey && chosen >= 0) take(offer[chosen]);
    else {
      // Enter without a choice runs the query.
      if (event.key === "Enter") close();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="field">
      <label class="hidden" for="query">
        {label}
      </label>
      <input
        id="query"
        ref={field}
        class="mono"
        value={value}
        placeholder={placeholder}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        role="combobox"
        aria-autocomplete="list"
        aria-expanded={offer !== null}
        aria-controls="query-options"
        aria-activedescendant={offer && chosen >= 0 ? `query-option-${chosen}` : undefined}
        aria-invalid={isWrong ? "true" : undefined}
        aria-describedby="query-problem"
        onInput={(event) => {
          set(event.currentTarget.value);
          look();
        }}
        onFocus={() => value.trim() === "" && look()}
        onBlur={close}
        onKeyDown={press}
      />
      <div
        id="query-options"
        ref={list}
        class="options"
        role="listbox"
        aria-label="What can be written"
        hidden={!offer}
      >
        {offer?.map((option, at) => (
          <div
            key={option.text}
            id={`query-option-${at}`}
            role="option"
            aria-selected={at === chosen}
            onMouseDown={(event) => {
              // The field keeps the focus.
              event.preventDefault();
              take(option);
            }}
          >
            <bdi class="mono">{visible(option.text.slice(0, 200))}</bdi>
            {option.note && <span class="muted"> {option.note}</span>}
          </div>
        ))}
      </div>
    </div>
  );
}
