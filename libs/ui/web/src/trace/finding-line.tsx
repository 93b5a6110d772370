import { useLoaded } from "../loaded";
import { cut } from "../names";
import { Text } from "../text";
import { type Detail, type Details, valueText } from "./details";
import type { Finding } from "./finding";
import { type Skeleton, spanId } from "./skeleton";
import type { TraceState } from "./state";

const LONGEST = 160;

interface Props {
  finding: Finding;
  trace: Skeleton;
  details: Details;
  state: TraceState;
}

/** A sentence that leads to its span. Why that failed is read when the trace is shown. */
export function FindingLine({ finding: { text, row, failed }, trace, details, state }: Props) {
  const id = failed ? spanId(trace, row) : null;
  const { value } = useLoaded(id, (signal) => details.get(id ?? "", signal));
  const said = value ? reasonOf(value) : "";
  return (
    <li>
      <button type="button" class="link" onClick={() => state.select(row)}>
        {text}
      </button>
      {said !== "" && (
        <span class="error">
          {" "}
          ✕ <Text value={said} />
        </span>
      )}
    </li>
  );
}

const EXCEPTION = ["exception.message", "exception.type"];
const STATUS = ["error.type", "http.response.status_code", "http.status_code", "rpc.grpc.status_code"];

/** Why a span failed, as it says itself: its message, else its exception or the status that it was answered. */
function reasonOf(details: Detail[]): string {
  for (const { span } of details) {
    const events = (span.events ?? []).flatMap(({ attributes }) => attributes ?? []);
    const found = [
      span.status?.message,
      ...EXCEPTION.map((key) => valueText(events.find((pair) => pair.key === key)?.value)),
      ...STATUS.map((key) => valueText(span.attributes?.find((pair) => pair.key === key)?.value)),
    ].find((text) => text);
    if (found) return cut(found, LONGEST);
  }
  return "";
}
