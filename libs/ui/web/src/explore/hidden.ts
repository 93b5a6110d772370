import { hash } from "../looks";

/** Series that are left out of a plot stand in the address by a short mark of their names, which may be long. */
function markOf(name: string): string {
  return hash(name).toString(36);
}

/** Places of the series that the address leaves out: those of `hidden`, or all but those of `shown`. */
export function hiddenOf(names: readonly string[], hidden: string | null, shown: string | null): Set<number> {
  const marks = new Set((shown ?? hidden ?? "").split("."));
  const places = names.map((name, at) => (marks.has(markOf(name)) !== (shown !== null) ? at : -1));
  return new Set(places.filter((at) => at >= 0));
}

/** Parameters that leave these out: whichever of the two is shorter. */
export function hiddenParams(
  names: readonly string[],
  hidden: ReadonlySet<number>,
): { hidden: string | null; shown: string | null } {
  const marks = (isWanted: (at: number) => boolean) =>
    names
      .filter((_, at) => isWanted(at))
      .map(markOf)
      .join(".");
  if (hidden.size === 0) return { hidden: null, shown: null };
  return hidden.size > names.length / 2
    ? { hidden: null, shown: marks((at) => !hidden.has(at)) }
    : { hidden: marks((at) => hidden.has(at)), shown: null };
}
