import { request } from "./api";

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
      const { done, value } = await reader.read();
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

/**
 * The answers of a query while it runs: each difference, at the end the whole. `form`: what else is accepted of an
 * answer. Fails with the server's reason.
 */
export async function* answers<A>(
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
