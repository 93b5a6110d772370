import { inSentence } from "../names";
import { nameOf, type Skeleton, serviceOf } from "./skeleton";

/** A sentence about a trace, and the span that it is about. */
export interface Finding {
  text: string;
  row: number;
  /** What the span says of its failure belongs to it. */
  failed?: boolean;
  /** Others say more. */
  weak?: boolean;
}

/** An operation in a sentence. */
export function label(trace: Skeleton, row: number): string {
  const service = serviceOf(trace, row);
  const name = inSentence(nameOf(trace, row));
  return service === "" ? name : `${inSentence(service)} ${name}`;
}
