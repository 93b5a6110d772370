import { arrived, request } from "../api";
import { address, padded } from "../router";
import { type Detail, detailsOf, type FoundDetails, type OtlpTrace } from "../trace/details";
import type { FindAnswer, Form, Source, Whole } from "../trace/source";

/** A trace of a file. Times in nanoseconds. */
export interface FileEntry {
  traceId: string;
  service: string;
  name: string;
  start: string;
  duration: string;
  spans: number;
  errors: number;
}

/** What a file holds. */
export interface Contents {
  format: string;
  spans: number;
  withoutTrace: number;
  /** Traces that are not listed. */
  more: number;
  traces: FileEntry[];
}

/** A file that was opened, compressed: it is sent with each question about it, and kept nowhere else. */
export class OpenedFile {
  contents: Contents | null = null;

  private constructor(
    readonly name: string,
    private readonly sent: Blob,
  ) {}

  static async of(name: string, content: Blob): Promise<OpenedFile> {
    const start = new Uint8Array(await content.slice(0, 2).arrayBuffer());
    if (start[0] === 0x1f && start[1] === 0x8b) return new OpenedFile(name, content);
    const compressed = content.stream().pipeThrough(new CompressionStream("gzip"));
    return new OpenedFile(name, await new Response(compressed).blob());
  }

  ask(values: Record<string, string>, accept: string, signal?: AbortSignal): Promise<Response> {
    return request(address("trace-file", values), accept, signal, "POST", this.sent);
  }

  async list(signal: AbortSignal): Promise<Contents> {
    const response = await this.ask({}, "application/json", signal);
    this.contents = (await arrived(response.json(), signal)) as Contents;
    return this.contents;
  }

  async skeleton(trace: string, signal: AbortSignal): Promise<ArrayBuffer> {
    const response = await this.ask({ trace }, "application/vnd.tactus.skeleton", signal);
    return arrived(response.arrayBuffer(), signal);
  }
}

/** What is to be known of a file before anybody draws conclusions. */
export function notesOn({ withoutTrace }: Contents): string[] {
  if (withoutTrace === 0) return [];
  const spans = withoutTrace === 1 ? "1 span of the file names" : `${withoutTrace} spans of the file name`;
  return [`${spans} no trace and cannot be shown.`];
}

/** A trace of an opened file. */
export class FileTrace implements Source {
  readonly isStored = false;
  readonly notes: string[];
  private all: Promise<Map<string, Detail[]>> | null = null;

  constructor(
    private readonly file: OpenedFile,
    private readonly id: string,
  ) {
    this.notes = file.contents ? notesOn(file.contents) : [];
  }

  private async load(): Promise<Map<string, Detail[]>> {
    const { content } = await this.whole("spans");
    const whole = JSON.parse(await content.text()) as OtlpTrace;
    const details = new Map<string, Detail[]>();
    for (const detail of detailsOf(whole)) {
      const alike = details.get(detail.span.spanId);
      if (alike) alike.push(detail);
      else details.set(detail.span.spanId, [detail]);
    }
    return details;
  }

  /** All at once: the file is bounded, and would be sent for each of them. */
  async details(ids: string[]): Promise<FoundDetails> {
    this.all ??= this.load();
    this.all.catch(() => {
      this.all = null;
    });
    const all = await this.all;
    return { details: ids.flatMap((id) => all.get(id) ?? []), message: "" };
  }

  async find(query: string, signal: AbortSignal): Promise<FindAnswer> {
    const values = { trace: this.id, as: "find", q: query };
    const response = await this.file.ask(values, "application/json", signal);
    return arrived(response.json(), signal);
  }

  async whole(form: Form): Promise<Whole> {
    const response = await this.file.ask({ trace: this.id, as: form }, "application/json");
    return { content: await arrived(response.blob()), message: "" };
  }

  /** Other traces are in the file, or may be stored. */
  address(traceId: string, values: Record<string, string | null | undefined> = {}): string {
    const id = padded(traceId);
    const isHere = id === this.id || this.file.contents?.traces.some((trace) => trace.traceId === id);
    return isHere ? address("file", { ...values, trace: id }) : address(`trace/${id}`, values);
  }
}
