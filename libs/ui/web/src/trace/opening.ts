import { arrived, request } from "../api";

/** What a trace opens with, asked for while the code of its page comes. */
let asked: { id: string; answer: Promise<ArrayBuffer> } | null = null;

async function ask(id: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  const response = await request(`traces/${id}/skeleton`, "application/vnd.tactus.skeleton", signal);
  return arrived(response.arrayBuffer(), signal);
}

/** Asks for the spans of a trace before its page is there. */
export function askEarly(id: string) {
  const answer = ask(id);
  // Whoever takes it is told.
  answer.catch(() => {});
  asked = { id, answer };
}

/** The spans of a trace, in columns: what was asked for early, once. */
export function spansOf(id: string, signal: AbortSignal): Promise<ArrayBuffer> {
  const early = asked?.id === id ? asked.answer : null;
  asked = null;
  return early ?? ask(id, signal);
}
