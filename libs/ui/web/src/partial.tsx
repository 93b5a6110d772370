/** Said of an answer that is not whole where the server does not say why. */
const UNREAD = "Some data could not be read.";

/** What an answer says of itself if it is not whole. */
export interface Marked {
  status?: string;
  message?: string;
}

/** What is to be said of an answer that is not whole; else empty. */
export function messageOf({ status, message = "" }: Marked): string {
  return message === "" && status === "PARTIAL" ? UNREAD : message;
}

/** What is to be said of an answer that is no JSON, and says in a header whether it is whole. */
export function messageIn({ headers }: Response): string {
  return headers.has("X-Tactus-Partial") ? UNREAD : "";
}

/** What several answers say, each thing once; without what is said `above` already. */
export function together(messages: string[], above = ""): string {
  return [...new Set(messages)].filter((message) => message !== "" && message !== above).join(" ");
}

/** Says of answers that are not whole what they lack. */
export function NotWhole({ messages, above }: { messages: string[]; above?: string }) {
  const said = together(messages, above);
  return said === "" ? null : <p class="strip">! {said}</p>;
}
