import { useEffect } from "preact/hooks";
import { json } from "../api";
import { ErrorMessage } from "../error-message";
import { bytes, counted, integer, rate, time } from "../format";
import { Heads } from "../heads";
import { Scroll } from "../scroll";
import { Text } from "../text";
import { usePolled } from "./polled";
import { Queries } from "./queries";

const EVERY = 10_000;

interface Instance {
  id: string;
  zone: string;
  state: string;
  isHealthy: boolean;
  isReadOnly: boolean;
  share: number;
  silentMs: number;
}

interface Status {
  version: string;
  members: { name: string; targets: string[]; zone: string; version: string; isSelf: boolean }[];
  rings: { name: string; replicationFactor: number; instances: Instance[] }[];
  tenants: {
    tenant: string;
    blocks: number;
    bytes: number;
    traces: number;
    oldest: number;
    newest: number;
    spansPerSecond: number | null;
    ingestFailure: string | null;
  }[];
  queue: { workers: number; slots: number; outstanding: number };
  liveTails: number;
}

/** How the cluster is, and what it is asked. */
export function StatusPage() {
  const { value, problem } = usePolled((signal) => json<Status>("status", signal), EVERY);
  useEffect(() => {
    document.title = "Status – Tactus";
  }, []);
  return (
    <main>
      <h1>Status</h1>
      <ErrorMessage text={problem} />
      {value === null && problem === null && <p role="status">reading…</p>}
      {value && <Summary status={value} />}
      {value && <Tenants tenants={value.tenants} />}
      <Queries />
      {value && <Cluster status={value} />}
    </main>
  );
}

function Summary({ status: { version, members, rings, tenants, queue, liveTails } }: { status: Status }) {
  const sick = rings.flatMap(({ instances }) => instances).filter(({ isHealthy }) => !isHealthy).length;
  const sum = (of: (tenant: Status["tenants"][0]) => number) =>
    tenants.reduce((total, one) => total + of(one), 0);
  return (
    <>
      <p class="status-summary">
        {members.length > 0 ? counted(members.length, "member") : "one process"} · {integer(queue.workers)}{" "}
        {queue.workers === 1 ? "querier" : "queriers"} · {counted(queue.outstanding, "job")} waiting or
        running, {integer(queue.slots)} at a time ·{" "}
        {integer(Math.round(sum((one) => one.spansPerSecond ?? 0)))} spans/s ·{" "}
        {counted(
          sum((one) => one.blocks),
          "block",
        )}{" "}
        · {bytes(sum((one) => one.bytes))} · {counted(liveTails, "live tail")} · version {version}
      </p>
      {sick > 0 ? (
        <p class="strip error">
          ✕ {counted(sick, "ring instance")} {sick === 1 ? "is" : "are"} unhealthy.
        </p>
      ) : (
        rings.length > 0 && <p class="muted">✓ All instances of all rings are healthy.</p>
      )}
    </>
  );
}

function Tenants({ tenants }: { tenants: Status["tenants"] }) {
  return (
    <section aria-labelledby="tenants">
      <h2 id="tenants">Tenants</h2>
      <Scroll>
        <table>
          <Heads
            columns={[
              "Tenant",
              { number: "Spans of the last minute" },
              { number: "Blocks" },
              { number: "Size" },
              { number: "Traces in blocks" },
              "Oldest span",
              "Newest in a block",
            ]}
          />
          <tbody>
            {tenants.map((one) => (
              <tr key={one.tenant}>
                <td>
                  <Text value={one.tenant} />
                </td>
                <td class="number">
                  {one.spansPerSecond === null ? (
                    <span class="error" title={one.ingestFailure ?? ""}>
                      ✕ not known
                    </span>
                  ) : (
                    rate(one.spansPerSecond)
                  )}
                </td>
                <td class="number">{integer(one.blocks)}</td>
                <td class="number">{bytes(one.bytes)}</td>
                <td class="number">{integer(one.traces)}</td>
                <td class="nowrap">{one.oldest > 0 ? time(one.oldest * 1000) : "–"}</td>
                <td class="nowrap">{one.newest > 0 ? time(one.newest * 1000) : "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function Cluster({ status: { members, rings } }: { status: Status }) {
  return (
    <>
      {members.length > 0 && (
        <section aria-labelledby="members">
          <h2 id="members">Members</h2>
          <Scroll>
            <table>
              <Heads columns={["Name", "Targets", "Zone", "Version"]} />
              <tbody>
                {members.map((member) => (
                  <tr key={member.name}>
                    <td>
                      <Text value={member.name} />
                      {member.isSelf && <span class="muted"> (this one)</span>}
                    </td>
                    <td>{member.targets.join(", ")}</td>
                    <td>{member.zone || "–"}</td>
                    <td>{member.version}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        </section>
      )}
      {rings.map((ring) => (
        <section key={ring.name} aria-labelledby={`ring-${ring.name}`}>
          <h2 id={`ring-${ring.name}`}>
            Ring of {ring.name}s{ring.name === "ingester" && `, each span on ${ring.replicationFactor}`}
          </h2>
          <Scroll>
            <table>
              <Heads columns={["Instance", "State", "Zone", { number: "Share" }, { number: "Heard" }]} />
              <tbody>
                {ring.instances.map((one) => (
                  <tr key={one.id}>
                    <td>
                      <Text value={one.id} />
                    </td>
                    <td class={one.isHealthy ? "" : "error"}>
                      {one.isHealthy ? "✓" : "✕"} {one.state}
                      {one.isReadOnly && " (takes no writes)"}
                    </td>
                    <td>{one.zone || "–"}</td>
                    <td class="number">{(one.share * 100).toFixed(1)} %</td>
                    <td class="number nowrap">{Math.round(one.silentMs / 1000)} s ago</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        </section>
      ))}
    </>
  );
}
