//! The start banner for people at a terminal.

use std::io::{self, Write};

/// Writes to the terminal. Whoever reads may be gone, as `head` is: that must not end the process with a panic.
pub(crate) fn say(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Writes a line for the operator.
pub(crate) fn tell(line: String) {
    let _ = io::stderr().lock().write_all((line + "\n").as_bytes());
}

/// The addresses that a start without a configuration shows.
pub(crate) struct Addresses {
    pub(crate) http: String,
    pub(crate) otlp_grpc: Option<String>,
    pub(crate) otlp_http: Option<String>,
    pub(crate) jaeger: Option<String>,
    pub(crate) zipkin: Option<String>,
    pub(crate) jaeger_query: Option<String>,
    pub(crate) data: String,
}

/// Writes a short text with the addresses and a first request to the terminal.
pub(crate) fn show(addresses: &Addresses) {
    say(&(text(addresses) + "\n"));
}

fn text(addresses: &Addresses) -> String {
    let shown = |address: &Option<String>| address.clone().unwrap_or_else(|| "off".to_owned());
    let Addresses { http, otlp_grpc, otlp_http, jaeger, zipkin, jaeger_query, data } = addresses;
    format!(
        "tactus {version} is ready\n\
         \x20 spans in   OTLP gRPC {otlp_grpc}   OTLP HTTP {otlp_http}   Jaeger UDP {jaeger}   Zipkin {zipkin}\n\
         \x20 pages      http://{http}/ui/\n\
         \x20 queries    http://{http}   Jaeger's API {jaeger_query}\n\
         \x20 data       {data}\n\
         \x20 try        curl -s -G http://{http}/api/search --data-urlencode 'q={{}}'\n",
        version = crate::VERSION,
        otlp_grpc = shown(otlp_grpc),
        otlp_http = shown(otlp_http),
        jaeger = shown(jaeger),
        zipkin = shown(zipkin),
        jaeger_query = shown(jaeger_query),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_off_are_shown_as_off() {
        let text = text(&Addresses {
            http: "h:1".to_owned(),
            otlp_grpc: Some("g:2".to_owned()),
            otlp_http: None,
            jaeger: Some("j:3".to_owned()),
            zipkin: Some("z:4".to_owned()),
            jaeger_query: Some("q:5".to_owned()),
            data: "./d".to_owned(),
        });
        for part in [
            "OTLP gRPC g:2   OTLP HTTP off   Jaeger UDP j:3   Zipkin z:4",
            "http://h:1   Jaeger's API q:5",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
