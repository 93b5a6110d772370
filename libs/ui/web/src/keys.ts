import { effect, signal } from "@preact/signals";
import { keptHere } from "./kept";

const KEY = "tactus.keys";

/** Single keys get in the way of those who speak their input; they can be switched off. */
export const areKeysOn = signal(keptHere.get(KEY) !== "off");

effect(() => keptHere.set(KEY, areKeysOn.value ? null : "off"));

/** Whether an event is for a field: keys are typed there as text, and it takes what is pasted. */
export function isEditing(event: Event): boolean {
  // What is in a shadow root, as the editor of queries, is not the target that is seen from outside.
  const target = event.composedPath()[0];
  if (!(target instanceof HTMLElement)) return false;
  return (
    target.isContentEditable ||
    target.closest("input:not([type=checkbox]), textarea, select, dialog") !== null
  );
}

/** Lets keys do something, except while somebody writes; `"g s"` is one after the other. Returns what ends that. */
export function shortcuts(actions: Record<string, (event: KeyboardEvent) => void>): () => void {
  let before = "";
  const listen = (event: KeyboardEvent) => {
    if (!areKeysOn.value) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isEditing(event)) return;
    const action = actions[`${before} ${event.key}`] ?? actions[event.key];
    before = event.key === "g" ? "g" : "";
    if (!action) return;
    event.preventDefault();
    action(event);
  };
  addEventListener("keydown", listen);
  return () => removeEventListener("keydown", listen);
}
