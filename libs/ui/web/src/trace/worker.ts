import { compared } from "../compare/align";
import { layout } from "../map/layout";
import { typicalPaths } from "./against";
import { selfTimes } from "./analysis";
import { type Answers, type Asked, beside, computed, differing, type Question, type Said } from "./computed";
import { flame } from "./flame-boxes";
import { type Path, pathOf, pathsOf } from "./paths";
import { decode, type Skeleton } from "./skeleton";

let trace: Skeleton | null = null;
let known: Path | null = null;

// A message that cannot be read has no data: what is thrown here, and not in what is waited for, ends all questions.
addEventListener("message", ({ data: { number, question } }: MessageEvent<Asked>) => {
  void answer(number, question);
});

async function answer(number: number, question: Question) {
  const say = (said: Said, transfer: Transferable[] = []) => postMessage(said, { transfer });
  try {
    const answer = await answerTo(question);
    // Columns are given away.
    const found = question.kind === "found" ? (answer as Answers["found"]) : null;
    const columns = found ? [found.self, found.critical, found.retry, found.errors, found.waited] : [];
    say(
      { number, answer },
      columns.map(({ buffer }) => buffer),
    );
  } catch (error) {
    say({ number, problem: String(error) });
  }
}

function answerTo(question: Question): Answers[keyof Answers] | Promise<Answers["layout"]> {
  if (question.kind === "compare") {
    const [a, b] = question.sides.map((side) =>
      side instanceof ArrayBuffer ? pathsIn(decode(side)) : typicalPaths(side),
    );
    return compared(a, b);
  }
  if (question.kind === "found") {
    trace = question.trace;
    return computed(trace, question.size);
  }
  if (question.kind === "layout") return layout(question.edges, question.letters);
  if (!trace) throw new Error("there is no trace yet");
  known ??= pathsIn(trace);
  if (question.kind === "beside") return beside(trace, known, question.typical);
  if (question.kind === "against") return differing(known, question.typical);
  return flame(question.within < 0 ? known : (pathOf(known, trace, question.within) ?? known));
}

function pathsIn(trace: Skeleton): Path {
  return pathsOf(trace, selfTimes(trace));
}
