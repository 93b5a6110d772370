//! Zipkin's second model: a span with tags and annotations, and up to two endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use tactus_model::{SpanId, TraceId};

pub(crate) mod json;
pub(crate) mod protobuf;
pub(crate) mod tag_texts;
mod write;

#[cfg(test)]
pub(crate) use write::lower_case;
pub use write::write_span;

/// A span. Text is not necessarily UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The span above; `None` for a root.
    pub parent_id: Option<SpanId>,
    /// The span's own id.
    pub id: SpanId,
    /// Its side of a call or message.
    pub kind: Option<Kind>,
    /// A server's half of a call that has the id of the client's half. What senders say of it is not kept.
    pub shared: bool,
    /// What is done; empty: unknown.
    pub name: Bytes,
    /// Start in microseconds since 1970; `None` if the sender left it out and its format tells that from 0.
    pub timestamp: Option<u64>,
    /// Microseconds; 0: unknown.
    pub duration: u64,
    /// Who made the span.
    pub local_endpoint: Endpoint,
    /// Who is on the other side.
    pub remote_endpoint: Endpoint,
    /// Events.
    pub annotations: Vec<Annotation>,
    /// Attributes; each key once.
    pub tags: Vec<(Bytes, Bytes)>,
}

tactus_model::words! {
    /// The side of a call or message.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Kind: name {
        /// Asks.
        Client = "CLIENT",
        /// Answers.
        Server = "SERVER",
        /// Sends a message.
        Producer = "PRODUCER",
        /// Receives a message.
        Consumer = "CONSUMER",
    }
}

impl Kind {
    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }
}

/// A place on the network; without anything it is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The service; empty: unknown.
    pub service_name: Bytes,
    /// Address.
    pub ipv4: Option<Ipv4Addr>,
    /// Address.
    pub ipv6: Option<Ipv6Addr>,
    /// Port; 0: unknown.
    pub port: u16,
}

impl Endpoint {
    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The one address that attributes have room for: of both the IPv6 one, as collectors choose.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ipv6.map(IpAddr::V6).or(self.ipv4.map(IpAddr::V4))
    }

    /// Takes the address, an IPv4 one in the form of IPv6 too.
    pub(crate) fn set_ip(&mut self, ip: IpAddr) {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.ipv4 = Some(ip),
            IpAddr::V6(ip) => self.ipv6 = Some(ip),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Microseconds since 1970.
    pub timestamp: u64,
    /// What.
    pub value: Bytes,
}

#[cfg(test)]
mod tests;
