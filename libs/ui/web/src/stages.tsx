import { Text } from "./text";

/** A step of how a query is run. */
export interface Stage {
  stage: string;
  text: string;
  pushedDown?: string[];
}

/** The steps of a query, and what of each is evaluated on columns. */
export function Stages({ stages }: { stages: Stage[] }) {
  return (
    <ol>
      {stages.map(({ stage, text, pushedDown = [] }) => (
        <li key={`${stage}${text}`}>
          {stage} <Text value={text} />
          {pushedDown.length > 0 && (
            <span class="muted">
              {" "}
              · evaluated on columns only: <Text value={pushedDown.join(", ")} />
            </span>
          )}
        </li>
      ))}
    </ol>
  );
}
