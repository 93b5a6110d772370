import { arrived, request } from "./api";
import { untilSeen, whileSeen } from "./seen";

export interface ServerEvent {
  name: string;
  data: string;
}

/** The events of a stream, as they come. EventSource would do the same, but sends no headers. */
export async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await arrived(reader.read());
      rest += decoder.decode(value, { stream: !done });
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        const event = parse(rest.slice(0, end));
        rest = rest.slice(end + 2);
        if (event) yield event;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Part of an answer: a difference, or at the end the whole. */
export interface Part<A> {
  answer: A;
  done: boolean;
  /** The query began, or began anew: what came before does not count. */
  isFirst: boolean;
}

/**
 * The answers of a query while it runs. A page that is hidden for a while ends the query, and asks again when it is
 * shown. `form`: what else is accepted of an answer. Fails with the server's reason.
 */
export async function* answers<A>(path: string, form: string, signal: AbortSignal): AsyncGenerator<Part<A>> {
  for (;;) {
    const { signal: whileShown, release } = whileSeen(signal);
    try {
      let isFirst = true;
      for await (const part of answersOnce<A>(path, form, whileShown)) {
        yield { ...part, isFirst };
        isFirst = false;
      }
      return;
    } catch (error) {
      if (signal.aborted || !whileShown.aborted) throw error;
    } finally {
      release();
    }
    await untilSeen(signal);
  }
}

async function* answersOnce<A>(
  path: string,
  form: string,
  signal: AbortSignal,
): AsyncGenerator<{ answer: A; done: boolean }> {
  const accept = form === "" ? "text/event-stream" : `text/event-stream, ${form}`;
  const response = await request(path, accept, signal);
  if (!response.body) throw new Error("the server answered nothing");
  for await (const event of serverEvents(response.body)) {
    const answer = JSON.parse(event.data);
    if (event.name === "failed") throw new Error(answer.message || "the query failed");
    const done = event.name === "complete";
    yield { answer, done };
    if (done) return;
  }
  throw new Error("the answer broke off");
}

function parse(text: string): ServerEvent | null {
  let name = "message";
  const data: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length === 0 ? null : { name, data: data.join("\n") };
}
