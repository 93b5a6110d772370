import { request } from "../api";

/** Lets the browser keep an answer of the API as a file. Credentials go in headers, so a plain link would not do. */
export async function download(path: string, name: string): Promise<void> {
  const response = await request(path, "application/json");
  save(await response.blob(), name);
}

export function save(content: Blob, name: string) {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Puts a text into the clipboard; true if that worked. Plain HTTP has no clipboard API. */
export async function copy(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed: the old way may still work.
    }
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  return isDone;
}
