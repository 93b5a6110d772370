import {
  type Completion,
  type CompletionContext,
  type CompletionResult,
  type CompletionSource,
  pickedCompletion,
} from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import type { Range } from "../range";
import { visible } from "../text";
import { type Place, placeOf } from "./place";
import type { Stored } from "./stored";
import { FIXED, HINT_VALUES, INTRINSICS, type Option, SCOPES, VALUES } from "./vocabulary";

/** Longer values are cut where they are offered. */
const SHOWN = 200;
const WORD = /^(?:"[^"]*"?|`[^`]*`?|[^\s{}()=~!<>&|^,"`]*)$/;

/** The offer for a word stays while that is written on: unless what it begins with asks for other attributes. */
function staysFor(word: string): (text: string) => boolean {
  const kind = (text: string) => /^(?:parent\.|\.)?/.exec(text)?.[0];
  return (text) => WORD.test(text) && kind(text) === kind(word);
}

export interface Asked {
  stored: Stored;
  range(): Range;
  /** Queries that are offered while nothing is written. */
  recent(): string[];
}

/** Intrinsics, attributes and scopes; behind a scope alone what is there. */
async function fields(word: string, { stored, range }: Asked): Promise<Option[]> {
  const names = await stored.names(range());
  const own = names.filter((name) => /^(?:span|resource)\./.test(name));
  if (word.startsWith("parent.")) return own.map((name) => ({ text: `parent.${name}` }));
  if (word.startsWith(".")) {
    return [...new Set(own.map((name) => name.slice(name.indexOf("."))))].map((text) => ({ text }));
  }
  return [...INTRINSICS, ...names.map((text) => ({ text })), ...SCOPES];
}

async function values({ key, filter }: Place, { stored, range }: Asked): Promise<Option[]> {
  const plain = key.replace(/^(?:span|trace):/, "");
  const fixed = VALUES[/^(?:duration|traceDuration|event:timeSinceStart)$/.test(plain) ? "duration" : plain];
  if (fixed) return fixed;
  // A parent is another span: what the filter says of this one tells nothing.
  const isParent = key.startsWith("parent.");
  const name = isParent ? key.replace(/^parent\.(?=span\.|resource\.)/, "").replace(/^parent/, "") : key;
  return (await stored.values(name, isParent ? "" : filter, range())).map((text) => ({ text }));
}

/** What can be written at a place. */
export async function optionsFor(place: Place, asked: Asked): Promise<Option[]> {
  const fixed = FIXED[place.kind];
  if (fixed) return fixed;
  const spaced = (option: Option) =>
    option.text.endsWith(".") ? option : { ...option, text: `${option.text} ` };
  switch (place.kind) {
    case "field":
      return (await fields(place.word, asked)).map(spaced);
    case "argument":
      return fields(place.word, asked);
    case "value":
      return (await values(place, asked)).map(spaced);
    case "hint value":
      return HINT_VALUES[place.key] ?? [];
    default:
      return [];
  }
}

function completion({ text, note, back = 0 }: Option, rank: number): Completion {
  const label = text.trimEnd();
  const shown = visible(label.slice(0, SHOWN));
  return {
    label,
    displayLabel: shown === label ? undefined : shown,
    // With a blank, for those who hear both.
    detail: note && ` ${note}`,
    // In the order in which they stand, among those that fit a word as well.
    boost: Math.max(-99, -rank / 10),
    apply(view: EditorView, picked: Completion, from: number, to: number) {
      // One blank behind it is enough.
      const isSpaced = text.endsWith(" ") && view.state.sliceDoc(to, to + 1) === " ";
      const insert = isSpaced ? label : text;
      view.dispatch({
        changes: { from, to, insert },
        selection: { anchor: from + insert.length - back + (isSpaced ? 1 : 0) },
        scrollIntoView: true,
        userEvent: "input.complete",
        annotations: pickedCompletion.of(picked),
      });
    },
  };
}

/** Offers what can be written at the cursor. What is not waited for any more is not asked for any more. */
export function completing(asked: Asked): CompletionSource {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const text = context.state.doc.toString();
    if (text.trim() === "") {
      const recent = asked.recent().map((text) => ({ text, note: "recent" }));
      const options = recent.length > 0 ? recent : context.explicit ? (FIXED.start ?? []) : [];
      return options.length === 0 ? null : { from: 0, to: text.length, options: options.map(completion) };
    }
    const place = placeOf(text, context.pos);
    context.addEventListener("abort", () => asked.stored.cancel());
    const options = await optionsFor(place, asked);
    if (context.aborted || options.length === 0) return null;
    // A lone option that is written already is none.
    if (options.every(({ text }) => text.trimEnd() === place.word)) return null;
    return {
      from: place.from,
      to: place.to,
      options: options.map(completion),
      validFor: staysFor(place.word),
    };
  };
}
