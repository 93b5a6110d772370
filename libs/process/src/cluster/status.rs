//! Members and rings as the status page shows them.

use std::sync::Arc;

use serde_json::{Value, json};
use tactus_ring::{Member, Ring};

pub(super) fn json(members: &[Member], rings: &[(&str, Arc<Ring>)]) -> Value {
    // Rings that nobody is in are those of services that do not run here.
    let rings = rings.iter().filter(|(_, ring)| !ring.view().instances().is_empty());
    json!({
        "members": members.iter().map(member_json).collect::<Vec<_>>(),
        "rings": rings.map(|(name, ring)| ring_json(name, ring)).collect::<Vec<_>>(),
    })
}

fn member_json(member: &Member) -> Value {
    json!({
        "name": member.name,
        "targets": member.description.targets,
        "zone": member.description.zone,
        "version": member.description.version,
        "isSelf": member.is_self,
    })
}

fn ring_json(name: &str, ring: &Ring) -> Value {
    let (view, heard) = (ring.view(), ring.heard());
    let shares = view.ownership();
    let instances = heard.iter().map(|found| {
        let instance = &found.instance;
        let place = view.instances().iter().position(|other| other.id == instance.id);
        let share = place.and_then(|place| shares.get(place)).copied().unwrap_or_default();
        json!({
            "id": &*instance.id,
            "zone": &*instance.zone,
            "state": if instance.alive { instance.state.name() } else { "UNHEALTHY" },
            "isHealthy": instance.alive && instance.state.name() == "ACTIVE",
            "isReadOnly": instance.read_only,
            "share": share,
            "silentMs": u64::try_from(found.silent_for.as_millis()).unwrap_or(u64::MAX),
        })
    });
    json!({
        "name": name,
        "replicationFactor": view.replication_factor(),
        "instances": instances.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_ring::{Instance, RingSettings};

    #[test]
    fn rings_show_who_is_healthy_and_what_is_whose() {
        let settings = RingSettings::new("ingester");
        let sick = Instance { alive: false, ..Instance::active("b", "b:1", [1 << 31]) };
        let ring = Ring::fixed(settings, vec![Instance::active("a", "a:1", [0]), sick]);
        let empty = Ring::fixed(RingSettings::new("compactor"), Vec::new());
        let status = json(&[], &[("ingester", ring), ("compactor", empty)]);
        assert_eq!(status["rings"].as_array().unwrap().len(), 1);
        let instances = &status["rings"][0]["instances"];
        assert_eq!(
            (instances[0]["isHealthy"].as_bool(), instances[1]["isHealthy"].as_bool()),
            (Some(true), Some(false))
        );
        assert_eq!(instances[1]["state"], "UNHEALTHY");
        let share = instances[0]["share"].as_f64().unwrap();
        assert!((share - 0.5).abs() < 0.01, "{share}");
        assert!(!status.to_string().contains("a:1"));
    }
}
