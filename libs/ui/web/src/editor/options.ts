import { json } from "../api";
import type { Range } from "../range";
import { attribute, quote } from "../search/form";
import type { Place } from "./context";

/** Something that can be written at a place. */
export interface Option {
  text: string;
  /** Replaces the word; where the cursor is left: behind it, or so many characters before its end. */
  back?: number;
  note?: string;
}

const OPERATORS: Option[] = [
  { text: "= " },
  { text: "!= " },
  { text: "=~ ", note: "regular expression" },
  { text: "!~ ", note: "no such expression" },
  { text: "> " },
  { text: ">= " },
  { text: "< " },
  { text: "<= " },
];
const INSIDE: Option[] = [{ text: "&& " }, { text: "|| " }, { text: "}" }];
const OUTSIDE: Option[] = [
  { text: "| ", note: "pipeline" },
  { text: "&& ", note: "both in one trace" },
  { text: "|| ", note: "one of both" },
  { text: ">> ", note: "descendant" },
  { text: "> ", note: "child" },
  { text: "<< ", note: "ancestor" },
  { text: "~ ", note: "sibling" },
];
const STAGES: Option[] = [
  { text: "rate()", note: "spans a second" },
  { text: "count_over_time()", note: "spans a step" },
  { text: "quantile_over_time(duration, .95)", note: "of the duration" },
  { text: "histogram_over_time(duration)", note: "spans a bucket" },
  { text: "avg_over_time()", back: 1 },
  { text: "max_over_time()", back: 1 },
  { text: "min_over_time()", back: 1 },
  { text: "sum_over_time()", back: 1 },
  { text: "service_graph(rate)", note: "calls between services" },
  { text: "select()", back: 1, note: "attributes to show" },
  { text: "by()", back: 1, note: "groups of spans" },
  { text: "count() > ", note: "spans a trace" },
  { text: "avg() > ", back: 4 },
  { text: "max() > ", back: 4 },
  { text: "min() > ", back: 4 },
  { text: "sum() > ", back: 4 },
  { text: "topk(10)", note: "the largest series" },
  { text: "bottomk(10)", note: "the smallest series" },
];
const DURATIONS = ["1ms", "10ms", "100ms", "500ms", "1s", "5s", "10s"].map((text) => ({ text }));

/** Attributes and values are asked for again after this time in milliseconds. */
const FRESH = 60_000;
const MOST = 60;

const asked = new Map<string, { at: number; answer: Promise<string[]> }>();

function remembered(path: string, ask: () => Promise<string[]>): Promise<string[]> {
  const known = asked.get(path);
  if (known && Date.now() - known.at < FRESH) return known.answer;
  const answer = ask();
  asked.set(path, { at: Date.now(), answer });
  answer.catch(() => asked.delete(path));
  return answer;
}

function within({ from, to }: Range): string {
  // The same minute asks the same question.
  return `start=${Math.floor(from / 60) * 60}&end=${Math.ceil(to / 60) * 60}`;
}

async function keys(range: Range): Promise<string[]> {
  const path = `v2/search/tags?${within(range)}`;
  return remembered(path, async () => {
    const { scopes = [] } = await json<{ scopes?: { name: string; tags?: string[] }[] }>(path);
    return scopes.flatMap(({ name, tags = [] }) =>
      name === "intrinsic" ? tags : tags.map((tag) => attribute(`${name}.${tag}`)),
    );
  });
}

async function values(key: string, range: Range): Promise<string[]> {
  const path = `v2/search/tag/${encodeURIComponent(key)}/values?${within(range)}`;
  return remembered(path, async () => {
    const { tagValues = [] } = await json<{ tagValues?: { type: string; value: string }[] }>(path);
    return tagValues.map(({ type, value }) => (type === "string" ? quote(value) : value));
  });
}

async function all({ kind, key, isInside }: Place, range: Range): Promise<Option[]> {
  if (kind === "operator") return OPERATORS;
  if (kind === "stage") return STAGES;
  if (kind === "logic") return isInside ? INSIDE : OUTSIDE;
  if (kind === "key") return (await keys(range)).map((text) => ({ text: `${text} ` }));
  if (kind === "argument") return (await keys(range)).map((text) => ({ text }));
  if (kind !== "value") return [];
  if (/duration$/i.test(key)) return DURATIONS;
  return (await values(key, range)).map((text) => ({ text: `${text} ` }));
}

/** What can be written at a place: what begins with the word first, then what has it. */
export async function optionsFor(place: Place, range: Range): Promise<Option[]> {
  const found = await all(place, range);
  const word = place.word.replace(/^["`]/, "").toLowerCase();
  if (word === "") return found.slice(0, MOST);
  const plain = ({ text }: Option) => text.replace(/^["`]/, "").trim().toLowerCase();
  const begins = found.filter((option) => plain(option).startsWith(word) && plain(option) !== word);
  const has = found.filter((option) => plain(option).includes(word) && !plain(option).startsWith(word));
  return [...begins, ...has].slice(0, MOST);
}
