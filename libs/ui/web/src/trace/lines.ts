import { duration, integer } from "../format";
import { look, monogram } from "../looks";
import { named, visible } from "../names";
import type { Marks } from "./marks";
import type { Found, Model } from "./model";
import { countWithin, type Folds, type Run } from "./rows";
import { isError, lasts, nameOf, serviceOf, WITHOUT_END } from "./skeleton";
import type { Span } from "./state";

const INDENT = 12;
/** Spans below so many others may stand no further in than these, and say how deep they are. */
const DEEP = 12;

/** What lines are made of. */
export interface Content {
  model: Model;
  found: Found;
  window: Span;
  folds: Folds;
  /** 1 for a row that matches. */
  matching: Uint8Array | null;
  /** Rows that match, ascending. */
  matches: Int32Array;
  marks: Marks;
  /** A row, or `~first` for the line of a run. */
  shown: Int32Array;
  selected: number;
  /** Of a line, in pixels. */
  height: number;
}

/**
 * The lines in view. Their elements go round: one that leaves the view at one end comes in at the other with what is written
 * there, so that what a frame costs depends on how many lines are new in it, and on nothing else.
 */
export class Lines {
  private lines: Line[] = [];
  private content: Content | null = null;
  private offset = 0;

  constructor(private readonly parent: HTMLElement) {}

  /** Shows the lines from `first` to before `last`; `offset`: pixels that all are moved by. `room`: as many may be in view. */
  show(content: Content, first: number, last: number, room: number, offset: number) {
    if (this.lines.length !== room) {
      this.lines = Array.from({ length: room }, () => new Line());
      this.parent.replaceChildren(...this.lines.map(({ element }) => element));
    }
    const before = this.content;
    const isSame =
      before !== null &&
      (Object.keys(content) as (keyof Content)[]).every((key) => content[key] === before[key]);
    const isMoved = offset !== this.offset;
    this.content = content;
    this.offset = offset;
    for (let at = first; at < first + room; at += 1) {
      const line = this.lines[at % room];
      if (at >= last) line.hide();
      else if (line.at !== at || !isSame) line.show(content, at, offset);
      else if (isMoved) line.move(offset, content.height);
    }
  }
}

/** Left and width of a bar as shares of what is shown; null if it is outside. */
function place(start: number, length: number, { from, to }: Span): { left: string; width: string } | null {
  const end = start + Math.max(0, length);
  if (end < from || start > to) return null;
  const share = (time: number) => ((Math.min(to, Math.max(from, time)) - from) / (to - from)) * 100;
  return { left: `min(${share(start)}%, 100% - 2px)`, width: `${share(end) - share(start)}%` };
}

/** A part of a line that is there or not. Nothing is written that stands there already. */
class Part {
  readonly element: HTMLElement;
  private text = "";
  private className: string;

  constructor(tag: string, className: string, attributes: Record<string, string> = {}) {
    this.element = document.createElement(tag);
    this.element.className = className;
    this.className = className;
    this.element.hidden = true;
    for (const [name, value] of Object.entries(attributes)) this.element.setAttribute(name, value);
  }

  /** Nothing is shown for an empty text. */
  write(text: string) {
    if (text === this.text) return;
    this.text = text;
    this.element.textContent = text;
    this.element.hidden = text === "";
  }

  /** Nothing is shown for none. */
  count(mark: string, count: number, what: string) {
    this.write(count > 0 ? ` ${mark}${integer(count)}` : "");
    if (count > 0) this.element.setAttribute("aria-label", `${integer(count)} ${what}`);
  }

  give(className: string) {
    if (className === this.className) return;
    this.className = className;
    this.element.className = className;
  }
}

/** The element of a line. */
class Line {
  readonly element = document.createElement("div");
  /** Its place among all lines; -1 while it shows none. */
  at = -1;
  private service: string | null = null;
  private readonly name = cell("name");
  private readonly fold = new Part("button", "fold", { type: "button", tabindex: "-1" });
  private readonly chip = new Part("span", "chip", { role: "img" });
  private readonly swatch = document.createElement("span");
  private readonly letters = document.createTextNode("");
  private readonly error = new Part("span", "error", { role: "img" });
  private readonly retry = new Part("span", "warning", {
    role: "img",
    "aria-label": "retry",
    title: "Retried after a failure",
  });
  private readonly match = new Part("span", "warning", { role: "img" });
  private readonly level = new Part("span", "muted", { title: "Spans above it" });
  private readonly times = new Part("strong", "");
  private readonly operation = new Part("bdi", "");
  private readonly more = new Part("span", "muted");
  private readonly errorsBelow = new Part("span", "error", { role: "img" });
  private readonly matchesBelow = new Part("span", "warning", { role: "img" });
  private readonly bar = new Part("span", "bar-of-span");
  private readonly marks = document.createElement("span");
  private marked = "";
  private readonly number = cell("number");

  constructor() {
    const { element, name, chip } = this;
    element.setAttribute("role", "row");
    element.className = "span-row";
    chip.element.hidden = false;
    chip.element.append(this.swatch, this.letters);
    name.append(this.fold.element, chip.element, " ");
    const before = [this.level, this.error, this.retry, this.match, this.times];
    const after = [this.operation, this.more, this.errorsBelow, this.matchesBelow];
    for (const part of [...before, ...after]) name.append(part.element);
    const time = cell("time");
    this.marks.setAttribute("aria-hidden", "true");
    time.append(this.bar.element, this.marks);
    element.append(name, time, this.number);
    element.hidden = true;
  }

  hide() {
    if (this.at < 0) return;
    this.at = -1;
    this.element.hidden = true;
    // Nothing may point to what is not there.
    this.element.removeAttribute("id");
  }

  move(offset: number, height: number) {
    this.element.style.transform = `translateY(${this.at * height + offset}px)`;
  }

  show(content: Content, at: number, offset: number) {
    const { model, shown } = content;
    if (this.at !== at) {
      this.at = at;
      this.element.hidden = false;
      this.element.id = `row-${at}`;
      this.element.dataset.at = `${at}`;
      this.element.setAttribute("aria-rowindex", `${at + 1}`);
    }
    this.move(offset, content.height);
    const row = shown[at] < 0 ? ~shown[at] : shown[at];
    const run = shown[at] < 0 ? model.runs.at(row) : null;
    this.give(serviceOf(model.trace, row));
    const depth = model.shape.depth[row];
    this.element.setAttribute("aria-level", `${depth + 1}`);
    this.name.style.paddingInlineStart = `min(${depth * INDENT}px, var(--deepest))`;
    this.level.write(depth > DEEP ? `${depth}\u00a0` : "");
    this.operation.write(visible(named(nameOf(model.trace, row))));
    if (run) this.showRun(content, row, run);
    else this.showSpan(content, row);
  }

  private give(service: string) {
    if (service === this.service) return;
    this.service = service;
    const shown = visible(named(service, "unknown service"));
    this.chip.element.title = shown;
    this.chip.element.setAttribute("aria-label", shown);
    this.swatch.className = `swatch ${look(service)}`;
    this.letters.data = monogram(service);
  }

  private showSpan(content: Content, row: number) {
    const { model, found, window, folds, matching, matches, selected } = content;
    const { trace, shape } = model;
    const hasChildren = shape.size[row] > 1;
    const isFolded = folds.folded.has(row);
    const isMatch = matching?.[row] === 1;
    const isSelected = row === selected;
    this.open(hasChildren ? !isFolded : null);
    this.element.className = `span-row${isMatch ? " match" : ""}${isSelected ? " selected" : ""}`;
    this.element.setAttribute("aria-selected", `${isSelected}`);
    this.error.write(isError(trace, row) ? "✕ " : "");
    if (isError(trace, row)) this.error.element.setAttribute("aria-label", "error");
    this.retry.write(found?.retry[row] === 1 ? "↻ " : "");
    this.match.write(isMatch ? "● " : "");
    if (isMatch) this.match.element.setAttribute("aria-label", "match");
    const below = isFolded ? row + shape.size[row] : row + 1;
    this.errorsBelow.count("✕", found ? countWithin(found.errors, row + 1, below) : 0, "errors below");
    this.matchesBelow.count("●", countWithin(matches, row + 1, below), "matches below");
    this.times.write("");
    this.more.write(isFolded ? ` +${integer(shape.size[row] - 1)}` : "");
    const isCritical = found !== null && found.critical[row] > 0;
    this.draw(trace.start[row], trace.duration[row], window, isCritical ? "critical" : "");
    this.mark(content.marks.get(row) ?? [], window);
    this.number.textContent = lasts(trace, row);
  }

  /** One line for many siblings alike. */
  private showRun({ found, folds, matches, window, selected }: Content, row: number, run: Run) {
    const isOpen = folds.open.has(row);
    const matched = isOpen ? 0 : countWithin(matches, row, run.end);
    const errors = found && !isOpen ? countWithin(found.errors, row, run.end) : run.errors;
    this.open(isOpen);
    const isSelected = !isOpen && selected >= row && selected < run.end;
    this.element.className = `span-row${matched > 0 ? " match" : ""}${isSelected ? " selected" : ""}`;
    this.element.setAttribute("aria-selected", `${isSelected}`);
    this.error.write(errors > 0 ? `✕${integer(errors)} ` : "");
    if (errors > 0) this.error.element.setAttribute("aria-label", `${integer(errors)} failed`);
    this.retry.write("");
    this.match.write(matched > 0 ? `●${integer(matched)} ` : "");
    if (matched > 0) this.match.element.setAttribute("aria-label", `${integer(matched)} match`);
    this.errorsBelow.write("");
    this.matchesBelow.write("");
    this.mark([], window);
    this.times.write(`×${integer(run.count)} `);
    this.more.write(` ${lengthsOf(run)}`);
    const isCritical = found !== null && countWithin(found.waited, row, run.end) > 0;
    this.draw(run.from, run.to - run.from, window, isCritical ? "group critical" : "group");
    this.number.textContent = duration(run.to - run.from);
  }

  /** Marks when events happened. */
  private mark(times: readonly number[], { from, to }: Span) {
    const lefts = new Set<string>();
    for (const time of times) {
      if (time >= from && time <= to) lefts.add((((time - from) / (to - from)) * 100).toFixed(2));
    }
    const marked = [...lefts].join(" ");
    if (marked === this.marked) return;
    this.marked = marked;
    this.marks.replaceChildren(
      ...[...lefts].map((left) => {
        const mark = document.createElement("span");
        mark.className = "event-mark";
        mark.style.left = `${left}%`;
        return mark;
      }),
    );
  }

  /** Whether what is below is shown; null where nothing is. */
  private open(isOpen: boolean | null) {
    const { fold, element } = this;
    if (isOpen === null) {
      element.removeAttribute("aria-expanded");
      // It keeps its room, so that names stand below each other.
      fold.write(" ");
      fold.element.style.visibility = "hidden";
      return;
    }
    element.setAttribute("aria-expanded", `${isOpen}`);
    fold.write(isOpen ? "▾" : "▸");
    fold.element.style.visibility = "";
    fold.element.setAttribute("aria-label", isOpen ? "fold" : "open");
  }

  private draw(start: number, length: number, window: Span, kind: string) {
    const bar = place(start, length, window);
    this.bar.element.hidden = bar === null;
    if (!bar) return;
    this.bar.give(`bar-of-span ${look(this.service ?? "")} ${kind}`);
    this.bar.element.style.left = bar.left;
    this.bar.element.style.width = bar.width;
  }
}

/** How long the calls of a run last, those that have ended. */
function lengthsOf(run: Run): string {
  if (run.longest < run.shortest) return WITHOUT_END;
  const [shortest, longest] = [duration(run.shortest), duration(run.longest)];
  return shortest === longest ? `${longest} each` : `${shortest} – ${longest}`;
}

function cell(className: string): HTMLElement {
  const element = document.createElement("span");
  element.className = className;
  element.setAttribute("role", "gridcell");
  return element;
}
