import { useMemo } from "preact/hooks";
import { counted, duration } from "../format";
import { inSentence } from "../names";
import { setParams } from "../router";
import { CORRECTED, canCorrect, type Moved } from "./clocks";
import type { Model } from "./model";
import { lacking } from "./skeleton";

/** Services whose clocks are said to differ. */
const NAMED = 3;

/** What is not as it should be: said before anybody draws conclusions. */
export function Caveats({ model: { trace, early }, notes, clocks }: CaveatsProps) {
  const all = [...notes, ...lacking(trace)];
  const isMoved = clocks !== null && clocks.spans > 0;
  const canMove = useMemo(() => !isMoved && early.spans > 0 && canCorrect(trace), [isMoved, early, trace]);
  if (isMoved) {
    all.push(
      `Clocks differ: ${counted(clocks.spans, "span")} moved to after the start of ${parents(clocks.spans)} (${whose(clocks.services)}).`,
    );
  }
  if (early.spans > 0) {
    all.push(
      `${counted(early.spans, "span")} before the start of ${parents(early.spans)}: clocks differ (${whose(early.services)}), times are shown as sent.`,
    );
  }
  if (all.length === 0) return null;
  return (
    <p class="strip">
      ! {all.join(" ")}
      {(canMove || isMoved) && (
        <>
          {" "}
          <button
            type="button"
            class="link"
            onClick={() => setParams({ clocks: isMoved ? null : CORRECTED, from: null, to: null })}
          >
            {isMoved ? "Show times as sent" : "Correct the clocks"}
          </button>
        </>
      )}
    </p>
  );
}

interface CaveatsProps {
  model: Model;
  notes: string[];
  clocks: Moved | null;
}

/** Whose parents these are. */
function parents(spans: number): string {
  return spans === 1 ? "its parent" : "their parents";
}

/** Services with the most that their times are wrong by. */
function whose(services: Map<string, number>): string {
  const most = [...services].sort(([, one], [, other]) => other - one).slice(0, NAMED);
  return most
    .map(([service, by]) => `${service === "" ? "unknown" : inSentence(service)} by ${duration(by)}`)
    .join(", ");
}
