//! What one start of a member has announced.

use std::sync::Arc;

use chitchat::ChitchatId;
use tokio::time::Instant;

use crate::news::News;
use crate::tokens;

/// A claim of some bytes draws its tokens from a seed: a member may have as many as two claims of the largest kind.
pub(super) const MAX_TOKENS_OF_MEMBER: usize = 2 * tokens::MAX_TOKENS as usize;

/// One start of a member.
pub(crate) struct Node {
    pub(crate) id: ChitchatId,
    pub(crate) news: News,
    pub(crate) version: u64,
    /// Tokens of each claim of the news.
    pub(super) tokens: Vec<Arc<[u32]>>,
    pub(super) heartbeat: u64,
    pub(super) first_seen: Instant,
    /// When its heartbeat last changed.
    pub(super) heard: Option<Instant>,
    pub(super) own: bool,
    /// Nobody knows it: others remember its claim from an earlier start.
    pub(super) recalled: bool,
}

impl Node {
    pub(super) fn new(id: ChitchatId, heartbeat: u64, now: Instant) -> Self {
        Self {
            id,
            news: News::default(),
            version: 0,
            tokens: Vec::new(),
            heartbeat,
            first_seen: now,
            heard: None,
            own: false,
            recalled: false,
        }
    }

    /// Replaces its announcements, without claims of more tokens than a member may have or than there is room for. Returns false
    /// if there was no room.
    pub(super) fn take(&mut self, mut news: News, room: usize) -> bool {
        let said = news.claims.len();
        let (mut tokens, mut has_room) = (0, true);
        news.claims.retain(|claim| {
            let more = tokens + claim.tokens.count() as usize;
            let fits = self.own || more <= MAX_TOKENS_OF_MEMBER;
            let stays = fits && (self.own || more <= room);
            has_room &= stays || !fits;
            tokens = if stays { more } else { tokens };
            stays
        });
        if news.claims != self.news.claims {
            self.tokens = news.claims.iter().map(|claim| claim.tokens.resolve()).collect();
        }
        if news.claims.len() < said {
            let (member, claims) = (&*self.id.node_id, said - news.claims.len());
            tactus_telemetry::log_limited!(
                warn,
                member,
                claims,
                "a member announces too many tokens, some of its claims are ignored"
            );
        }
        self.news = news;
        has_room
    }

    pub(super) fn token_count(&self) -> usize {
        self.tokens.iter().map(|tokens| tokens.len()).sum()
    }

    /// It announced that it leaves.
    pub(crate) fn has_left(&self) -> bool {
        self.news.member.as_ref().is_some_and(|member| member.left)
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    pub(crate) fn is_recalled(&self) -> bool {
        self.recalled
    }
}
