//! The pages that show a ring and the members, as HTML and as JSON.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tactus_telemetry::html_escaped;

use crate::membership::Membership;
use crate::ring::Ring;

/// What the pages of an instance without gossip say.
pub(crate) const NO_GOSSIP: &str = "This instance doesn't use memberlist.";
/// How Go writes a time that was never set.
const NEVER: &str = "0001-01-01T00:00:00Z";

const STYLE: &str = "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}\
    td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left}.Unhealthy{background:#fdd}\
    .tokens{max-width:60em;overflow-wrap:anywhere}</style>";

#[derive(Serialize)]
struct RingJson<'ring> {
    shards: Vec<ShardJson<'ring>>,
    now: String,
}

/// Of features, which Tempo's instances tell.
#[derive(Serialize)]
struct NoVersions {}

#[derive(Serialize)]
struct ShardJson<'ring> {
    id: &'ring str,
    state: &'static str,
    address: &'ring str,
    timestamp: String,
    registered_timestamp: String,
    read_only: bool,
    read_only_updated_timestamp: String,
    zone: &'ring str,
    tokens: &'ring [u32],
    versions: NoVersions,
}

impl Ring {
    /// The page of the ring as JSON: `shards` and `now`; an instance that was not heard of for too
    /// long is in state `UNHEALTHY`.
    pub fn page_json(&self) -> String {
        let now = self.now();
        let heard = self.heard();
        let shards = heard
            .iter()
            .map(|found| {
                let instance = &*found.instance;
                ShardJson {
                    id: &instance.id,
                    state: if instance.alive { instance.state.name() } else { "UNHEALTHY" },
                    address: &instance.address,
                    timestamp: time(now.saturating_sub(found.silent_for)),
                    registered_timestamp: seconds(instance.registered),
                    read_only: instance.read_only,
                    read_only_updated_timestamp: seconds(instance.read_only_updated),
                    zone: &instance.zone,
                    tokens: &instance.tokens,
                    versions: NoVersions {},
                }
            })
            .collect();
        json(&RingJson { shards, now: time(now) })
    }

    /// The page of the ring as HTML, with a button to forget each instance, which posts
    /// `forget=<id>` to the page's own address; `tokens` lists the tokens as well.
    pub fn page_html(&self, tokens: bool) -> String {
        let now = self.now();
        let name = html_escaped(&self.settings().name);
        let ownership = self.view().ownership();
        let mut page = format!(
            "<!doctype html><html><head><meta charset=\"utf-8\"><title>Ring: {name}</title>{STYLE}\
             </head><body><h1>Ring: {name}</h1><p>Current time: {}</p>\
             <form action=\"\" method=\"POST\"><table><thead><tr><th>Instance</th><th>Zone</th>\
             <th>State</th><th>Address</th><th>Registered</th><th>Last heartbeat</th>\
             <th>Read-only</th><th>Tokens</th><th>Ownership</th><th>Actions</th></tr></thead>\
             <tbody>",
            time(now),
        );
        for (at, found) in self.heard().iter().enumerate() {
            let instance = &*found.instance;
            let state = if instance.alive { instance.state.name() } else { "Unhealthy" };
            let share = ownership.get(at).copied().unwrap_or(0.0) * 100.0;
            let _ = write!(
                page,
                "<tr class=\"{state}\"><td>{id}</td><td>{}</td><td>{state}</td><td>{}</td>\
                 <td>{}</td><td>{} ago</td><td>{}</td><td>{}</td><td>{share:.2}%</td>\
                 <td><button name=\"forget\" value=\"{id}\" type=\"submit\">Forget</button></td>\
                 </tr>",
                html_escaped(&instance.zone),
                html_escaped(&instance.address),
                seconds(instance.registered),
                age(found.silent_for),
                if instance.read_only { "yes" } else { "no" },
                instance.tokens.len(),
                id = html_escaped(&instance.id),
            );
        }
        page.push_str("</tbody></table></form>");
        if tokens {
            for found in self.heard() {
                let listed: Vec<String> =
                    found.instance.tokens.iter().map(ToString::to_string).collect();
                let id = html_escaped(&found.instance.id);
                let _ = write!(
                    page,
                    "<h2>Tokens of {id}</h2><p class=\"tokens\">{}</p>",
                    listed.join(" ")
                );
            }
        } else {
            page.push_str("<p><a href=\"?tokens=true\">Show the tokens</a></p>");
        }
        page.push_str("</body></html>\n");
        page
    }

    fn now(&self) -> Duration {
        let clock = self.kept_by().map(|(_, record)| (record.clock)());
        clock.unwrap_or_else(|| (crate::settings::system_clock())())
    }
}

#[derive(Serialize)]
struct MembersJson {
    members: Vec<MemberJson>,
    now: String,
}

#[derive(Serialize)]
struct MemberJson {
    name: String,
    address: String,
    targets: Vec<String>,
    http_address: String,
    grpc_address: String,
    zone: String,
    version: String,
    this: bool,
}

impl Membership {
    /// The page of the members as JSON; without gossip a sentence that says so.
    pub fn page_json(&self) -> String {
        if self.gossip_address().is_none() {
            return NO_GOSSIP.to_owned();
        }
        let members = self.members();
        let members = members.iter().cloned().map(|member| MemberJson {
            name: member.name,
            address: member.gossip_address.to_string(),
            targets: member.description.targets,
            http_address: member.description.http_address,
            grpc_address: member.description.grpc_address,
            zone: member.description.zone,
            version: member.description.version,
            this: member.is_self,
        });
        let now = time((self.shared().settings.clock)());
        json(&MembersJson { members: members.collect(), now })
    }

    /// The page of the members as HTML; without gossip a sentence that says so.
    pub fn page_html(&self) -> String {
        if self.gossip_address().is_none() {
            return NO_GOSSIP.to_owned();
        }
        let members = self.members();
        let mut page = format!(
            "<!doctype html><html><head><meta charset=\"utf-8\"><title>Memberlist</title>{STYLE}\
             </head><body><h1>Memberlist</h1><p>{} members. Current time: {}</p><table><thead>\
             <tr><th>Name</th><th>Gossip address</th><th>Targets</th><th>HTTP</th><th>gRPC</th>\
             <th>Zone</th><th>Version</th></tr></thead><tbody>",
            members.len(),
            time((self.shared().settings.clock)()),
        );
        for member in members.iter() {
            let this = if member.is_self { " (this process)" } else { "" };
            let _ = write!(
                page,
                "<tr><td>{}{this}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                html_escaped(&member.name),
                member.gossip_address,
                html_escaped(&member.description.targets.join(", ")),
                html_escaped(&member.description.http_address),
                html_escaped(&member.description.grpc_address),
                html_escaped(&member.description.zone),
                html_escaped(&member.description.version),
            );
        }
        page.push_str("</tbody></table></body></html>\n");
        page
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps keyed by them have a JSON form")
}

fn seconds(unix: i64) -> String {
    if unix == 0 {
        return NEVER.to_owned();
    }
    Timestamp::from_second(unix).map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

fn time(since_1970: Duration) -> String {
    let millis = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

fn age(silent_for: Duration) -> String {
    format!("{:.1}s", silent_for.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;
    use crate::settings::RingSettings;

    fn ring() -> std::sync::Arc<Ring> {
        let mut stale = Instance::active("<b>", "10.0.0.2:9095", [20]);
        (stale.alive, stale.registered) = (false, 1_700_000_000);
        let instances = vec![Instance::active("a", "10.0.0.1:9095", [10]), stale];
        Ring::fixed(RingSettings::new("ingester"), instances)
    }

    #[test]
    fn json_page_has_the_shape_that_tools_read() {
        let page: serde_json::Value = serde_json::from_str(&ring().page_json()).unwrap();
        assert!(page["now"].is_string());
        let mut shard = page["shards"][0].clone();
        assert_eq!(
            (shard["id"].as_str(), shard["state"].as_str()),
            (Some("<b>"), Some("UNHEALTHY"))
        );
        assert_eq!(shard["registered_timestamp"], "2023-11-14T22:13:20Z");
        let fields: Vec<String> = shard.as_object_mut().unwrap().keys().cloned().collect();
        let mut expected = [
            "id",
            "state",
            "address",
            "timestamp",
            "registered_timestamp",
            "read_only",
            "read_only_updated_timestamp",
            "zone",
            "tokens",
            "versions",
        ];
        expected.sort_unstable();
        assert_eq!(
            {
                let mut fields = fields;
                fields.sort();
                fields
            },
            expected
        );
    }

    #[test]
    fn html_page_escapes_names_and_offers_to_forget() {
        let page = ring().page_html(false);
        assert!(page.contains("value=\"&lt;b&gt;\" type=\"submit\">Forget"));
        assert!(page.contains("Unhealthy") && !page.contains("<b>"));
        assert!(ring().page_html(true).contains("Tokens of a"));
    }
}
