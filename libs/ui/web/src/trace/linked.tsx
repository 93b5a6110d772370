import type { ComponentChildren } from "preact";
import { visible } from "../names";
import { Text } from "../text";
import { rowOf, type Skeleton } from "./skeleton";
import type { Source } from "./source";

/** A part of a text, and where it leads if it is an address or an id. */
export interface Piece {
  text: string;
  url?: string;
  traceId?: string;
  spanId?: string;
}

const FOUND = /https?:\/\/[^\s"'<>`\\]+|(?<![0-9a-z])(?:[0-9a-f]{32}|[0-9a-f]{16})(?![0-9a-z])/gi;
/** Brackets by those that close them. */
const OPENING: Record<string, string> = { ")": "(", "]": "[", "}": "{" };

/** An address without what follows it in a sentence: brackets belong to it if it has opened them. */
function addressIn(match: string): string {
  const open: Record<string, number> = { "(": 0, "[": 0, "{": 0 };
  for (const char of match) {
    if (char in open) open[char] += 1;
    else if (char in OPENING) open[OPENING[char]] -= 1;
  }
  let end = match.length;
  for (; end > 0; end -= 1) {
    const last = match[end - 1];
    if (/[.,;:!?]/.test(last)) continue;
    if (!(last in OPENING) || open[OPENING[last]] >= 0) break;
    open[OPENING[last]] += 1;
  }
  return match.slice(0, end);
}

/** Addresses and ids in a text. `hasSpan`: 16 digits are an id if the trace has that span. */
export function pieces(text: string, hasSpan: (id: string) => boolean): Piece[] {
  const all: Piece[] = [];
  let at = 0;
  for (const { 0: match, index } of text.matchAll(FOUND)) {
    const piece = pieceOf(match, hasSpan);
    if (!piece) continue;
    if (index > at) all.push({ text: text.slice(at, index) });
    all.push(piece);
    at = index + piece.text.length;
  }
  if (at < text.length) all.push({ text: text.slice(at) });
  return all;
}

function pieceOf(match: string, hasSpan: (id: string) => boolean): Piece | null {
  if (/^http/i.test(match)) {
    const text = addressIn(match);
    // Others than these two never match; what is no address stays text.
    return URL.canParse(text) ? { text, url: text } : null;
  }
  const id = match.toLowerCase();
  if (/^0+$/.test(id)) return null;
  if (id.length === 32) return { text: match, traceId: id };
  return hasSpan(id) ? { text: match, spanId: id } : null;
}

interface Props {
  value: string;
  trace: Skeleton;
  source: Source;
}

/** Ids of one text that are looked for: each goes through all spans of the trace. */
const MOST_IDS = 16;

function mostOf(hasSpan: (id: string) => boolean): (id: string) => boolean {
  let asked = 0;
  return (id) => {
    asked += 1;
    return asked <= MOST_IDS && hasSpan(id);
  };
}

/** A value that somebody else wrote, in which addresses and ids are links. */
export function LinkedText({ value, trace, source }: Props) {
  const show = (text: string): ComponentChildren =>
    pieces(
      text,
      mostOf((id) => rowOf(trace, id) >= 0),
    ).map((piece, at) => {
      const shown = visible(piece.text);
      if (piece.url) {
        return (
          <a key={at} href={piece.url} target="_blank" rel="noopener noreferrer">
            {shown}
          </a>
        );
      }
      if (!piece.traceId && !piece.spanId) return shown;
      const href = source.address(piece.traceId ?? trace.traceId, { span: piece.spanId });
      return (
        <a key={at} href={href}>
          {shown}
        </a>
      );
    });
  return <Text value={value} show={show} />;
}
