use chitchat::ChitchatId;

use super::*;
use crate::instance::Instance;
use crate::ledger::tests::{RING, claim};
use crate::ledger::{Observed, Patience};
use crate::news::News;

const SUSPECT: Duration = Duration::from_secs(10);

fn node(name: &str) -> ChitchatId {
    ChitchatId::new(name, 1, ([127, 0, 0, 1], 7946).into())
}

/// A member that claims a place, with a heartbeat.
fn member(claim: Claim, heartbeat: u64) -> Observed {
    let id = node(&claim.id);
    let news = News { claims: vec![claim], ..News::default() };
    Observed { id, heartbeat, version: 1, news: Some(news) }
}

/// The instance `own` of a ring, with its file.
struct Fixture {
    memory: Memory,
    ledger: Ledger,
    own: Own,
    now: Instant,
    _folder: Option<tempfile::TempDir>,
}

impl Fixture {
    /// After a start with this in its file.
    fn start(claims: Vec<Claim>, gone: &[(&str, u64)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = RingFile {
            ring: RING.to_owned(),
            id: "own".to_owned(),
            path: folder.path().join("ring.json"),
        };
        let gone = gone.iter().map(|&(id, incarnation)| (id.to_owned(), incarnation)).collect();
        let content = Remembered { instance: "own".to_owned(), claims, gone };
        file::save(&file.path, &content).unwrap();
        let own = claim("own", 100, State::Active);
        let patience = Patience { suspect_after: SUSPECT, remember: SUSPECT };
        let mut ledger = Ledger::new(patience);
        let mut own = Own { claims: BTreeMap::from([(own.key(), own)]), ..Own::default() };
        Self {
            memory: Memory::load(file, &mut ledger, &mut own),
            ledger,
            own,
            now: Instant::now(),
            _folder: Some(folder),
        }
    }

    /// Lets the seconds pass; `others` are heard of, by the second.
    fn pass(&mut self, seconds: u64, others: &dyn Fn(u64) -> Vec<Observed>) {
        for second in (0..seconds).step_by(4) {
            self.now += Duration::from_secs(4);
            let news = Some(self.own.news());
            let own = Observed { id: node("own"), heartbeat: second, version: second, news };
            let observed = others(second).into_iter().chain([own]).collect();
            self.ledger.observe(self.now, &node("own"), observed);
            self.memory.look(&mut self.ledger, &mut self.own, true, self.now);
        }
    }

    /// The instances of the ring, with `!` if they are not alive.
    fn shown(&self) -> Vec<String> {
        let instances = self.ledger.instances(RING, SUSPECT * 6, self.now);
        let show = |at: &Instance| format!("{}{}", at.id, if at.alive { "" } else { "!" });
        instances.iter().map(show).collect()
    }

    fn written(&self) -> Vec<String> {
        self.memory.seen.borrow().claims.iter().map(|claim| claim.id.clone()).collect()
    }
}

#[test]
fn dead_instance_is_remembered_when_gossip_has_forgotten_it() {
    let mut ring = Fixture::start(Vec::new(), &[]);
    ring.pass(20, &|beat| vec![member(claim("a", 5, State::Active), beat)]);
    assert_eq!(ring.shown(), ["a", "own"]);
    ring.pass(500, &|_| vec![member(claim("a", 5, State::Active), 0)]);
    assert!(ring.own.recalled.is_empty());
    ring.pass(200, &|_| vec![member(claim("a", 5, State::Active), 0)]);
    assert_eq!(ring.own.recalled.len(), 1, "those who come to know the ring now are told");
    ring.pass(100, &|_| Vec::new());
    assert_eq!((ring.shown(), ring.written()), (svec(&["a!", "own"]), svec(&["a", "own"])));
    ring.pass(20, &|beat| vec![member(claim("a", 6, State::Active), beat)]);
    assert_eq!((ring.shown(), ring.own.recalled.len()), (svec(&["a", "own"]), 0));
}

#[test]
fn instance_that_gossip_forgets_early_is_remembered() {
    let mut ring = Fixture::start(Vec::new(), &[]);
    ring.pass(20, &|beat| vec![member(claim("a", 5, State::Active), beat)]);
    ring.pass(20, &|_| Vec::new());
    assert_eq!((ring.shown(), ring.written()), (svec(&["a!", "own"]), svec(&["a", "own"])));
}

#[test]
fn file_that_is_older_does_not_bring_back_who_is_gone() {
    // `own` knows that `a` left and `b` was forgotten; `c` does not, and comes with an older file.
    let mut ring = Fixture::start(vec![claim("own", 99, State::Active)], &[("a", 7), ("b", 7)]);
    let remembered =
        [claim("a", 7, State::Active), claim("b", 5, State::Active), claim("d", 5, State::Active)];
    let said = |beat| {
        let news = News { recalled: remembered.to_vec(), ..News::default() };
        vec![Observed { id: node("c"), heartbeat: beat, version: 1, news: Some(news) }]
    };
    ring.pass(60, &said);
    assert_eq!(ring.shown(), ["d!", "own"]);
    // As long as it is said, longer than tombstones are remembered by themselves.
    ring.pass(60, &said);
    assert_eq!(ring.shown(), ["d!", "own"]);
    ring.pass(20, &|beat| vec![member(claim("a", 8, State::Active), beat)]);
    assert_eq!(ring.shown(), ["a", "own"], "a new start of one that had left");
    assert_eq!(ring.memory.known.lock().gone.get("a"), None);
    assert!(ring.memory.known.lock().gone.contains_key("b"));
}

#[test]
fn who_leaves_is_noted_as_gone() {
    let mut ring = Fixture::start(Vec::new(), &[]);
    ring.pass(20, &|beat| vec![member(claim("a", 5, State::Active), beat)]);
    ring.pass(20, &|beat| vec![member(claim("a", 5, State::Left), beat)]);
    assert_eq!((ring.shown(), ring.written()), (svec(&["own"]), svec(&["own"])));
    assert_eq!(ring.memory.seen.borrow().gone, BTreeMap::from([("a".to_owned(), 5)]));
}

#[test]
fn heal_of_a_partition_leaves_others_missed() {
    let mut ring = Fixture::start(Vec::new(), &[]);
    let (a, b) = (|| claim("a", 5, State::Active), || claim("b", 5, State::Active));
    ring.pass(20, &|beat| vec![member(a(), beat), member(b(), beat)]);
    ring.pass(700, &|_| vec![member(a(), 1), member(b(), 1)]);
    assert_eq!(ring.own.recalled.len(), 2);
    ring.pass(40, &|beat| vec![member(a(), beat)]);
    assert_eq!(ring.shown(), ["a", "b!", "own"]);
}

#[tokio::test]
async fn whoever_leaves_remembers_only_those_that_were_silent() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = Fixture::start(vec![claim("x", 3, State::Active)], &[]);
    ring.memory.file.path = folder.path().join("ring.json");
    let (a, b) = (claim("a", 5, State::Active), claim("b", 5, State::Leaving));
    ring.pass(20, &|beat| vec![member(a.clone(), beat), member(b.clone(), beat)]);
    ring.pass(20, &|beat| vec![member(a.clone(), beat + 100), member(b.clone(), 1)]);
    ring.own.claims.values_mut().for_each(|claim| claim.state = State::Left);
    ring.pass(4, &|_| vec![member(a.clone(), 1_000), member(b.clone(), 1)]);
    ring.memory.end(&Mutex::new(ring.ledger), ring.now).await;
    let left: Remembered = file::load(&ring.memory.file.path, WHAT).unwrap();
    let ids: Vec<_> = left.claims.iter().map(|claim| &*claim.id).collect();
    assert_eq!(ids, ["b", "x"]);
}

fn svec(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
