import { afterEach, expect, test, vi } from "vitest";
import { json } from "../src/api";
import { messageOf, NotWhole, together } from "../src/partial";
import { type Found, search } from "../src/search/query";
import { type Row, rows } from "../src/services/query";
import { Details } from "../src/trace/details";
import { findSpans } from "../src/trace/find";
import { lacking } from "../src/trace/skeleton";
import { made } from "./trace";

const RANGE = { from: 600, to: 1200 };
const never = new AbortController().signal;

/** The events of a stream: those before the last are differences. */
function stream(...answers: object[]): Response {
  const name = (at: number) => (at < answers.length - 1 ? "difference" : "complete");
  const events = answers.map((answer, at) => `event: ${name(at)}\ndata: ${JSON.stringify(answer)}\n\n`);
  return new Response(events.join(""));
}

afterEach(() => vi.unstubAllGlobals());

/** A trace that the server has, on a page. */
async function stored() {
  vi.stubGlobal("location", { href: "http://pages.example/ui/trace/1" });
  vi.stubGlobal("addEventListener", () => {});
  const { StoredTrace } = await import("../src/trace/source");
  return new StoredTrace("1");
}

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

test("a span that could not be read is not taken for one that is no longer stored, and asked for again", async () => {
  const id = "00000000000000a1";
  const answer = (spans: object[], headers: HeadersInit) => {
    const body = JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
    vi.stubGlobal("fetch", async () => new Response(body, { headers }));
  };
  const source = await stored();
  const details = new Details((ids, signal) => source.details(ids, signal));
  answer([], { "X-Tactus-Partial": "true" });
  await expect(details.get(id, never)).rejects.toThrow("could not be read");
  expect((await details.all([id], never)).size).toBe(0);
  answer([{ spanId: id }], { "X-Tactus-Partial": "true" });
  expect(await details.get(id, never)).toHaveLength(1);
  answer([], {});
  expect(await details.get("00000000000000a2", never)).toEqual([]);
});

test("matches and downloads of a trace that is not whole say so", async () => {
  const trace = made([{ name: "root" }]);
  const source = await stored();
  const body = JSON.stringify({ spans: 1, matched: 1, rows: "AQ==" });
  for (const [headers, message] of [
    [{ "X-Tactus-Partial": "true" }, "Some data could not be read."],
    [{}, ""],
  ] as [HeadersInit, string][]) {
    vi.stubGlobal("fetch", async () => new Response(body, { headers }));
    const found = await findSpans(source, trace, "{ }", never);
    expect([[...found.rows], found.message]).toEqual([[0], message]);
    expect((await source.whole("spans", () => {})).message).toBe(message);
  }
});

test("a trace says what it lacks", () => {
  const trace = made([{ name: "root" }]);
  expect(lacking(trace)).toEqual([]);
  expect(lacking({ ...trace, partial: true, missingParents: 1 })).toEqual([
    "This trace is incomplete.",
    "1 span without its parent, shown as a root.",
  ]);
  expect(lacking({ ...trace, partial: true, message: "It was cut." })).toEqual(["It was cut."]);
});

test("what several answers lack is said once, and not again below", () => {
  expect(together(["a", "", "b", "a"])).toBe("a b");
  expect(together(["a", "b"], "a")).toBe("b");
  expect(NotWhole({ messages: ["a"], above: "a" })).toBeNull();
  expect(NotWhole({ messages: ["a"] })?.props).toMatchObject({ class: "strip", children: ["! ", "a"] });
});
