//! Finds other members by the seeds, for as long as the process runs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::shared::Shared;
use crate::error::{Error, Result};
use crate::seeds::resolve_all;
use crate::settings::GossipSettings;

/// Seeds told of us in one attempt.
const MAX_SEEDS_AT_ONCE: usize = 64;

/// Longest wait at start for the news of others; a process that cannot join goes on alone.
const JOIN_WAIT: Duration = Duration::from_secs(5);

/// What became of an attempt to join.
#[derive(Default)]
struct Attempt {
    /// Addresses that the configured names have, ours included.
    resolved: usize,
    /// Those that were told of us: not ours, nor those of members.
    told: Vec<SocketAddr>,
}

/// The first attempt. It ends when another member was heard of, when all seeds have failed, or at the time limit.
/// Errors only if the settings require a number of members.
pub(super) async fn first(shared: &Arc<Shared>) -> Result<()> {
    let (Some(settings), Some(gossip)) = (shared.gossip_settings(), &shared.gossip) else {
        return Ok(());
    };
    let deadline = Instant::now() + JOIN_WAIT;
    let wanted = settings.abort_unless_reached.unwrap_or(1);
    let mut last = Attempt::default();
    let attempt = async {
        let mut members = shared.members.subscribe();
        loop {
            last = tell_seeds(shared).await;
            let again = Instant::now() + settings.interval * 2;
            while Instant::now() < again {
                let failed = gossip.wire.reachability.changed.notified();
                let reached = others(shared);
                let unreachable = |seed| gossip.wire.reachability.is_unreachable(seed);
                if reached >= wanted || reached == 0 && last.told.iter().all(unreachable) {
                    return;
                }
                tokio::select! {
                    _ = members.changed() => {}
                    () = failed => {}
                    () = tokio::time::sleep_until(again) => {}
                }
            }
        }
    };
    let _ = timeout_at(deadline, attempt).await;
    let reached = others(shared);
    match settings.abort_unless_reached {
        Some(wanted) if reached < wanted => Err(Error::JoinFailed { reached, wanted }),
        _ => {
            tell_operator(settings, reached, &last);
            Ok(())
        }
    }
}

/// Logs whether others were found, and if not, what is to be looked at.
fn tell_operator(settings: &GossipSettings, members: usize, attempt: &Attempt) {
    let join_members = settings.join.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let Attempt { resolved, told } = attempt;
    if members > 0 {
        tracing::info!(members, "cluster joined");
    } else if *resolved == 0 && !join_members.is_empty() {
        tracing::warn!(
            join_members,
            "none of memberlist.join_members has an address: this process is alone, and goes on looking for others"
        );
    } else if !told.is_empty() {
        tracing::warn!(
            join_members,
            addresses = ?told,
            "nobody answers at memberlist.join_members: this process is alone, and goes on looking for others"
        );
    } else {
        tracing::info!("no other members to join: this process begins a cluster");
    }
}

/// Contacts seeds that are not members again and again: while alone with growing pauses, later so that two halves of a
/// cluster that lost each other find each other again.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(settings) = shared.gossip_settings() else { return };
    if settings.join.is_empty() {
        return;
    }
    let (first, last) = settings.join_backoff;
    let (mut pause, mut attempts) = (first, 1u32);
    let mut abort_after = settings.abort_after_attempts;
    let mut was_alone = others(&shared) == 0;
    loop {
        let alone = others(&shared) == 0;
        if was_alone && !alone {
            tell_operator(settings, others(&shared), &Attempt::default());
        }
        was_alone = alone;
        if !alone {
            abort_after = None;
        }
        if abort_after.is_some_and(|most| attempts >= most) {
            let reason = format!("no other member found in {attempts} attempts to join");
            tracing::error!(reason, "memberlist.abort_if_cluster_join_fails");
            shared.stopped.send_replace(Some(reason));
            return;
        }
        let wait = if alone { pause } else { settings.rejoin_interval };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let attempt = tell_seeds(&shared).await;
        if alone {
            attempts = attempts.saturating_add(1);
            if pause < last && pause * 2 >= last {
                // It has lasted for about a minute.
                tell_operator(settings, others(&shared), &attempt);
            }
            pause = (pause * 2).min(last).max(Duration::from_millis(1));
        } else {
            (pause, attempts) = (first, 1);
        }
    }
}

/// Gossips with each seed that is not known to be a member.
async fn tell_seeds(shared: &Shared) -> Attempt {
    let (Some(settings), Some(gossip)) = (shared.gossip_settings(), &shared.gossip) else {
        return Attempt::default();
    };
    let addresses = resolve_all(&settings.join, &*settings.network).await;
    let members: HashSet<SocketAddr> = shared.record.with_ledger(|ledger, now| {
        let heard = ledger.nodes().filter(|node| ledger.is_heard(node, now));
        heard.map(|node| node.id.gossip_advertise_addr).collect()
    });
    let resolved = addresses.len();
    let unknown = addresses.into_iter().filter(|seed| !members.contains(seed));
    let seeds = unknown.filter(|seed| *seed != gossip.wire.advertised).collect();
    let seeds = some_of(seeds, super::random());
    for seed in &seeds {
        let _ = gossip.handle.gossip(*seed);
    }
    Attempt { resolved, told: seeds }
}

/// Some of the seeds, starting at another one each time. If a name has hundreds of addresses, those that are no longer
/// in use must not keep us from the others for ever.
fn some_of(mut seeds: Vec<SocketAddr>, random: u64) -> Vec<SocketAddr> {
    if seeds.len() > MAX_SEEDS_AT_ONCE {
        let first = random % seeds.len() as u64;
        seeds.rotate_left(first as usize);
        seeds.truncate(MAX_SEEDS_AT_ONCE);
    }
    seeds
}

/// Other members that are alive.
fn others(shared: &Shared) -> usize {
    shared.members.borrow().iter().filter(|member| !member.is_self).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_very_many_seeds_has_its_turn() {
        let seeds: Vec<SocketAddr> = (0..500).map(|port| ([10, 0, 0, 1], port).into()).collect();
        let mut told = HashSet::new();
        for random in 0..500 {
            let some = some_of(seeds.clone(), random);
            assert_eq!(some.len(), MAX_SEEDS_AT_ONCE);
            told.extend(some);
        }
        assert_eq!(told.len(), seeds.len());
        assert_eq!(some_of(seeds[..64].to_vec(), 7), seeds[..64]);
    }
}
