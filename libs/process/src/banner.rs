//! The start banner for people at a terminal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::ShownAddresses;

/// Writes to the terminal. Whoever reads may be gone, as `head` is: that must not end the process with a panic.
pub(crate) fn say(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Writes a line for the operator. Waits a second at most: whoever reads may hang, and the process is to end nevertheless.
pub(crate) fn tell(line: String) {
    let (written, is_written) = mpsc::channel();
    thread::spawn(move || {
        let _ = io::stderr().lock().write_all((line + "\n").as_bytes());
        let _ = written.send(());
    });
    let _ = is_written.recv_timeout(Duration::from_secs(1));
}

/// Writes a short text with the addresses and a first request to the terminal, for a start without a configuration.
pub(crate) fn show(http: SocketAddr, addresses: &ShownAddresses, data: &str) {
    say(&(text(http, addresses, data) + "\n"));
}

fn text(http: SocketAddr, addresses: &ShownAddresses, data: &str) -> String {
    let shown = |name| addresses.find(name).unwrap_or_else(|| "off".to_owned());
    format!(
        "tactus {version} is ready\n\
         \x20 spans in   OTLP gRPC {otlp_grpc}   OTLP HTTP {otlp_http}   Jaeger UDP {jaeger}   Zipkin {zipkin}\n\
         \x20 pages      http://{http}/ui/\n\
         \x20 queries    http://{http}   Jaeger's API {jaeger_query}\n\
         \x20 data       {data}\n\
         \x20 try        curl -s -G http://{http}/api/search --data-urlencode 'q={{}}'\n",
        version = crate::VERSION,
        otlp_grpc = shown("OTLP gRPC"),
        otlp_http = shown("OTLP HTTP"),
        jaeger = shown("Jaeger Thrift compact UDP"),
        zipkin = shown("Zipkin HTTP"),
        jaeger_query = shown("Jaeger query HTTP"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_off_are_shown_as_off() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = ShownAddresses::default();
        addresses.note("OTLP gRPC", address(2));
        addresses.note("Jaeger Thrift compact UDP", address(3));
        addresses.note("Zipkin HTTP", address(4));
        addresses.note("Jaeger query HTTP", address(5));
        let text = text(address(1), &addresses, "./d");
        for part in [
            "OTLP gRPC 127.0.0.1:2   OTLP HTTP off   Jaeger UDP 127.0.0.1:3   Zipkin 127.0.0.1:4",
            "http://127.0.0.1:1   Jaeger's API 127.0.0.1:5",
            "data       ./d\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
