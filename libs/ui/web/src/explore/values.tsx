import { integer, timesAmong } from "../format";
import { Scroll } from "../scroll";
import { Label } from "../text";
import type { Table } from "./table";

/** More series would not be read side by side. */
const MOST_SERIES = 20;

interface Props {
  table: Table;
  /** Series of the answer, of which the table may have some. */
  count: number;
  format(value: number): string;
}

/** The values of series: a line a step, the newest first. */
export function Values({ table, count, format }: Props) {
  const series = table.series.slice(0, MOST_SERIES);
  const hidden = count - series.length;
  const time = timesAmong(table.times.map((seconds) => seconds * 1_000));
  const lines = table.times.map((seconds, at) => ({ seconds, at })).reverse();
  return (
    <>
      {hidden > 0 && (
        <p class="strip">
          ! {series.length} of {integer(count)} series are shown; CSV has all.
        </p>
      )}
      <Scroll>
        <table>
          <thead>
            <tr>
              <th scope="col">Step until</th>
              {series.map(({ name }) => (
                <th key={name} scope="col" class="number">
                  <Label value={name} />
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
