import { time } from "../format";
import { Scroll } from "../scroll";
import { Text } from "../text";
import type { Table } from "./table";

/** More series would not be read side by side. */
const MOST_SERIES = 20;

/** The values of series: a line a step, the newest first. */
export function Values({ table, format }: { table: Table; format(value: number): string }) {
  const series = table.series.slice(0, MOST_SERIES);
  const hidden = table.series.length - series.length;
  const lines = table.times.map((seconds, at) => ({ seconds, at })).reverse();
  return (
    <>
      {hidden > 0 && (
        <p class="strip">
          ! {MOST_SERIES} of {table.series.length} series are shown; CSV has all.
        </p>
      )}
      <Scroll>
        <table>
          <thead>
            <tr>
              <th scope="col">Step until</th>
              {series.map(({ name }) => (
                <th key={name} scope="col" class="number">
                  <Text value={name} />
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {lines.map(({ seconds, at }) => (
              <tr key={seconds}>
                <td>{time(seconds * 1000)}</td>
                {series.map(({ name, values }) => {
                  const value = values[at];
                  return (
                    <td key={name} class="number">
                      {value === null ? "–" : format(value)}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}
