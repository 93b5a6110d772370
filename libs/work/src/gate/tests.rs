use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;

fn gate(threads: usize, bytes: u64) -> Arc<Gate> {
    Arc::new(Gate::new(threads, bytes))
}

/// Waits until so many threads stand in line.
fn wait_for_line(gate: &Gate, threads: usize) {
    loop {
        let in_line = gate.state.lock().waiting.len();
        if in_line == threads {
            return;
        }
        thread::yield_now();
    }
}

fn line(tenant: u64, query: u64) -> Line {
    Line { tenant, query }
}

fn is_idle(gate: &Gate) -> bool {
    let state = gate.state.lock();
    let nobody_waits = state.returning.is_empty() && state.waiting.len() == 0;
    let nobody_works = state.free_threads == gate.threads && state.helping == 0;
    nobody_works && state.held.is_empty() && nobody_waits
}

#[test]
fn any_number_of_threads_can_be_asked_for() {
    let gate = gate(usize::MAX, 0);
    assert_eq!(gate.threads(), usize::MAX);
    drop(gate.enter(line(1, 1)));
    assert!(is_idle(&gate));
}

#[test]
fn tenants_take_turns_and_so_do_queries_of_each() {
    let gate = gate(1, 0);
    let first = gate.enter(line(9, 9));
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let lines = [(1, 1), (1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (3, 5)];
        for (place, of) in lines.into_iter().enumerate() {
            let (gate, order) = (&gate, &order);
            scope.spawn(move || {
                let turn = gate.enter(line(of.0, of.1));
                order.lock().push(of.1);
                drop(turn);
            });
            wait_for_line(gate, place + 1);
        }
        drop(first);
    });
    assert_eq!(*order.lock(), [1, 4, 5, 2, 5, 3, 1]);
    assert!(is_idle(&gate));
}

#[test]
fn slow_threads_of_other_tenants_have_one_turn_each_before_a_new_one() {
    let gate = gate(1, 0);
    let first = gate.enter(line(99, 0));
    let (turns, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let tenants = 50;
    thread::scope(|scope| {
        for tenant in 0..tenants {
            let (gate, turns, is_done) = (&gate, &turns, &is_done);
            scope.spawn(move || {
                let _turn = gate.enter(line(tenant, tenant));
                while !is_done.load(Ordering::SeqCst) {
                    turns.fetch_add(1, Ordering::SeqCst);
                    gate.give_way(line(tenant, tenant));
                }
            });
            wait_for_line(gate, tenant as usize + 1);
        }
        let short = scope.spawn(|| {
            let _turn = gate.enter(line(100, 0));
            is_done.store(true, Ordering::SeqCst);
            turns.load(Ordering::SeqCst)
        });
        wait_for_line(&gate, tenants as usize + 1);
        drop(first);
        assert_eq!(short.join().unwrap(), tenants as usize);
    });
    assert!(is_idle(&gate));
}

#[test]
fn memory_is_shared_and_who_waits_holds_none() {
    let gate = gate(4, 100);
    let held = AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in 0..4u64 {
            let (gate, held) = (&gate, &held);
            scope.spawn(move || {
                let mut turn = gate.enter(line(seed % 2, seed));
                for round in 0..200u64 {
                    let bytes = (round * 37 + seed * 11) % 101;
                    turn.renew(bytes).unwrap();
                    let before = held.fetch_add(bytes as usize, Ordering::SeqCst);
                    assert!(before + bytes as usize <= 100);
                    if round % 7 == 0 {
                        gate.pause(thread::yield_now);
                    }
                    if round % 3 == 0 {
                        gate.give_way(line(seed % 2, seed));
                    }
                    held.fetch_sub(bytes as usize, Ordering::SeqCst);
                    if round % 5 == 0 {
                        turn.release_bytes();
                    }
                }
            });
        }
    });
    assert!(is_idle(&gate));
    let mut turn = gate.enter(line(1, 1));
    assert_eq!(turn.renew(101), Err(TooManyBytes { needed: 101, limit: 100 }));
    turn.renew(100).unwrap();
}

#[test]
fn no_more_threads_work_than_there_are_places() {
    let gate = gate(2, 0);
    let working = AtomicUsize::new(0);
    thread::scope(|scope| {
        for tenant in 0..6 {
            let (gate, working) = (&gate, &working);
            scope.spawn(move || {
                for _ in 0..100 {
                    let _turn = gate.enter(line(tenant, 0));
                    assert!(working.fetch_add(1, Ordering::SeqCst) < 2);
                    thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(is_idle(&gate));
}

/// Starts no threads: what they are to run keeps its turn until it is dropped.
#[derive(Default)]
struct Helper(Mutex<Vec<Run>>);

impl Task for Helper {
    fn spawn(&self, run: Run) {
        self.0.lock().push(run);
    }

    fn run(&self, turn: Turn) -> Turn {
        turn
    }
}

#[test]
fn thread_takes_the_next_job_when_it_has_ended_one() {
    let gate = gate(1, 0);
    let (threads, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let queue = |of: Line| {
        let (threads, ran) = (Arc::clone(&threads), Arc::clone(&ran));
        let spawn = move |run: Run| {
            threads.fetch_add(1, Ordering::SeqCst);
            drop(thread::spawn(run));
        };
        gate.queue(of, spawn, move |turn| {
            ran.lock().push((of.query, thread::current().id()));
            turn
        });
    };
    let first = gate.enter(line(1, 1));
    for query in [1, 1, 2, 3] {
        queue(line(1, query));
    }
    drop(first);
    while !is_idle(&gate) {
        thread::yield_now();
    }
    let ran = ran.lock();
    assert_eq!(ran.iter().map(|(query, _)| *query).collect::<Vec<_>>(), [1, 2, 3, 1]);
    assert!(ran.iter().all(|(_, thread)| *thread == ran[0].1));
    assert_eq!(threads.load(Ordering::SeqCst), 1);
}

#[test]
fn job_that_panics_gives_its_turn_back() {
    let gate = gate(1, 0);
    let (sender, receiver) = std::sync::mpsc::channel();
    let spawn = |run: Run| drop(thread::spawn(run));
    let first = gate.enter(line(1, 1));
    gate.queue(line(1, 1), spawn, |_turn| panic!("on purpose"));
    gate.queue(line(1, 1), spawn, move |turn| {
        sender.send(()).unwrap();
        turn
    });
    drop(first);
    receiver.recv().unwrap();
    while !is_idle(&gate) {
        thread::yield_now();
    }
}

#[test]
fn helpers_get_what_nobody_waits_for() {
    let gate = gate(2, 0);
    let helper = Arc::new(Helper::default());
    let weak = || {
        let weak: Weak<Helper> = Arc::downgrade(&helper);
        weak
    };
    let (one, two) = (gate.enter(line(1, 1)), gate.enter(line(1, 1)));
    gate.ask_for_help(weak());
    gate.ask_for_help(Weak::<Helper>::new());
    gate.ask_for_help(weak());
    assert!(helper.0.lock().is_empty());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(gate.enter(line(2, 2))));
        wait_for_line(&gate, 1);
        drop(one);
        waiting.join().unwrap();
    });
    assert_eq!(helper.0.lock().len(), 1);
    // A thread that waits for storage lends its place, and gets one back before anybody else.
    gate.pause(|| {
        let runs = std::mem::take(&mut *helper.0.lock());
        assert_eq!(runs.len(), 2);
    });
    drop(two);
    assert!(is_idle(&gate));
}

#[test]
fn helpers_are_bounded_and_the_next_one_starts_when_one_ends() {
    let gate = gate(2 * MOST_HELPING, 0);
    let helper = Arc::new(Helper::default());
    for _ in 0..MOST_HELPING + 2 {
        let weak: Weak<Helper> = Arc::downgrade(&helper);
        gate.ask_for_help(weak);
    }
    let run = {
        let mut runs = helper.0.lock();
        assert_eq!(runs.len(), MOST_HELPING);
        runs.pop().unwrap()
    };
    // A thread that has ended its work takes the next without starting another one.
    run();
    assert_eq!(gate.state.lock().helpers.len(), 0);
    // Those that wait for a turn get one nevertheless.
    drop(gate.enter(line(1, 1)));
    let runs = std::mem::take(&mut *helper.0.lock());
    assert_eq!(runs.len(), MOST_HELPING - 1);
    drop(runs);
    assert!(is_idle(&gate));
}

#[test]
fn work_that_ends_before_a_thread_is_free_does_not_pile_up() {
    let gate = gate(2, 0);
    let _busy = [gate.enter(line(1, 1)), gate.enter(line(1, 1))];
    let waiting: Vec<_> = (0..20).map(|_| Arc::new(Helper::default())).collect();
    let ask = |helper: &Arc<Helper>| {
        let weak: Weak<Helper> = Arc::downgrade(helper);
        gate.ask_for_help(weak);
    };
    for helper in &waiting {
        ask(helper);
        (0..100).for_each(|_| ask(&Arc::default()));
    }
    let asking = gate.state.lock().helpers.len();
    assert!(asking <= 2 * waiting.len(), "{asking}");
    let alive = |help: &&Weak<dyn Task>| help.strong_count() > 0;
    assert_eq!(gate.state.lock().helpers.iter().filter(alive).count(), waiting.len());
}

#[test]
fn thread_at_work_lets_other_queries_go_first() {
    let gate = gate(1, 10);
    let mut turn = gate.enter(line(1, 1));
    turn.renew(10).unwrap();
    gate.give_way(line(1, 1));
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        // One of the same query, which need not go first, one that wants memory, and one that does not.
        for (place, (of, bytes)) in
            [(line(1, 1), 0), (line(2, 2), 5), (line(3, 3), 0)].into_iter().enumerate()
        {
            let (gate, order) = (&gate, &order);
            scope.spawn(move || {
                let mut turn = gate.enter(of);
                order.lock().push(of.tenant);
                turn.renew(bytes).unwrap();
                order.lock().push(of.tenant * 10);
            });
            wait_for_line(gate, place + 1);
            if place == 0 {
                gate.give_way(line(1, 1));
                assert!(order.lock().is_empty());
            }
        }
        gate.give_way(line(1, 1));
        assert!(order.lock().contains(&2) && order.lock().contains(&3));
        // What waits for our memory, and what is in line behind it, cannot keep us from going on.
        for _ in 0..100 {
            gate.give_way(line(1, 1));
        }
        assert!(!order.lock().contains(&20));
        drop(turn);
    });
    assert!(order.lock().contains(&20));
    assert!(is_idle(&gate));
}

#[test]
fn thread_goes_on_before_others_of_its_query() {
    let gate = gate(1, 10);
    let mut turn = gate.enter(line(1, 1));
    turn.renew(10).unwrap();
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let enter = |of: Line, place| {
            let (gate, order) = (&gate, &order);
            scope.spawn(move || {
                let _turn = gate.enter(of);
                order.lock().push(of.query);
            });
            wait_for_line(gate, place);
        };
        enter(line(1, 1), 1);
        turn.renew(5).unwrap();
        assert!(order.lock().is_empty());
        enter(line(1, 2), 2);
        turn.renew(5).unwrap();
        assert!(order.lock().contains(&2));
        drop(turn);
    });
    assert!(is_idle(&gate));
}

#[test]
fn some_memory_is_left_for_a_tenant_that_holds_none() {
    let gate = gate(4, 80);
    let holding = [(line(1, 1), 40), (line(2, 2), 30)].map(|(of, bytes)| {
        let mut turn = gate.enter(of);
        turn.renew(bytes).unwrap();
        turn
    });
    let got_more = AtomicUsize::new(0);
    thread::scope(|scope| {
        let more = scope.spawn(|| {
            let mut turn = gate.enter(line(1, 1));
            turn.renew(10).unwrap();
            got_more.store(1, Ordering::SeqCst);
        });
        wait_for_line(&gate, 1);
        let mut newcomer = gate.enter(line(3, 3));
        newcomer.renew(10).unwrap();
        assert_eq!(got_more.load(Ordering::SeqCst), 0);
        drop(newcomer);
        drop(holding);
        more.join().unwrap();
    });
    assert!(is_idle(&gate));
}
