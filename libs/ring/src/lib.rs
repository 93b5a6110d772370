//! Membership by gossip, the rings of the services, and which instances hold a key.
//!
//! A [`Ring`] provides a [`RingView`], an immutable view of the instances of one service, which is replaced whenever
//! something changes. Lookups work on the view, without locks. A view does not show how long ago a heartbeat was heard
//! (see the ring page for that), nor instances that left or were forgotten.
#![warn(missing_docs)]

mod address;
mod error;
mod file;
mod hash;
mod instance;
mod ledger;
mod lifecycle;
mod membership;
mod metrics;
mod news;
mod page;
mod record;
mod ring;
mod seeds;
mod settings;
#[cfg(test)]
mod testing;
mod tokens;
mod transport;
mod view;

pub use address::detect_address;
pub use error::{Error, Result, RingError};
pub use hash::{TokenHasher, owns_hash, token_for};
pub use instance::{Instance, Operation, State};
pub use lifecycle::Lifecycler;
pub use membership::{Confirmed, Member, Membership};
pub use news::SelfDescription;
pub use ring::{Heard, Ring};
pub use seeds::Seed;
pub use settings::{
    Clock, GossipSettings, LifecyclerSettings, MembershipSettings, RingFile, RingSettings,
    WatchSettings,
};
pub use tokens::Tokens;
#[doc(hidden)]
pub use transport::fuzzing;
pub use transport::{Connection, Listener, Network, Secret, Stream, Tcp, TransportSettings};
pub use view::{LookBack, ReadProgress, ReadSet, ReplicaSet, RingView, Tolerance};
