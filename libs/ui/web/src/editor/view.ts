import {
  acceptCompletion,
  autocompletion,
  closeCompletion,
  currentCompletions,
  startCompletion,
} from "@codemirror/autocomplete";
import { history, historyKeymap, insertNewline, standardKeymap } from "@codemirror/commands";
import { bracketMatching } from "@codemirror/language";
import { EditorState, Prec, Transaction } from "@codemirror/state";
import { EditorView, highlightSpecialChars, keymap, placeholder } from "@codemirror/view";
import type { QueryError } from "../search/check";
import { type Asked, completing } from "./completion";
import { traceql } from "./language";
import { problems, setProblem } from "./problem";

/** What is typed is looked at when it has been left alone for so many milliseconds. */
const OFFER_AFTER = 80;

export interface EditorOptions extends Asked {
  /** Of the element that is written in. */
  id: string;
  label: string;
  placeholder: string;
  text: string;
  changed(text: string): void;
  /** Enter. */
  run(): void;
  /** Enter with Shift; else that begins a new line. */
  runBack?: () => void;
}

/** A selection; without one the editor does not take the focus. */
export interface Selected {
  anchor: number;
  head: number;
}

const style = EditorView.theme({
  "&": { border: "1px solid var(--line)", borderRadius: "4px", background: "var(--background)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5", maxHeight: "12em", overflow: "auto" },
  ".cm-content": { minHeight: "26px", padding: "3px 0", caretColor: "var(--text)" },
  ".cm-line": { padding: "0 8px" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-specialChar": { color: "var(--error)" },
  "&.cm-focused .cm-matchingBracket": { background: "var(--selected)", outline: "1px solid var(--accent)" },
  "&.cm-focused .cm-nonmatchingBracket": { background: "none", color: "var(--error)" },
  ".cm-problem": { textDecoration: "underline wavy var(--error)", textDecorationSkipInk: "none" },
  ".cm-problem-end": { display: "inline-block", width: "1ch", borderBottom: "2px dotted var(--error)" },
  ".cm-tooltip": {
    zIndex: "10",
    maxWidth: "min(640px, 94vw)",
    border: "1px solid var(--line)",
    borderRadius: "4px",
    background: "var(--background)",
    color: "var(--text)",
    boxShadow: "0 4px 12px rgb(0 0 0 / 25%)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { maxWidth: "94vw", fontFamily: "var(--mono)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "2px 8px", lineHeight: "1.5" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { background: "var(--selected)", color: "var(--text)" },
  ".cm-completionLabel": { unicodeBidi: "isolate" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "600" },
  ".cm-completionDetail": { color: "var(--muted)", fontStyle: "normal", fontFamily: "system-ui, sans-serif" },
});

/** What a browser has selected, of which the state may not know yet. */
function selectionOf(view: EditorView): { from: number; to: number } {
  // Chromium tells it only of the root itself.
  const root = view.root as DocumentOrShadowRoot & { getSelection?: () => Selection | null };
  const selection = root.getSelection ? root.getSelection() : document.getSelection();
  const isHere = (node: Node) => view.contentDOM.contains(node);
  if (!selection?.rangeCount) return view.state.selection.main;
  const { startContainer, startOffset, endContainer, endOffset } = selection.getRangeAt(0);
  if (!isHere(startContainer) || !isHere(endContainer)) return view.state.selection.main;
  return { from: view.posAtDOM(startContainer, startOffset), to: view.posAtDOM(endContainer, endOffset) };
}

/**
 * The editor of a query, in a shadow root of `host`: there its styles are sheets of the root, so that the page needs none inline.
 * Enter runs; Escape closes what is offered, then leaves the editor.
 */
export class QueryEditor {
  private readonly view: EditorView;

  constructor(host: HTMLElement, options: EditorOptions, selected: Selected | null) {
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    const run = (view: EditorView) => {
      closeCompletion(view);
      options.run();
      return true;
    };
    const newLine = (view: EditorView) => {
      if (!options.runBack) return insertNewline(view);
      options.runBack();
      return true;
    };
    const leave = (view: EditorView) => {
      // What has only been asked for is nothing that one could see and close.
      const isOffered = currentCompletions(view.state).length > 0;
      closeCompletion(view);
      if (!isOffered) view.contentDOM.blur();
      return true;
    };
    const keys = [
      Prec.highest(keymap.of([{ key: "Escape", run: leave }])),
      // Keys of completion come first, where something is offered.
      Prec.high(
        keymap.of([
          { key: "Tab", run: acceptCompletion },
          { key: "Enter", run, shift: newLine },
          { key: "Ctrl-Enter", run },
          { key: "Mod-Enter", run },
        ]),
      ),
    ];
    const offerRecent = EditorView.domEventHandlers({
      focus: (_, view) => {
        if (view.state.doc.length === 0) setTimeout(() => startCompletion(view));
      },
    });
    // A browser that writes over coloured text keeps the colours in a style attribute, which the policy of the pages forbids.
    const writeOver = EditorView.domEventHandlers({
      beforeinput: (event, view) => {
        if (event.inputType !== "insertText" || event.data === null) return false;
        if (event.isComposing || view.composing) return false;
        const { from, to } = selectionOf(view);
        if (from === to) return false;
        event.preventDefault();
        view.dispatch({
          changes: { from, to, insert: event.data },
          selection: { anchor: from + event.data.length },
          userEvent: "input.type",
          scrollIntoView: true,
        });
        return true;
      },
    });
    const heard = EditorView.updateListener.of((update) => {
      const isTyped = update.transactions.some(
        (transaction) => transaction.docChanged && transaction.annotation(Transaction.remote) !== true,
      );
      if (isTyped) options.changed(update.state.doc.toString());
    });
    this.view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: options.text,
        selection: selected ?? undefined,
        extensions: [
          keys,
          autocompletion({
            override: [completing(options)],
            // Enter runs the query, unless something has been chosen.
            selectOnOpen: false,
            interactionDelay: 0,
            activateOnTypingDelay: OFFER_AFTER,
            activateOnCompletion: () => true,
            icons: false,
          }),
          keymap.of([...historyKeymap, ...standardKeymap]),
          history(),
          traceql,
          bracketMatching(),
          highlightSpecialChars(),
          EditorView.lineWrapping,
          // As an element: the text itself would become an attribute that a field with a list may not have.
          placeholder(() => {
            const hint = document.createElement("span");
            hint.textContent = options.placeholder;
            return hint;
          }),
          EditorView.contentAttributes.of({
            id: options.id,
            "aria-label": options.label,
            role: "combobox",
            spellcheck: "false",
            autocapitalize: "off",
          }),
          EditorView.contentAttributes.of((view) => ({
            "aria-expanded": String(currentCompletions(view.state).length > 0),
          })),
          problems,
          style,
          offerRecent,
          writeOver,
          heard,
        ],
      }),
    });
    // CodeMirror says it of each editor; what has a list to choose from may not.
    this.view.contentDOM.removeAttribute("aria-multiline");
    if (selected) this.view.focus();
  }

  /** What others have written. Nobody is told of it. */
  setText(text: string) {
    const { state } = this.view;
    if (state.doc.toString() === text) return;
    this.view.dispatch({
      changes: { from: 0, to: state.doc.length, insert: text },
      selection: { anchor: text.length },
      annotations: Transaction.remote.of(true),
    });
  }

  /** `told`: where the page tells it. */
  setProblem(problem: QueryError | null, told: Element | null) {
    // Ids do not reach out of a shadow root, elements do.
    this.view.contentDOM.ariaDescribedByElements = problem && told ? [told] : [];
    this.view.dispatch({ effects: setProblem.of(problem) });
  }

  focus() {
    this.view.focus();
  }

  destroy() {
    this.view.destroy();
  }
}
