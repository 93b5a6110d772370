import { useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";
import { reason } from "../api";
import { bytes } from "../format";
import { shortcuts } from "../keys";
import { address, here, navigate } from "../router";
import { copy, save } from "./actions";
import type { Skeleton } from "./skeleton";
import type { Form, Source } from "./source";
import { median } from "./typical";

/** What can be done with a trace. */
export function Actions({ id, trace, source }: { id: string; trace: Skeleton; source: Source }) {
  const [said, setSaid] = useState("");
  const left = useMemo(() => new AbortController(), []);
  useEffect(() => () => left.abort(), [left]);
  const keep = (form: Form, name: string) => {
    setSaid("reading…");
    source
      .whole(form, (count) => setSaid(`reading… ${bytes(count)}`))
      .then(
        ({ content, message }) => {
          save(content, name);
          setSaid(message && `saved, but not whole: ${message}`);
        },
        (error) => setSaid(reason(error) ?? ""),
      );
  };
  const compare = () => {
    setSaid("searching…");
    median(trace, left.signal).then(
      (other) => {
        // Whoever went elsewhere stays there.
        if (left.signal.aborted) return;
        if (other) navigate(address(`compare/${other}...${id}`));
        else setSaid("no other trace of this operation within an hour");
      },
      (error) => setSaid(reason(error) ?? ""),
    );
  };
  const copyLink = async () => setSaid((await copy(here())) ? "copied" : "the browser refuses to copy");
  useLayoutEffect(() => shortcuts({ y: () => void copyLink() }), []);
  return (
    <>
      {source.isStored && (
        <button type="button" onClick={compare} title="Among the last 50 of this operation within an hour">
          Compare with the median
        </button>
      )}
      <button type="button" onClick={() => keep("spans", `trace-${id}.json`)}>
        Download OTLP
      </button>
      <button type="button" onClick={() => keep("jaeger", `trace-${id}.jaeger.json`)}>
        Jaeger JSON
      </button>
      {source.isStored && (
        <button type="button" onClick={copyLink}>
          Copy link
        </button>
      )}
      <span role="status">{said}</span>
    </>
  );
}
