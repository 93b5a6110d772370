import {
  type Completion,
  type CompletionContext,
  type CompletionResult,
  type CompletionSource,
  pickedCompletion,
} from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { visible } from "../names";
import type { Range } from "../range";
import { type Kind, type Place, placeOf } from "./place";
import { MOST, type Stored } from "./stored";
import { FIXED, HINT_VALUES, INTRINSICS, type Option, SCOPES, VALUES } from "./vocabulary";

/** Longer values are cut where they are offered. */
const SHOWN = 200;
const WORD = /^(?:"[^"]*"?|`[^`]*`?|[^\s{}()=~!<>&|^,"`]*)$/;

/** The offer for a word stays while that is written on: unless what it begins with asks for others. */
function staysFor(word: string): (text: string) => boolean {
  const kind = (text: string) => /^(?:parent\.|[."`])?/.exec(text)?.[0];
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

/** What a word of a value says without what it is quoted with. */
function plainOf(word: string): string {
  const text = /^["`]/.test(word) ? word.slice(1) : word;
  return word.startsWith('"') ? text.replace(/"$/, "").replace(/\\(.)/g, "$1") : text.replace(/`$/, "");
}

async function values({ key, filter, word }: Place, { stored, range }: Asked): Promise<Option[]> {
  const plain = key.replace(/^(?:span|trace):/, "");
  const fixed = VALUES[/^(?:duration|traceDuration|event:timeSinceStart)$/.test(plain) ? "duration" : plain];
  if (fixed) return fixed;
  // A parent is another span: what the filter says of this one tells nothing.
  const isParent = key.startsWith("parent.");
  const name = isParent ? key.replace(/^parent\.(?=span\.|resource\.)/, "").replace(/^parent/, "") : key;
  const found = await stored.values(name, isParent ? "" : filter, range(), plainOf(word));
  return found.map((text) => ({ text }));
}

/** Places for which what is stored is asked for. */
const ASKING: ReadonlySet<Kind> = new Set(["field", "argument", "value"]);

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

/** `quote`: what the word begins with, if that is one. Strings are found without it as well. */
function completion({ text, note, back = 0 }: Option, rank: number, quote: string): Completion {
  const written = text.trimEnd();
  const label = written.startsWith('"') ? quote + written.slice(1) : written;
  const shown = visible(written.slice(0, SHOWN));
  return {
    label,
    displayLabel: shown === label ? undefined : shown,
    detail: note && ` ${note}`,
    // In the order in which they stand, among those that fit a word as well.
    boost: Math.max(-99, -rank / 10),
    apply(view: EditorView, picked: Completion, from: number, to: number) {
      // One blank behind it is enough.
      const isSpaced = text.endsWith(" ") && view.state.sliceDoc(to, to + 1) === " ";
      const insert = isSpaced ? written : text;
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

function offered(options: Option[], quote = ""): Completion[] {
  return options.map((option, rank) => completion(option, rank, quote));
}

/** Where a word was found in what is shown. */
function matched({ label, displayLabel = label }: Completion, at: readonly number[] = []): readonly number[] {
  if (displayLabel === `"${label}`) return at.map((index) => index + 1);
  return displayLabel.slice(1) === label.slice(1) ? at : [];
}

/** Offers what can be written at the cursor. What is not waited for any more is not asked for any more. */
export function completing(asked: Asked): CompletionSource {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const text = context.state.doc.toString();
    if (text.trim() === "") {
      const recent = asked.recent().map((text) => ({ text, note: "recent" }));
      const options = recent.length > 0 ? recent : context.explicit ? (FIXED.start ?? []) : [];
      return options.length === 0 ? null : { from: 0, to: text.length, options: offered(options) };
    }
    const place = placeOf(text, context.pos);
    if (!ASKING.has(place.kind)) asked.stored.cancel();
    context.addEventListener("abort", () => asked.stored.release(), { onDocChange: true });
    const options = await optionsFor(place, asked);
    if (context.aborted || options.length === 0) return null;
    // A lone option that is written already is none.
    if (options.every(({ text }) => text.trimEnd() === place.word)) return null;
    return {
      from: place.from,
      to: place.to,
      options: offered(options, /^["`]/.exec(place.word)?.[0]),
      // Of more than are asked for at once, others may fit what is written next.
      validFor: options.length < MOST ? staysFor(place.word) : undefined,
      getMatch: matched,
    };
  };
}
