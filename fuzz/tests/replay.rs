//! Every target on what libFuzzer starts from and found, and on the same with damage, on stable and in every build.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use tactus_fuzz::{TARGETS, Target};

/// Inputs that are tried of each target; raise it by hand to look further.
const CASES: u32 = 600;

/// Seeds, and what lies in the folder of the target, by name.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = target.seeds();
    assert!(!inputs.is_empty(), "{}", target.name);
    let mut found: Vec<_> = fs::read_dir(target.corpus())
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a file of the corpus").path())
        .collect();
    found.sort();
    inputs
        .extend(found.iter().map(|path| fs::read(path).expect("a file of the corpus can be read")));
    inputs
}

#[derive(Debug, Clone)]
enum Change {
    /// Other bytes from here on.
    Replace(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Delete(Index, Index),
    /// The same bytes once more.
    Repeat(Index, Index),
    /// From here on the bytes of another input.
    GoOn(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    // Lengths that nothing has, in the forms that the formats have.
    let huge = select(vec![
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff, 0xff, 0xff, 0x7f],
        vec![0xff; 4],
        vec![0xff, 0xff, 0xff, 0xff, 0x07],
        vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ]);
    let bytes = prop_oneof![4 => vec(any::<u8>(), 1..3), 1 => vec(any::<u8>(), 3..20), 1 => huge];
    prop_oneof![
        4 => (any::<Index>(), bytes.clone()).prop_map(|(at, bytes)| Change::Replace(at, bytes)),
        2 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Delete(from, to)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Repeat(from, to)),
        1 => any::<(Index, Index, Index)>().prop_map(|(at, other, from)| Change::GoOn(at, other, from)),
    ]
}

fn apply(input: &mut Vec<u8>, change: &Change, inputs: &[Vec<u8>]) {
    let place = |index: &Index, length: usize| index.index(length + 1);
    let range = |from: &Index, to: &Index, length: usize| {
        let (from, to) = (place(from, length), place(to, length));
        from.min(to)..from.max(to)
    };
    let length = input.len();
    match change {
        Change::Replace(at, bytes) => {
            let start = place(at, length);
            input.splice(start..(start + bytes.len()).min(length), bytes.iter().copied());
        }
        Change::Insert(at, bytes) => {
            let start = place(at, length);
            input.splice(start..start, bytes.iter().copied());
        }
        Change::Delete(from, to) => drop(input.drain(range(from, to, length))),
        Change::Repeat(from, to) => input.extend_from_within(range(from, to, length)),
        Change::GoOn(at, other, from) => {
            let other = other.get(inputs);
            input.truncate(place(at, length));
            input.extend_from_slice(&other[place(from, other.len())..]);
        }
    }
}

/// Of one target, so that they run side by side.
fn replay(name: &str) {
    let target = tactus_fuzz::target(name).expect("a target of this name");
    let inputs = inputs(target);
    for input in &inputs {
        target.feed(input);
    }
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let case = (any::<Index>(), vec(change(), 1..6));
    let outcome = TestRunner::new(config).run(&case, |(start, changes)| {
        let mut input = start.get(&inputs).clone();
        for change in &changes {
            apply(&mut input, change, &inputs);
        }
        target.feed(&input);
        Ok(())
    });
    outcome.expect("no input fails");
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let mut names = [$(stringify!($name)),*];
            let mut targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            names.sort_unstable();
            targets.sort_unstable();
            assert_eq!(names.as_slice(), targets);
        }
    };
}

replays! {
    otlp otlp_json decompression tenant tenant_index jaeger_thrift jaeger_protobuf zipkin log segments block_file block_pages
    gossip traceql
}

#[test]
fn input_that_takes_much_memory_is_noticed() {
    let outcome = std::panic::catch_unwind(|| {
        Target::of_test(|input| drop(std::hint::black_box(vec![1_u8; input.len() << 16])))
            .feed(&[0; 2000]);
    });
    assert!(outcome.is_err());
}
