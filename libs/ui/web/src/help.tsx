import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { areKeysOn } from "./keys";

export const help = signal(false);

const KEYS = [
  ["/", "go to the query, or to the text to find"],
  ["Ctrl Enter", "run the query, as Enter does; Shift Enter begins a new line"],
  ["Ctrl Space", "suggestions; arrows select, Enter or Tab accepts"],
  ["g s", "search"],
  ["g v", "services"],
  ["g m", "map"],
  ["g x", "explore metrics"],
  ["g l", "live tail"],
  ["g i", "status of the cluster, and its queries"],
  ["g o", "a file with traces"],
  ["p", "pause or resume the live tail"],
  ["↑ ↓", "select the span above or below"],
  ["← →", "fold or open a span"],
  ["n N", "next or previous match"],
  ["e E", "next or previous error"],
  ["c", "next span of the critical path"],
  ["f", "fit the view to the selected span"],
  ["0", "show the whole trace"],
  ["w s", "zoom in or out"],
  ["a d", "move to earlier or later"],
  ["v", "next view of the trace"],
  ["y", "copy the address of this view"],
  ["Esc", "close, or leave the query"],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={() => (help.value = false)} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl class="keys">
        {KEYS.map(([keys, action]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{action}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={areKeysOn.value}
          onChange={(event) => (areKeysOn.value = event.currentTarget.checked)}
        />{" "}
        single keys do this
      </label>
      <p>
        <a href="licenses.md" target="_blank" rel="noopener">
          Licences of what is in these pages
        </a>
      </p>
      <button type="button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}
