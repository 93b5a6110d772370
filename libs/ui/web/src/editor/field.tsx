import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Range } from "../range";
import type { QueryError } from "../search/check";
import { Stored } from "./stored";
import type { QueryEditor, Selected } from "./view";

interface Props {
  value: string;
  set(value: string): void;
  range: Range;
  label: string;
  placeholder?: string;
  problem: QueryError | null;
  /** Queries that are offered while nothing is written. */
  recent?: string[];
  /** Called with what takes the focus. */
  focus?: (focus: () => void) => void;
  /** Of the element that is written in. */
  id?: string;
  /** Enter; else the form that the field is in is sent. */
  run?: () => void;
  /** Enter with Shift; else that begins a new line, in the editor. */
  runBack?: () => void;
}

/** A query that is there when the page opens is shown in colours after so many milliseconds. */
const COLOURED_AFTER = 1000;

type Code = typeof import("./view");

// The editor is as much code as all of a first view: it comes when somebody wants to write, once.
let arrived: Code | null = null;
let coming: Promise<Code> | null = null;

function bring(): Promise<Code> {
  coming ??= import("./view").then((code) => {
    arrived = code;
    return code;
  });
  // Where it did not come it is asked for again; until then the plain field does.
  coming.catch(() => (coming = null));
  return coming;
}

/** What the editor asks for is kept from page to page. */
const stored = new Stored();

/** A field for TraceQL: a plain one at first, an editor in its place as soon as that has come. */
export function QueryField(props: Props) {
  const { value, label, placeholder = "", problem, focus, id = "query" } = props;
  const host = useRef<HTMLDivElement>(null);
  const plain = useRef<HTMLInputElement>(null);
  const editor = useRef<QueryEditor | null>(null);
  const selected = useRef<Selected | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const isComposing = useRef(false);
  const [code, setCode] = useState(arrived);

  const change = useMemo(
    () => ({
      /** The editor takes the place of the plain field, where nothing is being composed in that. */
      now() {
        if (!arrived || isComposing.current || editor.current) return;
        const field = plain.current;
        const end = field?.value.length ?? 0;
        if (field && document.activeElement === field)
          selected.current = { anchor: field.selectionStart ?? end, head: field.selectionEnd ?? end };
        setCode(arrived);
      },
      soon: () => void bring().then(change.now, () => {}),
    }),
    [],
  );
  useEffect(() => focus?.(() => (editor.current ?? plain.current)?.focus()), [focus]);
  useEffect(() => {
    if (arrived || !value.includes("{")) return;
    const timer = setTimeout(change.soon, COLOURED_AFTER);
    return () => clearTimeout(timer);
  }, []);

  const run = () => {
    if (latest.current.run) latest.current.run();
    else (host.current ?? plain.current)?.closest("form")?.requestSubmit();
  };
  useLayoutEffect(() => {
    if (!code || !host.current) return;
    const made = new code.QueryEditor(
      host.current,
      {
        id,
        label,
        placeholder,
        text: latest.current.value,
        stored,
        range: () => latest.current.range,
        recent: () => latest.current.recent ?? [],
        changed: (text) => latest.current.set(text),
        run,
        runBack: props.runBack && (() => latest.current.runBack?.()),
      },
      selected.current,
    );
    selected.current = null;
    editor.current = made;
    return () => {
      editor.current = null;
      made.destroy();
    };
  }, [code, id, label, placeholder]);
  useLayoutEffect(() => editor.current?.setText(value), [value]);
  useLayoutEffect(
    () => editor.current?.setProblem(problem, document.getElementById(`${id}-problem`)),
    [problem, code],
  );

  if (code) return <div class="field" key="editor" ref={host} />;
  return (
    <div class="field" key="plain">
      <label class="hidden" for={id}>
        {label}
      </label>
      <input
        id={id}
        ref={plain}
        class="mono"
        value={value}
        placeholder={placeholder}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        aria-invalid={problem ? "true" : undefined}
        aria-describedby={`${id}-problem`}
        onInput={(event) => props.set(event.currentTarget.value)}
        onFocus={change.soon}
        onPointerEnter={change.soon}
        onCompositionStart={() => (isComposing.current = true)}
        onCompositionEnd={() => {
          isComposing.current = false;
          // What was composed is told behind this event.
          setTimeout(change.now);
        }}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.isComposing) return;
          event.preventDefault();
          if (event.shiftKey && props.runBack) props.runBack();
          else run();
        }}
      />
    </div>
  );
}
