import { isEditing } from "../keys";

/** The name of a file without one. */
export const PASTED = "What was pasted";

/** Takes files that are dropped anywhere, and what is pasted. Returns what ends that. */
export function takeFiles(open: (name: string, content: Blob) => void): () => void {
  const take = (event: Event, data: DataTransfer | null) => {
    const file = data?.files[0];
    if (!file) return false;
    event.preventDefault();
    open(file.name, file);
    return true;
  };
  const drop = (event: DragEvent) => void take(event, event.dataTransfer);
  // Else the browser shows the file itself.
  const over = (event: DragEvent) => event.dataTransfer?.types.includes("Files") && event.preventDefault();
  const paste = (event: ClipboardEvent) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const isText = text.trim() !== "";
    // A text is for the field that it is pasted into; what copies a table adds a picture of it, which is a file.
    if (isText && (event.defaultPrevented || isEditing(event))) return;
    if (take(event, event.clipboardData) || !isText) return;
    event.preventDefault();
    open(PASTED, new Blob([text]));
  };
  addEventListener("drop", drop);
  addEventListener("dragover", over);
  addEventListener("paste", paste);
  return () => {
    removeEventListener("drop", drop);
    removeEventListener("dragover", over);
    removeEventListener("paste", paste);
  };
}
