//! What a person reads in the terminal.

/// The addresses that a start without a configuration shows.
pub(crate) struct Addresses {
    pub(crate) http: String,
    pub(crate) otlp_grpc: Option<String>,
    pub(crate) otlp_http: Option<String>,
    pub(crate) data: String,
}

/// Writes a short text with the addresses and a first request to the terminal.
#[allow(clippy::print_stdout, reason = "for whoever started the program by hand")]
pub(crate) fn show(addresses: &Addresses) {
    println!("{}", text(addresses));
}

fn text(addresses: &Addresses) -> String {
    let none = || "off".to_owned();
    let Addresses { http, otlp_grpc, otlp_http, data } = addresses;
    format!(
        "tactus {version} is ready\n\
         \x20 spans in   OTLP gRPC {grpc}   OTLP HTTP {otlp_http}\n\
         \x20 queries    http://{http}\n\
         \x20 data       {data}\n\
         \x20 try        curl -s -G http://{http}/api/search --data-urlencode 'q={{}}'\n",
        version = crate::VERSION,
        grpc = otlp_grpc.clone().unwrap_or_else(none),
        otlp_http = otlp_http.clone().unwrap_or_else(none),
    )
}
