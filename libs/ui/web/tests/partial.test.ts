import { afterEach, expect, test, vi } from "vitest";
import { json } from "../src/api";
import { messageOf, NotWhole, together } from "../src/partial";
import { type Found, search } from "../src/search/query";
import { type Row, rows } from "../src/services/query";

const RANGE = { from: 600, to: 1200 };
const never = new AbortController().signal;

/** The events of a stream: those before the last are differences. */
function stream(...answers: object[]): Response {
  const name = (at: number) => (at < answers.length - 1 ? "difference" : "complete");
  const events = answers.map((answer, at) => `event: ${name(at)}\ndata: ${JSON.stringify(answer)}\n\n`);
  return new Response(events.join(""));
}

afterEach(() => vi.unstubAllGlobals());

test("a search says at its end what it lacks", async () => {
  const said = async (...answers: object[]) => {
    vi.stubGlobal("fetch", async () => stream(...answers));
    const found: Found[] = [];
    for await (const part of search("{ }", RANGE, 20, never)) found.push(part);
    return found.map(({ message }) => message);
  };
  const partial = { status: "PARTIAL", message: "a block could not be read" };
  expect(await said({}, partial)).toEqual(["", "a block could not be read"]);
  expect(await said({}, { status: "PARTIAL" })).toEqual(["", "Some data could not be read."]);
  expect(await said({}, {})).toEqual(["", ""]);
});

test("services say what any of their queries lacks, whichever of them ends last", async () => {
  const lacking = { status: "PARTIAL", message: "a block could not be read" };
  vi.stubGlobal("fetch", async (url: URL) => {
    const isFirst = url.searchParams.get("q")?.includes("by (name, status)");
    if (!isFirst) await new Promise((resolve) => setTimeout(resolve, 10));
    return stream(isFirst ? lacking : {});
  });
  const said: string[] = [];
  const show = (_: Row[], { message }: { message: string }) => said.push(message);
  await rows("true", "name", RANGE, never, show);
  expect(said).toEqual(Array(4).fill(lacking.message));
});

test("an answer that is marked in a header says so itself", async () => {
  const answer = (headers: HeadersInit) =>
    vi.stubGlobal("fetch", async () => new Response('{"traces":[]}', { headers }));
  answer({ "X-Tactus-Partial": "true" });
  expect(messageOf(await json("typical"))).toBe("Some data could not be read.");
  answer({});
  expect(messageOf(await json("typical"))).toBe("");
});

test("what several answers lack is said once, and not again below", () => {
  expect(together(["a", "", "b", "a"])).toBe("a b");
  expect(together(["a", "b"], "a")).toBe("b");
  expect(NotWhole({ messages: ["a"], above: "a" })).toBeNull();
  expect(NotWhole({ messages: ["a"] })?.props).toMatchObject({ class: "strip", children: ["! ", "a"] });
});
