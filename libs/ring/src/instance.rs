//! One member of a ring.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

tactus_model::words! {
    /// The state of an instance.
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
    )]
    #[serde(rename_all = "UPPERCASE")]
    pub enum State: name {
        /// Serves reads and writes.
        #[default]
        Active = "ACTIVE",
        /// About to stop: still read from, no longer written to.
        Leaving = "LEAVING",
        /// Started, owns no tokens yet.
        Pending = "PENDING",
        /// Owns tokens, and serves nothing yet. Only members of older versions announce it.
        Joining = "JOINING",
        /// Left the ring. No view has such an instance.
        Left = "LEFT",
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The operation that a lookup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Writes: active instances that are not read-only. For any other, the next instance is used.
    Write,
    /// Writes that use no next instance.
    WriteNoExtend,
    /// Reads: active, pending and leaving instances.
    Read,
    /// Everything that is in the ring.
    Reporting,
}

impl Operation {
    /// Whether an instance in `state` serves this operation.
    pub fn serves(self, state: State) -> bool {
        match self {
            Self::Write | Self::WriteNoExtend => state == State::Active,
            Self::Read => matches!(state, State::Active | State::Pending | State::Leaving),
            Self::Reporting => state != State::Left,
        }
    }

    /// Whether an instance in `state` makes the replica set one larger.
    pub fn extends(self, state: State) -> bool {
        match self {
            Self::Write => state != State::Active,
            Self::Read => !matches!(state, State::Active | State::Leaving),
            Self::WriteNoExtend | Self::Reporting => false,
        }
    }

    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteNoExtend)
    }
}

/// A member of a ring as a view shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Name, unique in the ring.
    pub id: Arc<str>,
    /// `host:port` of its gRPC server.
    pub address: Arc<str>,
    /// Availability zone; may be empty.
    pub zone: Arc<str>,
    /// Its state.
    pub state: State,
    /// Its tokens, ascending and distinct.
    pub tokens: Arc<[u32]>,
    /// When it first joined, in Unix seconds of its own clock.
    pub registered: i64,
    /// Takes no writes, but still answers reads.
    pub read_only: bool,
    /// When `read_only` last changed, in Unix seconds of its own clock; 0 if never.
    pub read_only_updated: i64,
    /// Higher after each start. 0 where no member claims the place.
    pub incarnation: u64,
    /// Whether its last heartbeat is within the ring's timeout, and no other member has its address meanwhile.
    pub alive: bool,
}

impl Instance {
    /// An active and live instance without a zone.
    pub fn active(id: &str, address: &str, tokens: impl Into<Vec<u32>>) -> Self {
        let mut tokens = tokens.into();
        tokens.sort_unstable();
        tokens.dedup();
        Self {
            id: id.into(),
            address: address.into(),
            zone: "".into(),
            state: State::Active,
            tokens: tokens.into(),
            registered: 0,
            read_only: false,
            read_only_updated: 0,
            incarnation: 0,
            alive: true,
        }
    }

    /// Whether it is alive and in a state that serves `operation`.
    pub fn is_healthy(&self, operation: Operation) -> bool {
        self.alive && operation.serves(self.state)
    }
}
