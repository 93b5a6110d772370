import { type Extension, type Range, RangeSet, StateEffect, StateField, type Text } from "@codemirror/state";
import { Decoration, EditorView, WidgetType } from "@codemirror/view";
import type { QueryError } from "../search/check";

/** Says what is wrong with the text that there is; null if nothing is known to be. */
export const setProblem = StateEffect.define<QueryError | null>();

class AtEnd extends WidgetType {
  toDOM() {
    const mark = document.createElement("span");
    mark.className = "cm-problem cm-problem-end";
    return mark;
  }
}

const MARK = Decoration.mark({ class: "cm-problem" });
const END = Decoration.widget({ widget: new AtEnd(), side: 1 });

/** The place that an error names, up to the end of the word there. Lines and columns count from 1, columns in code points. */
export function placeOfProblem(
  text: Text,
  { line, column }: QueryError,
): { from: number; to: number } | null {
  if (line === undefined || column === undefined || column < 1) return null;
  // Of an unclosed name the server knows only the column.
  const found = text.line(Math.min(Math.max(1, line), text.lines));
  const before = [...found.text].slice(0, column - 1).join("");
  const from = found.from + before.length;
  const word = /^(?:[\p{L}\p{Nd}_.:]+|"(?:[^"\\]|\\.)*"?|`[^`]*`?|.)/u.exec(found.text.slice(before.length));
  return { from, to: from + (word?.[0].length ?? 0) };
}

interface Marked {
  problem: QueryError | null;
  marks: RangeSet<Decoration>;
}

const NONE: Marked = { problem: null, marks: RangeSet.empty };

function marked(problem: QueryError | null, text: Text): Marked {
  const place = problem && placeOfProblem(text, problem);
  if (!place) return { problem, marks: RangeSet.empty };
  const mark: Range<Decoration> =
    place.to > place.from ? MARK.range(place.from, place.to) : END.range(place.from);
  return { problem, marks: RangeSet.of([mark]) };
}

const field = StateField.define<Marked>({
  create: () => NONE,
  update(value, transaction) {
    let next = value;
    // What was wrong moves with the text until the server has looked at that again.
    if (transaction.docChanged) next = { ...next, marks: next.marks.map(transaction.changes) };
    for (const effect of transaction.effects)
      if (effect.is(setProblem)) next = marked(effect.value, transaction.newDoc);
    return next;
  },
  provide: (field) => EditorView.decorations.from(field, ({ marks }) => marks),
});

/** Marks the place of an error. */
export const problems: Extension = [
  field,
  EditorView.contentAttributes.compute(
    [field],
    (state): Record<string, string> => (state.field(field).problem ? { "aria-invalid": "true" } : {}),
  ),
];
