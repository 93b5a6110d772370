//! Counts the replies to one export: which replica sets have stored their spans, and which spans were refused.
//!
//! Each replica of a set is a seat. A seat is filled by the reply of the replica, or of an instance that stands in for
//! it. A set has stored its spans when as many seats are filled as the ring asks for. Nothing here waits or sends.

use std::collections::BTreeMap;

use tactus_proto::tactus::v1::{PushResponse, Refusal};
use tonic::{Code, Status};

use crate::placement::{Placement, Replicas};

/// How many instances may stand in for one replica, one after the other.
const MAX_STAND_INS: usize = 2;

/// Everything that was sent for one export, and the replies so far.
pub(crate) struct Votes<'a> {
    placement: &'a Placement,
    groups: Vec<GroupVotes>,
    calls: Vec<CallVotes>,
}

/// The spans of one replica set.
struct GroupVotes {
    set: usize,
    spans: u64,
    seats: Vec<Seat>,
    /// Instances of `Replicas::next` that already stand in for others.
    used: Vec<u32>,
}

struct Seat {
    instance: u32,
    /// Calls without a reply.
    waiting: usize,
    stand_ins: usize,
    /// The call whose reply fills the seat.
    filled_by: Option<usize>,
}

/// One push to one instance.
struct CallVotes {
    /// Group and seat of each vote that the reply counts as.
    members: Vec<(usize, usize)>,
    spans: u64,
    reply: Option<Result<PushResponse, Status>>,
}

/// A push to send: `groups` are indexes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) call: usize,
    pub(crate) instance: u32,
    pub(crate) groups: Vec<usize>,
}

impl<'a> Votes<'a> {
    /// `groups`: each the index of a set and the number of its spans. Nothing is sent yet.
    pub(crate) fn new(
        placement: &'a Placement,
        groups: impl Iterator<Item = (usize, u64)>,
    ) -> Self {
        let seat = |instance: &u32| Seat {
            instance: *instance,
            waiting: 0,
            stand_ins: 0,
            filled_by: None,
        };
        let group = |(set, spans): (usize, u64)| GroupVotes {
            set,
            spans,
            seats: placement.sets()[set].instances.iter().map(seat).collect(),
            used: Vec::new(),
        };
        Self { placement, groups: groups.map(group).collect(), calls: Vec::new() }
    }

    /// The first pushes: one for each instance that is a replica of any group.
    pub(crate) fn first_sends(&mut self) -> Vec<Send> {
        let mut wanted = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            for (seat, found) in group.seats.iter().enumerate() {
                wanted.push((found.instance, number, seat));
            }
        }
        self.send(wanted)
    }

    /// Pushes to stand-ins, for groups that would otherwise have too few filled seats. `is_hopeless` says which seats
    /// not to wait for. Empty if nothing needs to be done, or no instance is left.
    pub(crate) fn stand_ins(
        &mut self,
        is_hopeless: impl Fn(u32) -> bool,
        is_suspect: impl Fn(u32) -> bool,
    ) -> Vec<Send> {
        let mut wanted = Vec::new();
        for (number, group) in self.groups.iter_mut().enumerate() {
            let replicas = &self.placement.sets()[group.set];
            let is_lost = |seat: &Seat| {
                seat.filled_by.is_none() && (seat.waiting == 0 || is_hopeless(seat.instance))
            };
            // A seat that already has a stand-in is still worth waiting for.
            let waits = |seat: &Seat| !is_lost(seat) || seat.stand_ins > 0 && seat.waiting > 0;
            let hopeful = group.seats.iter().filter(|seat| waits(seat)).count();
            let mut missing = replicas.min_success.saturating_sub(hopeful);
            for seat in 0..group.seats.len() {
                let found = &group.seats[seat];
                if missing == 0 {
                    break;
                }
                if waits(found) || found.stand_ins >= MAX_STAND_INS {
                    continue;
                }
                let place = self.placement.instance(found.instance);
                let can_stand_in = |next: &&u32| {
                    let fits = |at: u32| {
                        !replicas.zone_aware || self.placement.instance(at).zone == place.zone
                    };
                    !group.used.contains(next) && fits(**next)
                };
                let candidates = || replicas.next.iter().filter(can_stand_in);
                let reliable = candidates().find(|next| !is_suspect(**next));
                // While all are slow, further calls to slow ones only make it worse.
                let any = || candidates().next().filter(|_| found.waiting == 0);
                let Some(&next) = reliable.or_else(any) else { continue };
                group.used.push(next);
                group.seats[seat].stand_ins += 1;
                wanted.push((next, number, seat));
                missing -= 1;
            }
        }
        self.send(wanted)
    }

    /// One push for each instance, from (instance, group, seat).
    fn send(&mut self, mut wanted: Vec<(u32, usize, usize)>) -> Vec<Send> {
        wanted.sort_unstable();
        let mut sends = Vec::new();
        for of_instance in wanted.chunk_by(|left, right| left.0 == right.0) {
            let members: Vec<_> = of_instance.iter().map(|&(_, g, seat)| (g, seat)).collect();
            for &(group, seat) in &members {
                self.groups[group].seats[seat].waiting += 1;
            }
            let groups: Vec<usize> = members.iter().map(|&(group, _)| group).collect();
            let spans = groups.iter().map(|group| self.groups[*group].spans).sum();
            sends.push(Send { call: self.calls.len(), instance: of_instance[0].0, groups });
            self.calls.push(CallVotes { members, spans, reply: None });
        }
        sends
    }

    /// Takes the reply to a call.
    pub(crate) fn replied(&mut self, call: usize, reply: Result<PushResponse, Status>) {
        for &(group, seat) in &self.calls[call].members {
            let seat = &mut self.groups[group].seats[seat];
            seat.waiting -= 1;
            if reply.is_ok() && seat.filled_by.is_none() {
                seat.filled_by = Some(call);
            }
        }
        self.calls[call].reply = Some(reply);
    }

    /// True if every set has stored its spans, or refused some.
    pub(crate) fn is_quorum(&self) -> bool {
        self.groups.iter().all(|group| group.filled() >= self.replicas(group).min_success)
    }

    /// True if more replies would not change the answer to the client.
    pub(crate) fn is_settled(&self) -> bool {
        self.groups.iter().all(|group| {
            let shares = self.refused_shares(group);
            let needed = self.replicas(group).min_success;
            let Some(last) = needed.checked_sub(1).and_then(|at| shares.get(at)) else {
                return false;
            };
            let agree = needed > 1 && last.0 == shares[0].0;
            last.0 == 0.0 || agree || group.seats.iter().all(|seat| seat.waiting == 0)
        })
    }

    /// The error of a group that can no longer be stored, if there is one.
    pub(crate) fn failure(&self) -> Option<Status> {
        let is_lost = |group: &&GroupVotes| {
            let open = |seat: &&Seat| seat.filled_by.is_some() || seat.waiting > 0;
            group.seats.iter().filter(open).count() < self.replicas(group).min_success
        };
        let lost = self.groups.iter().position(|group| is_lost(&group))?;
        let of_group = |call: &&CallVotes| call.members.iter().any(|(group, _)| *group == lost);
        let errors = self.calls.iter().filter(of_group).filter_map(|call| match &call.reply {
            Some(Err(status)) => Some(status),
            _ => None,
        });
        // Both classes apart: what most of them say.
        let (of_client, of_server): (Vec<_>, Vec<_>) = errors.partition(|e| is_of_client(e));
        let told = if of_client.len() > of_server.len() { of_client } else { of_server };
        let told = told.last().map(|status| Status::new(status.code(), status.message()));
        Some(told.unwrap_or_else(|| Status::unavailable("no ingester")))
    }

    fn replicas(&self, group: &GroupVotes) -> &Replicas {
        &self.placement.sets()[group.set]
    }

    /// For each filled seat, the share of its call's spans that were refused, and the call; ascending.
    fn refused_shares(&self, group: &GroupVotes) -> Vec<(f64, usize)> {
        let share = |seat: &Seat| {
            let call = seat.filled_by?;
            let Some(Ok(response)) = &self.calls[call].reply else { return None };
            let refused: u64 = response.refusals.iter().map(|refusal| refusal.spans).sum();
            Some((refused as f64 / self.calls[call].spans.max(1) as f64, call))
        };
        let mut shares: Vec<(f64, usize)> = group.seats.iter().filter_map(share).collect();
        shares.sort_by(|left, right| left.0.total_cmp(&right.0));
        shares
    }

    /// The spans that too few replicas stored, by reason. Call it when there is a quorum.
    ///
    /// Replies tell how many spans of a push were refused, but not which. Replicas have the same limits. So of two
    /// replicas, the one that refused fewer spans is assumed to have refused a part of those that the other one
    /// refused. If a push holds spans of several replica sets, its refusals are assumed to be spread evenly.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut by_reason: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for group in &self.groups {
            let shares = self.refused_shares(group);
            let decisive = self.replicas(group).min_success.max(1) - 1;
            let Some(&(_, call)) = shares.get(decisive) else { continue };
            let Some(Ok(response)) = &self.calls[call].reply else { continue };
            let part = group.spans as f64 / self.calls[call].spans.max(1) as f64;
            for refusal in &response.refusals {
                let key = (refusal.reason.as_str(), refusal.message.as_str());
                *by_reason.entry(key).or_default() += refusal.spans as f64 * part;
            }
        }
        let refusal = |((reason, message), spans): ((&str, &str), f64)| Refusal {
            reason: reason.to_owned(),
            // A refusal that rounds to no span is still reported.
            spans: (spans.round() as u64).max(1),
            message: message.to_owned(),
        };
        by_reason.into_iter().map(refusal).collect()
    }
}

impl GroupVotes {
    fn filled(&self) -> usize {
        self.seats.iter().filter(|seat| seat.filled_by.is_some()).count()
    }
}

/// True if the request itself is at fault, in content or size, like HTTP's 4xx.
pub(crate) fn is_of_client(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}

/// True if no ingester takes the request: it is invalid, or longer than their port takes.
pub(crate) fn is_unfit(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange)
}

#[cfg(test)]
mod tests;
