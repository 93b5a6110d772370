import { expect, test } from "vitest";
import { rootOf, traceId } from "../src/search/query";

const WHOLE = "4bf92f3577b34da6a3ce929d0e0e4736";

test("trace id is one however a tool writes it", () => {
  const hyphens = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
  for (const text of [WHOLE, ` ${WHOLE}\n`, WHOLE.toUpperCase(), `0x${WHOLE}`, `0X${WHOLE}`, hyphens])
    expect(traceId(text), text).toEqual({ trace: WHOLE, span: null });
});

test("first span of a trace is known if it has a name, though its service has none", () => {
  const rootServiceName = "<root span not yet received>";
  expect(rootOf({ traceID: "1", rootServiceName })).toBeNull();
  expect(rootOf({ traceID: "1", rootServiceName, rootTraceName: "GET /" })).toEqual({
    service: "",
    name: "GET /",
  });
  expect(rootOf({ traceID: "1", rootServiceName: "shop" })).toEqual({ service: "shop", name: "" });
});

test("leading zeros that are left out are there again", () => {
  const padded = (id: string) => id.padStart(32, "0");
  for (const id of ["7", "1a", "a3ce929d0e0e473", "a3ce929d0e0e4736", "abcdefabcdefabcd", WHOLE.slice(1)])
    expect(traceId(id)?.trace, id).toBe(padded(id));
  expect(traceId("0xcafe")?.trace).toBe(padded("cafe"));
});

test("traceparent names a trace and a span", () => {
  expect(traceId(`00-${WHOLE}-00f067aa0ba902b7-01`)).toEqual({ trace: WHOLE, span: "00f067aa0ba902b7" });
});

test("words and queries are no trace ids", () => {
  for (const text of ["", "cafe", "deadbeef", "{ }", "0x", "g1", `${WHOLE}0`, "4736 4736", "-"])
    expect(traceId(text), text).toBeNull();
});
