//! What members announce to each other ("news"): the keys and values of the gossip.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::instance::State;
use crate::tokens::Tokens;

/// Key under which a process describes itself.
pub(crate) const MEMBER_KEY: &str = "member";
const CLAIM_PREFIX: &str = "claim/";
const FORGET_PREFIX: &str = "forget/";
const RECALL_PREFIX: &str = "recall/";

/// Nanoseconds from 1970 to the year 2262. A later incarnation is refused, because none could be higher.
pub(crate) const MAX_INCARNATION: u64 = i64::MAX as u64;

/// The description that a process announces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfDescription {
    /// Targets that it runs, e.g. `ingester`.
    pub targets: Vec<String>,
    /// `host:port` of its HTTP server.
    #[serde(rename = "http")]
    pub http_address: String,
    /// `host:port` of its gRPC server.
    #[serde(rename = "grpc")]
    pub grpc_address: String,
    /// Availability zone; may be empty.
    pub zone: String,
    /// Version of the program.
    pub version: String,
    /// Name of its ingester, if that has spans on its disk. It enters the ring once it has read them back; until then others
    /// have to miss it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub returning: String,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberNews {
    #[serde(flatten)]
    pub(crate) description: SelfDescription,
    /// It announced that it leaves.
    #[serde(default)]
    pub(crate) left: bool,
}

/// A place in a ring that a process claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) ring: String,
    pub(crate) id: String,
    /// Of two claims with the same id, the one with the higher incarnation holds. It starts as the time when the
    /// process started. If an older claim or a tombstone turns out to be as high, it is raised, because clocks may be
    /// wrong.
    pub(crate) incarnation: u64,
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) zone: String,
    pub(crate) state: State,
    pub(crate) tokens: Tokens,
    pub(crate) registered: i64,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) read_only_updated: i64,
}

impl Claim {
    pub(crate) fn key(&self) -> String {
        format!("{CLAIM_PREFIX}{}/{}", self.ring, self.id)
    }

    pub(crate) fn tombstone(&self) -> Tombstone {
        let Self { ring, id, incarnation, .. } = self;
        Tombstone { ring: ring.clone(), id: id.clone(), incarnation: *incarnation }
    }

    /// Under which another process announces it, that remembers it.
    pub(crate) fn recall_key(&self) -> String {
        format!("{RECALL_PREFIX}{}/{}", self.ring, self.id)
    }
}

/// A tombstone: this claim, and older ones of the same id, are void.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    pub(crate) ring: String,
    pub(crate) id: String,
    pub(crate) incarnation: u64,
}

impl Tombstone {
    pub(crate) fn key(&self) -> String {
        format!("{FORGET_PREFIX}{}/{}", self.ring, self.id)
    }
}

/// Everything that one process announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) member: Option<MemberNews>,
    pub(crate) claims: Vec<Claim>,
    /// Claims of others that it remembers from an earlier start, and that nobody makes.
    pub(crate) recalled: Vec<Claim>,
    pub(crate) tombstones: Vec<Tombstone>,
}

impl News {
    pub(crate) fn read<'kv>(values: impl Iterator<Item = (&'kv str, &'kv str)>) -> Self {
        let mut news = Self::default();
        for (key, value) in values {
            if key == MEMBER_KEY {
                news.member = parse(key, value);
            } else if key.starts_with(CLAIM_PREFIX) {
                news.claims.extend(parse_claim(key, value));
            } else if key.starts_with(RECALL_PREFIX) {
                news.recalled.extend(parse_claim(key, value));
            } else if key.starts_with(FORGET_PREFIX) {
                let tombstone = parse::<Tombstone>(key, value);
                news.tombstones.extend(tombstone.filter(|it| it.incarnation <= MAX_INCARNATION));
            }
        }
        news
    }
}

pub(crate) fn write(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps keyed by them have a JSON form")
}

fn parse_claim(key: &str, value: &str) -> Option<Claim> {
    parse(key, value).filter(|claim: &Claim| claim.incarnation <= MAX_INCARNATION)
}

fn parse<T: DeserializeOwned>(key: &str, value: &str) -> Option<T> {
    let parsed = serde_json::from_str(value);
    parsed.inspect_err(|error| tracing::debug!(key, %error, "gossip value not understood")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_told_under_short_keys() {
        let description = SelfDescription {
            targets: vec!["ingester".to_owned()],
            http_address: "h:1".to_owned(),
            grpc_address: "h:2".to_owned(),
            zone: "z".to_owned(),
            version: "1".to_owned(),
            returning: String::new(),
        };
        let member = MemberNews { description, left: false };
        let text = r#"{"targets":["ingester"],"http":"h:1","grpc":"h:2","zone":"z","version":"1","left":false}"#;
        assert_eq!(write(&member), text);
        let older = text.replace(r#","left":false"#, r#","new":[]"#);
        let news = News::read([(MEMBER_KEY, older.as_str())].into_iter());
        assert_eq!(news.member, Some(member));
    }

    #[test]
    fn claim_without_the_newer_fields_is_read() {
        let text = r#"{"ring":"r","id":"a/b","incarnation":7,"address":"h:1","state":"LEAVING",
            "tokens":{"seed":{"seed":18446744073709551615,"count":4}},"registered":5,"new":[]}"#;
        let news = News::read([("claim/r/a/b", text), ("claim/x", "{"), ("odd", "")].into_iter());
        let [claim] = &news.claims[..] else { panic!("{news:?}") };
        assert_eq!((claim.state, claim.incarnation), (State::Leaving, 7));
        assert_eq!(claim.tokens.resolve().len(), 4);
        let again = News::read([("claim/", write(claim).as_str())].into_iter());
        assert_eq!(again.claims[0], *claim);
    }
}
