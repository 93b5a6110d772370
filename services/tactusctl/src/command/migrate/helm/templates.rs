//! Templates in values. The chart tempo-distributed renders its whole configuration, the chart tactus renders little of it.

use tactus_config::{Finding, Value, Verdict};

use super::{Move, values};

/// Sections of the result that the chart tactus does not render: a template is a text there. `cache` is rendered.
const NOT_RENDERED: [&str; 14] = [
    "compactor.config",
    "distributor.config",
    "ingester.config",
    "memberlist",
    "metricsGenerator.config",
    "minio.bucket",
    "overrides",
    "per_tenant_overrides",
    "querier.config",
    "queryFrontend.config",
    "server",
    "storage",
    "tactus.structuredConfig",
    "traces",
];
/// Where values set the gossip ring.
const GOSSIP: [&str; 3] = ["memberlist", "tempo.memberlist", "tempo.structuredConfig.memberlist"];
/// The `cluster_label` that tempo-distributed sets, without spaces.
const CLUSTER_LABEL: &str = "{{.Release.Name}}.{{.Release.Namespace}}";

/// Why a template is to be looked at.
pub(super) const WHY: &str =
    "a template, and the chart tactus renders none here: write the text that it stands for";

pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Leaves out templates of the gossip ring for which the chart tactus has an equal of its own.
pub(super) fn gossip(moved: &mut Move) {
    for section in GOSSIP {
        let label = format!("{section}.cluster_label");
        let text = moved.has(&label).and_then(values::text).unwrap_or_default();
        if text.split_whitespace().collect::<String>() == CLUSTER_LABEL {
            let why = "the default of the other chart; ours sets the label of its release and namespace as well";
            moved.leave_out(&label, why);
        }
        let members = format!("{section}.join_members");
        let is_ring = |member: &Value| {
            let member = values::text(member);
            member.is_some_and(|text| is_template(text) && text.contains("gossip-ring"))
        };
        let is_own = |members: &Value| match members {
            Value::List(all) => !all.is_empty() && all.iter().all(is_ring),
            _ => false,
        };
        if moved.has(&members).is_some_and(is_own) {
            moved.leave_out(&members, "the chart sets the members of its gossip ring");
        }
    }
}

/// Notes the templates of the result that would be taken for texts.
pub(super) fn note(moved: &mut Move) {
    let mut keys = Vec::new();
    for section in NOT_RENDERED {
        if let Some(value) = values::get(&moved.to, section) {
            find(value, section, &mut keys);
        }
    }
    for key in keys {
        let is_fine = |it: &Finding| it.key == key && it.verdict == Verdict::Honoured;
        moved.findings.retain(|finding| !is_fine(finding));
        moved.note(&key, Verdict::Changed, None, WHY);
    }
}

/// Adds the keys of texts with a template; those in lists have their number.
fn find(value: &Value, key: &str, keys: &mut Vec<String>) {
    match value {
        Value::Text(text) if is_template(text) => keys.push(key.to_owned()),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                find(item, &format!("{key}.{index}"), keys);
            }
        }
        Value::Map(entries) => {
            for (name, value) in entries {
                find(value, &format!("{key}.{name}"), keys);
            }
        }
        _ => {}
    }
}

/// Removes texts that call helpers of Tempo's charts, because our chart could not be rendered with them.
pub(super) fn without_foreign(moved: &mut Move) {
    for path in values::paths_of_texts(&moved.to, &calls_foreign_helper) {
        values::take_at(&mut moved.to, &path);
        let why = "a template that calls a helper of Tempo's chart: write it anew, with tactus.selectorLabels or plain labels";
        moved.note(&path.join("."), Verdict::Changed, None, why);
    }
}

fn calls_foreign_helper(text: &str) -> bool {
    let mut helpers = text.match_indices("include \"").map(|(at, call)| &text[at + call.len()..]);
    // The chart tactus has this one, for values that were copied.
    helpers.any(|name| name.starts_with("tempo.") && !name.starts_with("tempo.fullname\""))
}
