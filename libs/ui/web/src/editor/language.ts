import { HighlightStyle, LRLanguage, syntaxHighlighting } from "@codemirror/language";
import { styleTags, tags } from "@lezer/highlight";
import { parser } from "./traceql.grammar";

const language = LRLanguage.define({
  name: "traceql",
  parser: parser.configure({
    props: [
      styleTags({
        "Attribute Intrinsic/...": tags.propertyName,
        String: tags.string,
        "Integer Float Duration": tags.number,
        "Bool/... Enum/... Nil/... Bound/... Measure/... QuantileMeasure/...": tags.atom,
        "Function Stage HintName/...": tags.keyword,
        "LineComment BlockComment": tags.comment,
      }),
    ],
  }),
});

// The colours are those of the theme of the page, which reach into the shadow root.
const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--accent)" },
  { tag: tags.string, color: "var(--string)" },
  { tag: [tags.number, tags.atom], color: "var(--warning)" },
  { tag: tags.keyword, color: "var(--keyword)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
]);

/** TraceQL in colours, with its brackets known. */
export const traceql = [language, syntaxHighlighting(colours)];
