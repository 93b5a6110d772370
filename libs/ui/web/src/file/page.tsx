import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, config, reason } from "../api";
import { ErrorMessage } from "../error-message";
import { bytes, counted, duration, integer, millisOf, moment } from "../format";
import { Heads } from "../heads";
import { useLoaded } from "../loaded";
import { address, navigate, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { traceId } from "../search/query";
import { Chip } from "../search/results";
import { Label, Text } from "../text";
import { modelOf } from "../trace/model";
import { Opened } from "../trace/page";
import { decode } from "../trace/skeleton";
import { TraceState } from "../trace/state";
import { type Contents, type FileEntry, FileTrace, notesOn, OpenedFile } from "./opened";
import { PASTED, takeFiles } from "./taken";

/** Files are told apart by their numbers. */
let opened = 0;

/** Traces of a file: nothing of it is stored. */
export function FilePage() {
  const [file, setFile] = useState<{ file: OpenedFile; number: number } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const isOpen = useRef(false);
  const open = (name: string, content: Blob) => {
    const limit = config.value?.limits.fileBytes ?? 0;
    if (limit > 0 && content.size > limit) {
      return setProblem(
        `${name} has ${bytes(content.size)}, more than the ${bytes(limit)} that can be opened.`,
      );
    }
    OpenedFile.of(name, content).then(
      (file) => {
        setProblem(null);
        // What the address says of another file means nothing here.
        if (isOpen.current) navigate(address("file"));
        isOpen.current = true;
        opened += 1;
        setFile({ file, number: opened });
      },
      (error) => setProblem(`${name} cannot be read: ${reason(error)}`),
    );
  };
  useEffect(() => {
    document.title = "Open a file – Tactus";
  }, []);
  useEffect(() => takeFiles(open), []);
  const close = () => {
    isOpen.current = false;
    setProblem(null);
    setFile(null);
    navigate(address("file"));
  };
  if (!file) return <Chooser open={open} problem={problem} />;
  const another = (
    <>
      <button type="button" onClick={close}>
        Open another file
      </button>
      <ErrorMessage text={problem} />
    </>
  );
  return <FileView key={file.number} {...file} another={another} />;
}

interface ChooserProps {
  open(name: string, content: Blob): void;
  problem: string | null;
}

function Chooser({ open, problem }: ChooserProps) {
  const [text, setText] = useState("");
  const limit = config.value?.limits.fileBytes;
  return (
    <main>
      <h1>Open a file</h1>
      {params.value.has("trace") && (
        <p class="strip">
          ! The file of this trace is open no more: nothing keeps it. Open it again to see the trace.
        </p>
      )}
      <ErrorMessage text={problem} />
      <section class="drop" aria-label="File">
        <p>
          Drop a file with traces anywhere here, paste it, or{" "}
          <label>
            choose it{" "}
            <input
              type="file"
              onChange={(event) => {
                const file = event.currentTarget.files?.[0];
                if (file) open(file.name, file);
              }}
            />
          </label>
        </p>
        <p class="muted">
          OTLP or Zipkin as JSON or protobuf, answers of Tempo's API, JSON of Jaeger, also compressed by gzip
          {limit ? `; ${bytes(limit)} at most` : ""}. It is read by this server and stored nowhere.
        </p>
      </section>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() !== "") open(PASTED, new Blob([text]));
        }}
      >
        <label>
          Text of a file
          <textarea
            class="mono"
            rows={6}
            spellcheck={false}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Open the text</button>
      </form>
    </main>
  );
}

interface ViewProps {
  file: OpenedFile;
  number: number;
  /** What opens another file, and why that cannot be opened. */
  another: ComponentChildren;
}

function FileView({ file, number, another }: ViewProps) {
  const { value, problem } = useLoaded(`${number}`, (signal) => file.list(signal));
  const asked = params.value.get("trace");
  const only = value?.traces.length === 1 ? value.traces[0].traceId : null;
  useEffect(() => {
    if (only !== null && asked !== only) setParams({ trace: only });
  }, [only, asked]);
  if (problem !== null) {
    return (
      <Frame file={file} another={another}>
        <p class="error" role="alert">
          ✕ <Text value={problem} />
        </p>
      </Frame>
    );
  }
  const id = traceId(asked ?? "")?.trace;
  const isThere = value?.traces.some(({ traceId }) => traceId === id) || (value?.more ?? 0) > 0;
  if (id && isThere) return <Trace key={id} file={file} id={id} another={another} />;
  if (!value || only !== null) {
    return (
      <Frame file={file} another={another}>
        <p role="status">reading…</p>
      </Frame>
    );
  }
  return (
    <Frame file={file} another={another}>
      <Traces contents={value} />
    </Frame>
  );
}

type FrameProps = Pick<ViewProps, "file" | "another"> & { children: ComponentChildren };

function Frame({ file, another, children }: FrameProps) {
  return (
    <main>
      <div class="tools">
        <h1>
          <Text value={file.name} />
        </h1>
        <span class="space" />
        {another}
      </div>
      {children}
    </main>
  );
}

function Trace({ file, id, another }: Pick<ViewProps, "file" | "another"> & { id: string }) {
  const source = useMemo(() => new FileTrace(file, id), [file, id]);
  const { value, problem } = useLoaded(id, async (signal) => {
    const columns = await file.skeleton(id, signal).catch((error) => {
      const isUnknown = error instanceof ApiError && error.status === 404;
      throw isUnknown ? new ApiError(404, `The file has no trace ${id}.`) : error;
    });
    return new TraceState(modelOf(decode(columns)));
  });
  if (value) return <Opened id={id} state={value} source={source} actions={another} />;
  return (
    <Frame file={file} another={another}>
      {problem === null ? <p role="status">reading…</p> : <ErrorMessage text={problem} />}
    </Frame>
  );
}

/** Traces are looked for by name and id if there are more than these. */
const FEW = 20;

function Traces({ contents }: { contents: Contents }) {
  const wanted = params.value.get("named") ?? "";
  const { traces, more } = contents;
  const shown = useMemo(() => {
    const text = wanted.trim().toLowerCase();
    return traces.filter(({ traceId, service, name }) =>
      `${traceId} ${service} ${name}`.toLowerCase().includes(text),
    );
  }, [traces, wanted]);
  const notes = notesOn(contents);
  if (more > 0)
    notes.push(
      `${counted(more, "older trace")} of the file ${more === 1 ? "is" : "are"} not listed; the id of one opens it.`,
    );
  const unlisted = more > 0 && shown.length === 0 ? traceId(wanted) : null;
  return (
    <>
      <p>
        {contents.format} · {counted(contents.spans, "span")} · {counted(traces.length + more, "trace")}
      </p>
      {notes.length > 0 && <p class="strip">! {notes.join(" ")}</p>}
      {traces.length > FEW && (
        <label>
          Name or id{" "}
          <input
            type="search"
            value={wanted}
            onInput={(event) => setParams({ named: event.currentTarget.value || null })}
          />
        </label>
      )}
      {unlisted && (
        <p>
          <a href={address("file", { named: wanted, trace: unlisted.trace })}>
            Open trace <span class="mono">{unlisted.trace}</span>
          </a>
        </p>
      )}
      {traces.length === 0 && <p class="hint">The file has no trace.</p>}
      {traces.length > 0 && (
        <Scroll>
          <table class="results">
            <Heads columns={["Start", "Trace", { number: "Duration" }, { number: "Spans" }]} />
            <tbody>
              {shown.map((trace) => (
                <Row key={trace.traceId} trace={trace} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

function Row({ trace }: { trace: FileEntry }) {
  return (
    <tr>
      <td class="nowrap">{moment(millisOf(trace.start))}</td>
      <td>
        <a href={address("file", { named: params.value.get("named"), trace: trace.traceId })}>
          <Chip name={trace.service} /> <Label value={trace.name} none={trace.traceId} />
        </a>
      </td>
      <td class="number">{duration(Number(trace.duration))}</td>
      <td class="number nowrap">
        {integer(trace.spans)}
        {trace.errors > 0 && <span class="error"> ✕{integer(trace.errors)}</span>}
      </td>
    </tr>
  );
}
