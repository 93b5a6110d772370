import { caller, json } from "../api";
import type { Range } from "../range";
import { attribute, quote } from "../search/form";

/** Names and values are asked for again after this time in milliseconds. */
const FRESH = 60_000;
/** No answer after so many milliseconds: none is waited for. */
const LATEST = 10_000;
/** What is not asked for again for so many milliseconds is not waited for. */
const FORGOTTEN = 300;
/** Most answers that are kept. */
const MOST_KEPT = 50;
/** Most names of a scope, and most values, that are asked for. */
export const MOST = 1000;
/** A longer filter is not sent. */
const LONGEST_FILTER = 2000;
/** Numbers that TraceQL has no literal for. */
const UNWRITTEN = /^([+-]Inf|NaN|-9223372036854775808)$/;

/** What is stored, as far as it can be written into a query. One question at a time: a new one ends the one before. */
export class Stored {
  private readonly kept = new Map<string, { at: number; answer: string[] }>();
  private released: ReturnType<typeof setTimeout> | undefined;
  private asking: { path: string; stop: AbortController; answer: Promise<string[]> } | null = null;

  /** Attributes with their scopes: `span.http.route`. */
  names(range: Range): Promise<string[]> {
    return this.ask(`v2/search/tags?${within(range)}`, async (path, signal) => {
      const { scopes = [] } = await json<{ scopes?: { name: string; tags?: string[] }[] }>(path, signal);
      return scopes
        .filter(({ name }) => name !== "intrinsic")
        .flatMap(({ name, tags = [] }) => tags.map((tag) => attribute(`${name}.${tag}`)))
        .filter((name) => !name.includes("\u0000"));
    });
  }

  /**
   * Values of an attribute, of the spans that a filter lets through. If there are more than are asked for, those that begin with
   * the `word` are among them.
   */
  async values(key: string, filter: string, range: Range, word = ""): Promise<string[]> {
    const found = await this.valuesOf(key, filter, range);
    const narrowed = beginning(key, filter, word);
    if (found.length < MOST || word === "" || narrowed.length > LONGEST_FILTER) return found;
    return [...new Set([...found, ...(await this.valuesOf(key, narrowed, range))])];
  }

  private valuesOf(key: string, filter: string, range: Range): Promise<string[]> {
    const query = filter === "" || filter.length > LONGEST_FILTER ? "" : `&q=${encodeURIComponent(filter)}`;
    const path = `v2/search/tag/${encodeURIComponent(key)}/values?${within(range)}${query}`;
    return this.ask(path, async (path, signal) => {
      const { tagValues = [] } = await json<{ tagValues?: { type: string; value: string }[] }>(path, signal);
      const written = tagValues.filter(({ type, value }) => type === "string" || !UNWRITTEN.test(value));
      return written.map(({ type, value }) => (type === "string" ? quote(value) : value));
    });
  }

  /** Nobody waits for the last answer any more, unless somebody asks for it again at once: while a word is written on. */
  release() {
    clearTimeout(this.released);
    this.released = setTimeout(() => this.cancel(), FORGOTTEN);
  }

  /** Nobody waits for the last answer any more. */
  cancel() {
    clearTimeout(this.released);
    this.asking?.stop.abort();
    this.asking = null;
  }

  private ask(
    path: string,
    load: (path: string, signal: AbortSignal) => Promise<string[]>,
  ): Promise<string[]> {
    clearTimeout(this.released);
    const key = `${caller.value} ${path}`;
    const known = this.kept.get(key);
    if (known && Date.now() - known.at < FRESH) return Promise.resolve(known.answer);
    if (this.asking?.path === key) return this.asking.answer;
    this.cancel();
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(LATEST)]);
    const answer = load(path, signal).then(
      (found) => {
        this.keep(key, found);
        return found;
      },
      // Without an answer there is nothing to offer; what is wrong is told where the query runs.
      () => [],
    );
    const asking = { path: key, stop, answer };
    this.asking = asking;
    answer.then(() => {
      if (this.asking === asking) this.asking = null;
    });
    return answer;
  }

  private keep(key: string, answer: string[]) {
    this.kept.delete(key);
    this.kept.set(key, { at: Date.now(), answer });
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= MOST_KEPT) break;
      this.kept.delete(oldest);
    }
  }
}

/** A filter, and that a value begins with a word. */
function beginning(key: string, filter: string, word: string): string {
  const pattern = `${word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}.*`;
  const condition = `${key} =~ ${quote(pattern)}`;
  return filter === "" ? `{ ${condition} }` : `{ (${filter.slice(1, -1)}) && ${condition} }`;
}

function within({ from, to }: Range): string {
  // The same minute asks the same question.
  return `start=${Math.floor(from / 60) * 60}&end=${Math.ceil(to / 60) * 60}&limit=${MOST}`;
}
