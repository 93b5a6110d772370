//! Addresses of a client, as proxies before this process tell them.

use std::net::SocketAddr;

use ::http::header::FORWARDED;
use ::http::{HeaderMap, HeaderName, Request};
use regex::Regex;

use crate::listener::ConnectionInfo;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Finds the addresses of clients.
#[derive(Debug, Clone, Default)]
pub struct SourceIps {
    /// All that a header tells, instead of the first.
    pub full: bool,
    /// A header of one's own, and what is the address in its value: the first group, or all that matches.
    pub custom: Option<(HeaderName, Regex)>,
}

impl SourceIps {
    /// The addresses in the headers, and that of the connection if it differs: `203.0.113.7, 10.0.0.1`.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Option<String> {
        let told = self.told(request.headers());
        let connection = request.extensions().get::<ConnectionInfo>();
        let connected = connection.map(|info| info.client.ip().to_canonical().to_string());
        match (told, connected) {
            (Some(told), Some(connected)) if told != connected => {
                Some(format!("{told}, {connected}"))
            }
            (told, connected) => told.or(connected),
        }
    }

    fn told(&self, headers: &HeaderMap) -> Option<String> {
        if let Some((name, pattern)) = &self.custom {
            let value = headers.get(name)?.to_str().ok()?;
            let found = pattern.captures(value)?;
            let address = found.get(1).or_else(|| found.get(0))?.as_str();
            return Some(address.to_owned()).filter(|address| !address.is_empty());
        }
        let value = |name| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            Some(values.collect::<Vec<_>>().join(",")).filter(|text| !text.is_empty())
        };
        // The first that is there counts.
        let addresses: Vec<_> = match value(FORWARDED) {
            Some(forwarded) => forwarded.split([',', ';']).filter_map(forwarded_for).collect(),
            None => {
                let listed = value(X_REAL_IP).or_else(|| value(X_FORWARDED_FOR))?;
                listed.split(',').filter_map(address).collect()
            }
        };
        let count = if self.full { addresses.len() } else { 1 };
        let addresses = addresses.into_iter().take(count).collect::<Vec<_>>().join(", ");
        Some(addresses).filter(|text| !text.is_empty())
    }
}

/// The address of a part of `Forwarded`, as `for="[2001:db8::1]:4711"`.
fn forwarded_for(part: &str) -> Option<String> {
    let (name, value) = part.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("for") {
        return None;
    }
    address(value.trim().trim_matches('"'))
}

/// An address without its port; whatever else stands there, as `unknown`, is told as it is.
fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let without_port = match text.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => text.trim_matches(['[', ']']).to_owned(),
    };
    Some(without_port).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &SourceIps, headers: &[(&'static str, &str)]) -> Option<String> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request.extensions_mut().insert(ConnectionInfo {
            client: "10.0.0.1:5".parse().unwrap(),
            is_encrypted: false,
            has_verified_certificate: false,
        });
        source.of(&request)
    }

    #[test]
    fn first_address_of_the_first_header_counts() {
        let first = SourceIps::default();
        let all = SourceIps { full: true, ..SourceIps::default() };
        let two = "203.0.113.7, 198.51.100.2";
        for (headers, expected, expected_of_all) in [
            (&[][..], "", ""),
            (&[("x-real-ip", "10.0.0.1")], "", ""),
            (&[("x-forwarded-for", two)], "203.0.113.7, ", "203.0.113.7, 198.51.100.2, "),
            (
                &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "198.51.100.2")],
                "203.0.113.7, ",
                "203.0.113.7, 198.51.100.2, ",
            ),
            (
                &[
                    ("x-forwarded-for", "1.1.1.1"),
                    ("x-real-ip", "2.2.2.2"),
                    ("forwarded", "For=3.3.3.3;proto=http, for=4.4.4.4"),
                ],
                "3.3.3.3, ",
                "3.3.3.3, 4.4.4.4, ",
            ),
            (&[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "2.2.2.2")], "2.2.2.2, ", "2.2.2.2, "),
            (&[("forwarded", "for=\"[2001:db8::1]:4711\"")], "2001:db8::1, ", "2001:db8::1, "),
            (&[("x-real-ip", "203.0.113.7:80")], "203.0.113.7, ", "203.0.113.7, "),
            (&[("forwarded", "proto=http"), ("x-real-ip", " ,")], "", ""),
        ] {
            let with_connection = |told: &str| Some(format!("{told}10.0.0.1"));
            assert_eq!(found(&first, headers), with_connection(expected), "{headers:?}");
            assert_eq!(found(&all, headers), with_connection(expected_of_all), "{headers:?}");
        }
    }

    #[test]
    fn custom_header_is_read_by_its_pattern() {
        let custom = |pattern: &str| SourceIps {
            full: false,
            custom: Some((HeaderName::from_static("x-client"), Regex::new(pattern).unwrap())),
        };
        let headers = [("x-client", "ip=203.0.113.7;x"), ("x-real-ip", "2.2.2.2")];
        assert_eq!(found(&custom("ip=([^;]+)"), &headers).unwrap(), "203.0.113.7, 10.0.0.1");
        assert_eq!(found(&custom("[0-9.]+"), &headers).unwrap(), "203.0.113.7, 10.0.0.1");
        assert_eq!(found(&custom("no"), &headers).unwrap(), "10.0.0.1");
        assert_eq!(found(&custom("x"), &[]).unwrap(), "10.0.0.1");
    }
}
