import { arrived, json, request } from "../api";
import { type Marked, messageIn, messageOf } from "../partial";
import { address } from "../router";
import { detailsOf, type FoundDetails, type OtlpTrace } from "./details";
import { received } from "./received";

/** The rows that a TraceQL query finds: a bitmap in base64. */
export interface FindAnswer extends Marked {
  /** Why the text is no query; the rest is not there then. A browser would report an answer that is an error. */
  problem?: string;
  spans: number;
  matched: number;
  rows: string;
}

/** What a whole trace can be kept as. */
export type Form = "spans" | "jaeger";

/** A trace as a file. */
export interface Whole {
  content: Blob;
  /** What is to be said if it is not whole after all; else empty. */
  message: string;
}

/** Where an opened trace comes from, and what it is asked for. */
export interface Source {
  /** Others can open it by its address. */
  readonly isStored: boolean;
  /** What is to be known of all traces of the source. */
  readonly notes: string[];
  /** All that is there of the spans of some ids, 200 at most. */
  details(ids: string[], signal: AbortSignal): Promise<FoundDetails>;
  find(query: string, signal: AbortSignal): Promise<FindAnswer>;
  /** The whole trace: OTLP's JSON, or Jaeger's. `tell` is told how many bytes have come. */
  whole(form: Form, tell: (bytes: number) => void): Promise<Whole>;
  /** The address of a trace, with what it is to show. */
  address(traceId: string, values?: Record<string, string | null | undefined>): string;
}

/** A trace that the server has. */
export class StoredTrace implements Source {
  readonly isStored = true;
  readonly notes: string[] = [];

  constructor(private readonly id: string) {}

  async details(ids: string[], signal: AbortSignal): Promise<FoundDetails> {
    const path = `traces/${this.id}/spans?ids=${ids.join(",")}`;
    const found = await json<OtlpTrace & Marked>(path, signal);
    return { details: detailsOf(found), message: messageOf(found) };
  }

  find(query: string, signal: AbortSignal): Promise<FindAnswer> {
    return json<FindAnswer>(`traces/${this.id}/find?${new URLSearchParams({ q: query })}`, signal);
  }

  async whole(form: Form, tell: (bytes: number) => void): Promise<Whole> {
    const response = await request(`traces/${this.id}/${form}`, "application/json");
    return { content: await arrived(received(response, tell)), message: messageIn(response) };
  }

  address(traceId: string, values?: Record<string, string | null | undefined>): string {
    return address(`trace/${traceId}`, values);
  }
}
