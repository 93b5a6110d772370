import { batch, effect, signal } from "@preact/signals";
import { forget, params, setParams, writeSoon } from "../router";
import type { Model } from "./model";
import { type Folds, revealed, secondRows } from "./rows";
import { rowOf, rowStarting, spanId } from "./skeleton";

export const VIEWS = ["waterfall", "flame", "table", "map", "typical"] as const;
export type View = (typeof VIEWS)[number];

/** More folds than these would make addresses that some servers refuse. */
const KEPT_FOLDS = 100;

/** What an address has in place of the spans that one button folds: there may be many more of them. */
const ALL = "all";
/** What it has where no run is open, although the selected span is in one. */
const NONE = "none";

/** What an address has in place of a span that it knows the start of: unix milliseconds. */
const STARTED = "started";

/** What an address shows: it may name what there is not, or what is shown unasked. */
function viewOf(params: URLSearchParams): View {
  return VIEWS.find((view) => view === params.get("view")) ?? "waterfall";
}

/** Part of the trace that is shown, in nanoseconds from its start. */
export interface Span {
  from: number;
  to: number;
}

/** What the page of a trace shows; each value is in the address. */
export class TraceState {
  readonly row = signal(-1);
  readonly find = signal("");
  readonly onlyMatches = signal(false);
  readonly view = signal<View>("waterfall");
  readonly window;
  readonly folds = signal<Folds>({ folded: new Set(), open: new Set() });
  /** A span of the calls that alone a flame graph shows, with all below them; -1: all of the trace. */
  readonly within = signal(-1);
  private all: ReadonlySet<number> | null = null;
  private written = "";
  /** Of another page parameters mean something else. */
  private readonly path = location.pathname;

  constructor(readonly model: Model) {
    this.window = signal<Span>({ from: 0, to: model.extent });
    this.read(params.peek());
    this.written = params.peek().toString();
  }

  /** Keeps the address and the state the same. Returns what ends that. */
  follow(): () => void {
    const stopWriting = effect(() => {
      const values = this.values();
      writeSoon(this, () => {
        if (location.pathname !== this.path) return;
        // What was written is known before anybody is told that the address changed: it is not read back.
        batch(() => {
          // Another view is a step that the browser goes back from.
          setParams(values, viewOf(params.peek()) === this.view.peek());
          this.written = params.peek().toString();
        });
      });
    });
    // Also what changed while nothing followed it.
    const stopReading = effect(() => {
      const now = params.value;
      if (location.pathname !== this.path || now.toString() === this.written) return;
      this.written = now.toString();
      this.read(now);
    });
    return () => {
      forget(this);
      stopWriting();
      stopReading();
    };
  }

  private values(): Record<string, string | null> {
    const { trace, extent } = this.model;
    const ids = (rows: ReadonlySet<number>) =>
      [...rows]
        .slice(0, KEPT_FOLDS)
        .map((row) => spanId(trace, row))
        .join(".") || null;
    const { from, to } = this.window.value;
    const isWhole = from <= 0 && to >= extent;
    const { folded, open } = this.folds.value;
    return {
      span: this.row.value >= 0 ? spanId(trace, this.row.value) : null,
      [STARTED]: null,
      find: this.find.value || null,
      only: this.onlyMatches.value ? "1" : null,
      view: this.view.value === "waterfall" ? null : this.view.value,
      from: isWhole ? null : `${Math.floor(from)}`,
      to: isWhole ? null : `${Math.ceil(to)}`,
      folded: folded === this.all ? ALL : ids(folded),
      open: ids(open) ?? (folded.size === 0 && this.isHidden() ? NONE : null),
      within: this.within.value >= 0 ? spanId(trace, this.within.value) : null,
    };
  }

  /** Rows that are folded at once, collected when somebody wants that: there may be half a million. */
  private foldable(): ReadonlySet<number> {
    const { trace, shape } = this.model;
    this.all ??= new Set(secondRows(trace.parent, shape.size));
    return this.all;
  }

  /** Whether a fold hides the selected row. */
  private isHidden(): boolean {
    const { trace, runs, shape } = this.model;
    const folds = this.folds.value;
    return revealed(trace, runs, shape.size, folds, this.row.value) !== folds;
  }

  private read(params: URLSearchParams) {
    const { trace, extent } = this.model;
    const rows = (name: string) => {
      const ids = (params.get(name) ?? "").split(".").filter(Boolean).slice(0, KEPT_FOLDS);
      return new Set(ids.map((id) => rowOf(trace, id)).filter((row) => row >= 0));
    };
    batch(() => {
      this.find.value = params.get("find") ?? "";
      this.onlyMatches.value = params.get("only") === "1";
      this.view.value = viewOf(params);
      const folded = params.get("folded") === ALL ? this.foldable() : rows("folded");
      this.folds.value = { folded, open: rows("open") };
      const from = Number(params.get("from") ?? 0);
      const to = Number(params.get("to") ?? extent);
      this.show(from < to ? { from, to } : { from: 0, to: extent });
      const started = params.get(STARTED);
      const named = rowOf(trace, params.get("span") ?? "");
      const row = named < 0 && started ? rowStarting(trace, Number(started)) : named;
      // Somebody may have folded away what is selected.
      if (params.has("folded") || params.has("open")) this.row.value = row;
      else this.select(row);
      this.within.value = rowOf(trace, params.get("within") ?? "");
    });
  }

  /** Selects a row and opens what hides it; -1 selects none. */
  select(row: number) {
    batch(() => {
      this.row.value = row;
      const { trace, runs, shape } = this.model;
      if (row >= 0) this.folds.value = revealed(trace, runs, shape.size, this.folds.peek(), row);
    });
  }

  /** Shows a part of the trace, as far as that exists; at least 10 ns of it. */
  show({ from, to }: Span) {
    const { extent } = this.model;
    const length = Math.min(extent, Math.max(10, to - from));
    const begin = Math.min(Math.max(0, from), extent - length);
    this.window.value = { from: begin, to: begin + length };
  }

  /** Half, or twice, of what is shown, around its middle. */
  zoom(factor: number) {
    const { from, to } = this.window.value;
    const middle = (from + to) / 2;
    const half = ((to - from) * factor) / 2;
    this.show({ from: middle - half, to: middle + half });
  }

  pan(share: number) {
    const { from, to } = this.window.value;
    const by = (to - from) * share;
    this.show({ from: from + by, to: to + by });
  }

  /** Shows a row in its whole length, with some space around it. */
  fit(row: number) {
    const { trace } = this.model;
    if (row < 0) return;
    const length = Math.max(1, trace.duration[row]);
    this.show({ from: trace.start[row] - length / 20, to: trace.start[row] + length * 1.05 });
  }

  /** Folds all below the first spans, or opens whatever is folded. */
  foldAll(fold: boolean) {
    this.folds.value = { ...this.folds.value, folded: fold ? this.foldable() : new Set() };
  }

  toggleFold(row: number) {
    const folded = new Set(this.folds.value.folded);
    if (!folded.delete(row)) folded.add(row);
    this.folds.value = { ...this.folds.value, folded };
  }

  toggleRun(first: number) {
    const open = new Set(this.folds.value.open);
    if (!open.delete(first)) open.add(first);
    this.folds.value = { ...this.folds.value, open };
  }
}
