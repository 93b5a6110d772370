//! Of receivers: ports whose spans would all be dropped.

use crate::sections::root::Config;
use crate::target::services_of;

/// UDP ports that the file names, and whose packets are nobody's.
pub(super) fn advice(config: &Config) -> Vec<String> {
    let receivers = &config.distributor.receivers;
    let needs_tenant = config.multitenant() || config.auth.enabled;
    if !needs_tenant
        || receivers.by_default
        || !services_of(&config.target).contains(&"distributor")
    {
        return Vec::new();
    }
    let mut advice = Vec::new();
    for (name, receiver) in &receivers.jaeger {
        let protocols = &receiver.protocols;
        let ports = [
            ("thrift_compact", protocols.thrift_compact.as_ref().map(|port| &port.udp)),
            ("thrift_binary", protocols.thrift_binary.as_ref().map(|port| &port.udp)),
            (
                "thrift_compact_legacy",
                protocols.thrift_compact_legacy.as_ref().map(|port| &port.udp),
            ),
        ];
        for (protocol, udp) in ports {
            if udp.is_some_and(|udp| udp.tenant.is_empty()) {
                advice.push(format!(
                    "distributor.receivers.{name}.protocols.{protocol}.tenant is not set: UDP packets carry no tenant and \
                     no credentials, so that all are dropped"
                ));
            }
        }
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    #[test]
    fn udp_port_whose_packets_are_nobodys_is_told() {
        let told = |udp: &str, more: &str| {
            let text = format!(
                "{{{more}, distributor: {{receivers: {{jaeger/a: {{protocols: {{grpc: , thrift_compact: {udp}}}}}}}}}}}"
            );
            advice(&from_yaml(&text).unwrap())
        };
        for more in ["multitenancy_enabled: true", "auth: {enabled: true}"] {
            let found = told("{}", more);
            let key = "distributor.receivers.jaeger/a.protocols.thrift_compact.tenant is not set";
            assert!(found.len() == 1 && found[0].starts_with(key), "{found:?}");
        }
        for (udp, more) in [
            ("{tenant: a}", "multitenancy_enabled: true"),
            ("{}", "multitenancy_enabled: false"),
            ("{}", "multitenancy_enabled: true, target: querier"),
        ] {
            assert!(told(udp, more).is_empty(), "{udp} {more}");
        }
    }
}
