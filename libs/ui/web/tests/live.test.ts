import { expect, test } from "vitest";
import { add, EMPTY, type Feed, type LiveSpan, MOST_ROWS, rates, resume } from "../src/live/feed";

function spans(first: number, count: number): LiveSpan[] {
  return Array.from({ length: count }, (_, at) => ({
    traceId: "a",
    spanId: String(first + at),
    start: "0",
    duration: "0",
    service: "",
    name: "",
    kind: 0,
    status: 0,
    message: "",
    attributes: [],
  }));
}

function update(first: number, count: number, matched = 0) {
  return {
    spans: spans(first, count),
    matched,
    shown: matched,
    dropped: 0,
    skipped: 0,
    ingesters: 1,
    ingestersExpected: 1,
  };
}

const ids = (rows: LiveSpan[]) => rows.map(({ spanId }) => spanId).join(" ");

test("the newest span is the first, and the oldest ones go", () => {
  let feed: Feed = add(EMPTY, update(1, 2), false, 0);
  feed = add(feed, update(3, 2), false, 0);
  expect(ids(feed.rows)).toBe("4 3 2 1");
  feed = add(feed, update(5, MOST_ROWS - 1), false, 0);
  expect(feed.rows.length).toBe(MOST_ROWS);
  expect(feed.rows[MOST_ROWS - 1].spanId).toBe("4");
});

test("a page that stands still keeps what comes, and says what it could not keep", () => {
  let feed = add(EMPTY, update(1, 1), false, 0);
  feed = add(feed, update(2, 2), true, 0);
  expect(ids(feed.rows)).toBe("1");
  expect(ids(resume(feed).rows)).toBe("3 2 1");
  feed = add(feed, update(4, MOST_ROWS), true, 0);
  expect(feed.lost).toBe(2);
  const on = resume(feed);
  expect([on.rows.length, on.held.length, on.lost]).toEqual([MOST_ROWS, 0, 0]);
  expect(on.rows[0].spanId).toBe(String(MOST_ROWS + 3));
});

test("rates are of the last seconds", () => {
  let feed = EMPTY;
  expect(rates(feed).matched).toBe(0);
  for (let second = 0; second <= 20; second += 1) {
    feed = add(feed, update(0, 0, second < 10 ? 0 : (second - 9) * 100), false, second * 1000);
  }
  expect(rates(feed).matched).toBe(100);
  expect(feed.history.length).toBeLessThan(8);
});
