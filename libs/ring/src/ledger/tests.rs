use super::node::MAX_TOKENS_OF_MEMBER;
use super::*;
use crate::news::{MemberNews, SelfDescription};
use crate::settings::RingSettings;
use crate::tokens::Tokens;

const SUSPECT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const RING: &str = "ring";

fn id(name: &str, start: u64) -> ChitchatId {
    ChitchatId::new(name, start, ([127, 0, 0, 1], 7946).into())
}

pub(crate) fn claim(id: &str, incarnation: u64, state: State) -> Claim {
    Claim {
        ring: RING.to_owned(),
        id: id.to_owned(),
        incarnation,
        address: format!("{id}:9095"),
        zone: String::new(),
        state,
        tokens: Tokens::of_instance(RING, id, 4),
        registered: 1,
        read_only: false,
        read_only_updated: 0,
    }
}

/// Says that it remembers these claims.
fn recalling(name: &str, heartbeat: u64, recalled: Vec<Claim>) -> Observed {
    let news = News { recalled, ..News::default() };
    Observed { id: id(name, 1), heartbeat, version: 1, news: Some(news) }
}

fn seen(name: &str, start: u64, heartbeat: u64, claim: &Claim) -> Observed {
    let news = News { claims: vec![claim.clone()], ..News::default() };
    Observed { id: id(name, start), heartbeat, version: 1, news: Some(news) }
}

/// A ledger of the member `own`, and the moment it was made.
struct Fixture {
    ledger: Ledger,
    start: Instant,
}

impl Fixture {
    fn new() -> Self {
        let remember = Duration::from_secs(300);
        let ledger = Ledger::new(Patience { suspect_after: SUSPECT, remember });
        Self { ledger, start: Instant::now() }
    }

    /// Observes `nodes` once a second from one second to another, with heartbeats that go on.
    fn observe(&mut self, seconds: std::ops::Range<u64>, nodes: &dyn Fn(u64) -> Vec<Observed>) {
        for second in seconds {
            let now = self.at(second);
            self.ledger.observe(now, &id("own", 1), nodes(second));
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn shown(&self, second: u64) -> Vec<String> {
        let instances = self.ledger.instances(RING, TIMEOUT, self.at(second));
        let show = |found: &Instance| {
            format!("{}:{}{}", found.id, found.state, if found.alive { "" } else { "!" })
        };
        instances.iter().map(show).collect()
    }
}

#[test]
fn dead_member_that_others_still_pass_on_is_healthy_for_a_moment_only() {
    let mut fixture = Fixture::new();
    fixture.observe(0..30, &|_| vec![seen("a", 1, 77, &claim("a", 1, State::Active))]);
    assert_eq!(fixture.shown(5), ["a:ACTIVE"]);
    assert_eq!(fixture.shown(20), ["a:ACTIVE!"]);
}

#[test]
fn member_is_healthy_until_silent_for_the_timeout() {
    let mut fixture = Fixture::new();
    fixture.observe(0..5, &|now| vec![seen("a", 1, now, &claim("a", 1, State::Active))]);
    fixture.observe(5..70, &|_| vec![seen("a", 1, 4, &claim("a", 1, State::Active))]);
    assert_eq!(fixture.shown(60), ["a:ACTIVE"]);
    assert_eq!(fixture.shown(66), ["a:ACTIVE!"]);
}

#[test]
fn silent_instance_whose_address_another_member_has_is_not_alive() {
    let stale = || Claim { address: "x:1".to_owned(), ..claim("a", 1, State::Active) };
    let of_address = |address: &str, returning: &str| {
        let (grpc_address, returning) = (address.to_owned(), returning.to_owned());
        let description = SelfDescription { grpc_address, returning, ..SelfDescription::default() };
        News { member: Some(MemberNews { description, left: false }), ..News::default() }
    };
    let claims = |ring: &str| {
        let claim = Claim { ring: ring.to_owned(), id: "b".to_owned(), ..stale() };
        News { claims: vec![claim], ..News::default() }
    };
    for (member, news, is_heard, expected) in [
        ("b", of_address("x:1", ""), true, "a:ACTIVE!"),
        ("b", claims("another ring"), true, "a:ACTIVE!"),
        ("b", of_address("y:1", ""), true, "a:ACTIVE"),
        ("b", of_address("x:1", ""), false, "a:ACTIVE"),
        // The same instance, started again.
        ("a", of_address("x:1", ""), true, "a:ACTIVE"),
        ("a-random", of_address("x:1", "a"), true, "a:ACTIVE"),
    ] {
        let other = |second| Observed {
            id: id(member, 2),
            heartbeat: if is_heard { second } else { 1 },
            version: 1,
            news: Some(news.clone()),
        };
        let both = |last: u64, second: u64| vec![seen("a", 1, last, &stale()), other(second)];
        let mut fixture = Fixture::new();
        fixture.observe(0..3, &|second| both(second, second));
        assert_eq!(fixture.shown(2), ["a:ACTIVE"], "while it is heard of: {news:?}");
        fixture.observe(3..20, &|second| both(2, second));
        assert_eq!(fixture.shown(19), [expected], "{news:?}");
        fixture.observe(20..22, &|second| both(second, second));
        assert_eq!(fixture.shown(21), ["a:ACTIVE"], "it is back: {news:?}");
    }
}

#[test]
fn of_two_ingesters_with_one_address_the_live_one_takes_writes() {
    let mut fixture = Fixture::new();
    let at = |id: &str| Claim { address: "x:1".to_owned(), ..claim(id, 1, State::Active) };
    fixture.observe(0..20, &|second| {
        vec![seen("a", 1, second.min(3), &at("a")), seen("b", 1, second, &at("b"))]
    });
    assert_eq!(fixture.shown(19), ["a:ACTIVE!", "b:ACTIVE"]);
}

#[test]
fn own_standstill_is_not_taken_for_the_silence_of_others() {
    let mut fixture = Fixture::new();
    fixture.observe(0..5, &|now| vec![seen("a", 1, now, &claim("a", 1, State::Active))]);
    fixture.observe(3600..3601, &|_| vec![seen("a", 1, 4, &claim("a", 1, State::Active))]);
    assert_eq!(fixture.shown(3602), ["a:ACTIVE"]);
    fixture.observe(3601..3700, &|_| vec![seen("a", 1, 4, &claim("a", 1, State::Active))]);
    assert_eq!(fixture.shown(3699), ["a:ACTIVE!"]);
}

#[test]
fn of_two_claims_the_later_holds_and_at_equal_ones_the_one_that_left() {
    let mut fixture = Fixture::new();
    let both = |old: Claim, new: Claim| vec![seen("a", 1, 1, &old), seen("a", 2, 1, &new)];
    fixture.observe(0..1, &|_| both(claim("a", 5, State::Leaving), claim("a", 6, State::Active)));
    assert_eq!(fixture.shown(0), ["a:ACTIVE"]);
    fixture.observe(1..2, &|_| both(claim("a", 5, State::Left), claim("a", 5, State::Active)));
    assert!(fixture.shown(1).is_empty());
}

#[test]
fn tombstone_holds_for_the_dead_and_for_newcomers_but_not_for_the_living() {
    let mut fixture = Fixture::new();
    let tombstone = Tombstone { ring: RING.to_owned(), id: "a".to_owned(), incarnation: 5 };
    let news = |beat: u64| {
        let said = News { tombstones: vec![tombstone.clone()], ..News::default() };
        let other = Observed { id: id("b", 1), heartbeat: 1, version: 1, news: Some(said) };
        vec![seen("a", 1, beat, &claim("a", 5, State::Active)), other]
    };
    fixture.observe(0..1, &|_| news(1));
    assert!(fixture.shown(0).is_empty(), "first seen together with the tombstone");
    fixture.observe(1..3, &|now| news(now + 1));
    assert_eq!(fixture.shown(2), ["a:ACTIVE"], "it is heard of");
    fixture.observe(3..20, &|_| news(3));
    assert!(fixture.shown(19).is_empty());
    assert_eq!(fixture.ledger.to_exceed(&claim("a", 5, State::Active)), Some((5, true)));
    assert_eq!(fixture.ledger.to_exceed(&claim("a", 6, State::Active)), None);
    // A later start of the same instance is not concerned.
    fixture.observe(20..21, &|_| {
        let mut all = news(3);
        all.push(seen("a", 2, 1, &claim("a", 6, State::Active)));
        all
    });
    assert_eq!(fixture.shown(20), ["a:ACTIVE"]);
}

#[test]
fn tombstone_is_repeated_while_the_void_claim_is_passed_on() {
    let mut fixture = Fixture::new();
    let tombstone = Tombstone { ring: RING.to_owned(), id: "a".to_owned(), incarnation: 5 };
    fixture.observe(0..1, &|_| vec![seen("a", 1, 1, &claim("a", 5, State::Active))]);
    fixture.ledger.forget(fixture.at(0), &tombstone);
    fixture.observe(1..1000, &|_| vec![seen("a", 1, 1, &claim("a", 5, State::Active))]);
    assert_eq!(fixture.ledger.unsaid_tombstones(), std::slice::from_ref(&tombstone));
    fixture.observe(1000..1001, &|_| Vec::new());
    assert!(fixture.ledger.unsaid_tombstones().is_empty());
    assert!(!fixture.ledger.remembers(&tombstone));
}

#[test]
fn very_many_tombstones_and_claims_are_looked_at_in_a_moment_and_few_are_repeated() {
    let mut fixture = Fixture::new();
    let of = |numbers: std::ops::Range<usize>| numbers.map(|number| format!("i{number}"));
    let claims: Vec<_> = of(0..30_000).map(|id| claim(&id, 3, State::Left)).collect();
    let tombstones: Vec<_> =
        of(0..30_000).map(|id| Tombstone { ring: RING.to_owned(), id, incarnation: 5 }).collect();
    let observed = |name: &str, news| Observed { id: id(name, 1), heartbeat: 1, version: 1, news };
    let says = |tombstones| Some(News { tombstones, ..News::default() });
    let claimed = || observed("a", Some(News { claims: claims.clone(), ..News::default() }));
    let began = std::time::Instant::now();
    fixture.observe(0..1, &|_| vec![claimed(), observed("liar", says(tombstones.clone()))]);
    assert!(fixture.ledger.unsaid_tombstones().is_empty());
    assert_eq!(fixture.ledger.room_to_forget(), 0);
    // What was said stays known while the claims are there, but not for ever.
    fixture.observe(1..3, &|_| vec![observed("a", None), observed("liar", says(Vec::new()))]);
    assert_eq!(fixture.ledger.unsaid_tombstones().len(), MAX_OWN_TOMBSTONES);
    fixture.observe(400..402, &|_| vec![observed("a", None)]);
    assert_eq!(fixture.ledger.room_to_forget(), 0);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    fixture.observe(402..403, &|_| Vec::new());
    assert_eq!(fixture.ledger.room_to_forget(), MAX_FORGOTTEN);
}

#[test]
fn nothing_expires_while_too_many_are_unhealthy() {
    let mut fixture = Fixture::new();
    let both = |second: u64| {
        let beat = |last: u64| second.min(last);
        vec![
            seen("a", 1, beat(5), &claim("a", 1, State::Active)),
            seen("b", 1, beat(90), &claim("b", 1, State::Active)),
        ]
    };
    fixture.observe(0..160, &both);
    let settings = WatchSettings {
        key: RING.to_owned(),
        heartbeat_timeout: TIMEOUT,
        forget_after: Some(TIMEOUT * 2),
        forget_at_most: Some(1),
        ..WatchSettings::new(RingSettings::new("r"))
    };
    let expired = |second| fixture.ledger.expired(&settings, fixture.at(second)).len();
    assert_eq!(expired(120), 0, "silent for less than it takes");
    assert_eq!(expired(130), 1, "one alone");
    assert_eq!(expired(155), 0, "the other is unhealthy as well");
    let eager = WatchSettings { forget_at_most: None, ..settings.clone() };
    assert_eq!(fixture.ledger.expired(&eager, fixture.at(215)).len(), 2);
}

#[test]
fn ingester_that_reads_its_disk_is_pending_until_it_claims_its_place() {
    let mut fixture = Fixture::new();
    let starts = |name: &str, claims: Vec<Claim>, heartbeat| {
        let returning = "a".to_owned();
        let description = SelfDescription { returning, ..SelfDescription::default() };
        let member = Some(MemberNews { description, left: false });
        let news = News { member, claims, ..News::default() };
        Observed { id: id(name, 1), heartbeat, version: heartbeat, news: Some(news) }
    };
    let returning = |fixture: &Fixture, second| {
        let found = fixture.ledger.returning(RING, TIMEOUT, fixture.at(second));
        found
            .iter()
            .map(|at| format!("{}:{} {}", at.id, at.state, at.tokens.len()))
            .collect::<Vec<_>>()
    };
    // A former start, which was killed meanwhile, is no other ingester.
    fixture.observe(0..5, &|second| vec![starts("x", vec![], 1), starts("y", vec![], second)]);
    assert_eq!(returning(&fixture, 5), ["a:PENDING 0"]);
    assert_eq!(returning(&fixture, 100), [""; 0], "it is gone");
    fixture
        .observe(100..105, &|second| vec![starts("y", vec![claim("a", 1, State::Active)], second)]);
    assert_eq!(returning(&fixture, 105), [""; 0]);
    // What others remember of its former place is enough.
    fixture.observe(105..110, &|second| {
        vec![seen("z", 1, 7, &claim("a", 1, State::Active)), starts("y", vec![], second)]
    });
    assert_eq!(returning(&fixture, 110), [""; 0]);
}

#[test]
fn member_that_said_goodbye_is_dead_at_once() {
    let mut fixture = Fixture::new();
    let news = News {
        member: Some(MemberNews { left: true, ..MemberNews::default() }),
        claims: vec![claim("a", 1, State::Leaving)],
        ..News::default()
    };
    fixture.observe(0..1, &|_| {
        vec![Observed { id: id("a", 1), heartbeat: 1, version: 1, news: Some(news.clone()) }]
    });
    assert_eq!(fixture.shown(0), ["a:LEAVING!"]);
}

/// Claims of so many tokens each, in rings of their own.
fn greedy(name: &str, claims: usize, count: u32) -> Observed {
    let claims = (0..claims).map(|number| Claim {
        ring: format!("ring {number}"),
        tokens: Tokens::Seed { seed: number as u64, count },
        ..claim(name, 1, State::Active)
    });
    let news = News { claims: claims.collect(), ..News::default() };
    Observed { id: id(name, 1), heartbeat: 1, version: 1, news: Some(news) }
}

fn all_tokens(ledger: &Ledger) -> usize {
    ledger.nodes().map(Node::token_count).sum()
}

#[test]
fn member_that_claims_too_many_tokens_gets_no_more() {
    let mut fixture = Fixture::new();
    fixture.observe(0..1, &|_| vec![greedy("a", 100, u32::MAX)]);
    assert_eq!(all_tokens(&fixture.ledger), MAX_TOKENS_OF_MEMBER);
    assert_eq!(fixture.ledger.version(&id("a", 1)), Some(1), "it is not read again and again");
}

#[test]
fn members_take_no_more_tokens_than_there_is_room_for_until_others_go() {
    let mut fixture = Fixture::new();
    let many = || (0..40).map(|number| greedy(&format!("m{number}"), 2, u32::MAX));
    fixture.observe(0..2, &|_| many().chain([greedy("late", 1, 4)]).collect());
    assert_eq!(all_tokens(&fixture.ledger), MAX_TOKENS);
    let late = id("late", 1);
    assert_eq!(fixture.ledger.version(&late), Some(0), "to be read again");
    fixture.observe(2..3, &|_| many().take(5).chain([greedy("late", 1, 4)]).collect());
    assert_eq!(all_tokens(&fixture.ledger), 5 * MAX_TOKENS_OF_MEMBER + 4);
    assert_eq!(fixture.ledger.version(&late), Some(1));
}

#[test]
fn remembered_instance_is_unhealthy_until_it_is_back() {
    let mut fixture = Fixture::new();
    let said = |beat| {
        recalling("b", beat, vec![claim("a", 3, State::Leaving), claim("a", 5, State::Active)])
    };
    fixture.observe(0..20, &|beat| vec![said(beat)]);
    assert_eq!(fixture.shown(1), ["a:ACTIVE!"], "at once, by its latest claim");
    assert_eq!(fixture.shown(19), ["a:ACTIVE!"]);
    let instances = fixture.ledger.instances(RING, TIMEOUT, fixture.at(19));
    assert_eq!(instances[0].tokens.len(), 4, "its keys are known");
    assert!(fixture.ledger.silent(RING, fixture.at(1)).contains("a"));

    // Back with a clock that is behind, it has to exceed what is remembered.
    let back = claim("a", 2, State::Active);
    assert_eq!(fixture.ledger.to_exceed(&back), Some((5, false)));
    fixture.observe(20..22, &|beat| {
        vec![said(beat), seen("a", 1, beat, &claim("a", 6, State::Active))]
    });
    assert_eq!(fixture.shown(21), ["a:ACTIVE"]);
    let remembered = claim("a", 5, State::Active);
    assert!(fixture.ledger.supersedes(&remembered, fixture.at(30)));
    assert!(!fixture.ledger.is_alive_since(&remembered, fixture.at(21)));
    assert!(fixture.ledger.is_alive_since(&claim("a", 6, State::Active), fixture.at(21)));
    fixture.observe(22..23, &|_| Vec::new());
    assert!(fixture.shown(22).is_empty(), "nobody remembers it");
}

#[test]
fn instance_that_is_there_is_healthy_although_it_is_remembered() {
    let mut fixture = Fixture::new();
    let same = claim("a", 5, State::Active);
    let both = |beat| vec![seen("a", 1, beat, &same), recalling("b", beat, vec![same.clone()])];
    fixture.observe(0..1, &both);
    assert_eq!(fixture.shown(0), ["a:ACTIVE"], "before its second heartbeat");
    assert!(!fixture.ledger.silent(RING, fixture.at(0)).contains("a"));
    fixture.observe(1..20, &both);
    assert_eq!(fixture.shown(19), ["a:ACTIVE"]);

    // A dead one that is passed on, for a moment only.
    let mut fixture = Fixture::new();
    fixture.observe(0..20, &|_| both(1));
    assert_eq!(fixture.shown(5), ["a:ACTIVE"]);
    assert_eq!(fixture.shown(19), ["a:ACTIVE!"]);
}

#[test]
fn remembered_instance_can_be_forgotten_and_is_after_a_while() {
    let mut fixture = Fixture::new();
    let remembered = claim("a", 5, State::Active);
    let said = |beat| vec![recalling("b", beat, vec![remembered.clone()])];
    fixture.observe(0..30, &said);
    let settings = |seconds| WatchSettings {
        key: RING.to_owned(),
        forget_after: Some(Duration::from_secs(seconds)),
        ..WatchSettings::new(RingSettings::new("r"))
    };
    assert!(fixture.ledger.expired(&settings(40), fixture.at(29)).is_empty());
    assert_eq!(fixture.ledger.expired(&settings(20), fixture.at(29)), [remembered.tombstone()]);
    fixture.ledger.forget(fixture.at(29), &remembered.tombstone());
    assert!(fixture.shown(29).is_empty());
    assert!(fixture.ledger.supersedes(&remembered, fixture.at(30)));
}
