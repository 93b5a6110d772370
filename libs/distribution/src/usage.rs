//! Usage tracking: counts received bytes by attribute, to show what causes which cost.

mod attributes;

use std::{
    collections::{HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_config::sections::{distributor::UsageTracker as Section, overrides::CostAttribution};
use tactus_model::{
    TenantId,
    walk::ExportWalk,
    wire::{Reader, WireError},
};
use tactus_telemetry::metrics::{Collected, CounterVec, Kind, Registry};

use attributes::{Dimensions, Values};

const METRIC: &str = "tempo_usage_tracker_bytes_received_total";
/// The label value if a span lacks the attribute.
const MISSING: &str = "__missing__";
/// The label value of every dimension once the limit of series is reached.
const OVERFLOW: &str = "__overflow__";

/// Up to this many tenants are kept without checking which are stale.
const KEPT_TENANTS: usize = 1_000;

/// Series are not looked through for each span if there are too many: others could not be counted meanwhile.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// Counts the bytes of spans by their attributes.
#[derive(Debug)]
pub struct UsageTracker {
    settings: Section,
    tenants: Mutex<Tenants>,
    errors: CounterVec<2>,
}

#[derive(Debug, Default)]
struct Tenants {
    by_id: HashMap<TenantId, TenantUsage>,
    /// When there are this many tenants, stale ones are dropped. It is then set to twice the number that is left.
    prune_at: usize,
    /// Memory of all series.
    memory: u64,
    /// When stale series were last looked for because all took too much memory.
    pruned: Option<Instant>,
}

/// What bounds the series of a tenant.
struct Bounds {
    /// Most series.
    series: usize,
    /// Most bytes of the series of all tenants.
    memory: u64,
    stale_after: Duration,
}

#[derive(Debug)]
struct TenantUsage {
    /// The limits at the last request.
    limits: CostAttribution,
    dimensions: Dimensions,
    /// The key is the values of the dimensions, in their order.
    series: HashMap<Values, Usage>,
    /// When stale series were last looked for because there were too many.
    pruned: Option<Instant>,
}

#[derive(Debug)]
struct Usage {
    bytes: u64,
    updated: Instant,
}

impl UsageTracker {
    /// A tracker that has seen nothing.
    pub fn new(settings: Section, registry: &Registry) -> Self {
        Self {
            settings,
            tenants: Mutex::default(),
            errors: registry.counter_vec(
                "tempo_distributor_usage_tracker_errors_total",
                "Export requests whose usage could not be told, by tenant and reason.",
                ["tenant", "reason"],
            ),
        }
    }

    /// A series without a span for this long is dropped.
    fn stale_after(&self) -> Duration {
        self.settings.stale_duration.non_zero().unwrap_or(Duration::from_secs(15 * 60))
    }

    /// Counts the bytes of a request. Bytes of a resource, its scopes and the framing are divided evenly among its
    /// spans.
    pub(crate) fn observe(
        &self,
        tenant: &TenantId,
        limits: &CostAttribution,
        request: &Bytes,
        walk: &ExportWalk,
    ) {
        self.observe_at(tenant, limits, request, walk, Instant::now());
    }

    fn observe_at(
        &self,
        tenant: &TenantId,
        limits: &CostAttribution,
        request: &Bytes,
        walk: &ExportWalk,
        now: Instant,
    ) {
        if limits.dimensions.is_empty() {
            return;
        }
        let max_series = match limits.max_cardinality {
            0 => self.settings.max_cardinality,
            own => own,
        };
        let bounds = Bounds {
            series: max_series as usize,
            memory: self.settings.max_bytes,
            stale_after: self.stale_after(),
        };
        let dimensions = Dimensions::new(&limits.dimensions);
        let Ok(bytes) = bytes_by_values(request, walk, &dimensions, &bounds) else {
            self.errors.with([tenant.as_str(), "malformed"]).inc();
            return;
        };
        let mut tenants = self.tenants.lock();
        tenants.prune(tenant, &bounds, now);
        let tenants = &mut *tenants;
        let mut usage = match tenants.by_id.remove(tenant) {
            Some(usage) if usage.limits == *limits => usage,
            replaced => {
                tenants.memory -= replaced.map_or(0, |usage| usage.memory());
                let limits = limits.clone();
                TenantUsage { limits, dimensions, series: HashMap::new(), pruned: None }
            }
        };
        for (values, bytes) in bytes {
            usage.add(values, bytes, &bounds, &mut tenants.memory, now);
        }
        tenants.by_id.insert(tenant.clone(), usage);
    }

    /// Writes all series to a page of their own. Drops stale ones.
    pub fn collect(&self, page: &mut Collected) {
        self.collect_at(page, Instant::now());
    }

    fn collect_at(&self, page: &mut Collected, now: Instant) {
        page.family(METRIC, "bytes total received with these labels", Kind::Counter);
        let mut tenants = self.tenants.lock();
        tenants.drop_stale(self.stale_after(), now);
        let mut by_id: Vec<_> = tenants.by_id.iter().collect();
        by_id.sort_unstable_by_key(|(tenant, _)| tenant.as_str());
        for (tenant, usage) in by_id {
            let mut series: Vec<_> = usage.series.iter().collect();
            series.sort_unstable_by_key(|(values, _)| *values);
            for (values, count) in series {
                let mut labels: Vec<(&str, &str)> =
                    usage.dimensions.labels().zip(values.iter()).collect();
                labels.push(("tenant", tenant.as_str()));
                labels.push(("tracker", "cost-attribution"));
                labels.sort_unstable();
                page.sample(&labels, count.bytes as f64);
            }
        }
    }
}

impl Tenants {
    /// Drops stale series if there are too many tenants to take one more, or if all series take too much memory.
    fn prune(&mut self, tenant: &TenantId, bounds: &Bounds, now: Instant) {
        let is_full =
            self.by_id.len() >= self.prune_at.max(KEPT_TENANTS) && !self.by_id.contains_key(tenant);
        if is_full || (self.memory >= bounds.memory && may_prune(self.pruned, now)) {
            self.drop_stale(bounds.stale_after, now);
            self.pruned = Some(now);
        }
        if is_full {
            self.prune_at = 2 * self.by_id.len();
        }
    }

    fn drop_stale(&mut self, stale_after: Duration, now: Instant) {
        let memory = &mut self.memory;
        self.by_id.retain(|_, usage| {
            usage.drop_stale(stale_after, memory, now);
            !usage.series.is_empty()
        });
    }
}

impl TenantUsage {
    fn add(&mut self, values: Values, bytes: u64, bounds: &Bounds, memory: &mut u64, now: Instant) {
        let is_known = |usage: &Self| usage.series.contains_key(&values);
        if !is_known(self) && self.series.len() >= bounds.series && may_prune(self.pruned, now) {
            self.drop_stale(bounds.stale_after, memory, now);
            self.pruned = Some(now);
        }
        let is_over = self.series.len() >= bounds.series || *memory >= bounds.memory;
        let values = match !is_known(self) && is_over {
            true => self.dimensions.all(OVERFLOW),
            false => values,
        };
        let usage = match self.series.entry(values) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                *memory += place.key().memory();
                place.insert(Usage { bytes: 0, updated: now })
            }
        };
        usage.bytes += bytes;
        usage.updated = now;
    }

    fn drop_stale(&mut self, stale_after: Duration, memory: &mut u64, now: Instant) {
        self.series.retain(|values, usage| {
            let is_fresh = now.saturating_duration_since(usage.updated) < stale_after;
            if !is_fresh {
                *memory -= values.memory();
            }
            is_fresh
        });
    }

    fn memory(&self) -> u64 {
        self.series.keys().map(Values::memory).sum()
    }
}

fn may_prune(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|at| now.saturating_duration_since(at) >= PRUNE_EVERY)
}

/// Spans of a request, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    spans: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.spans += other.spans;
        self.bytes += other.bytes;
    }
}

/// The spans of a request by their values.
#[derive(Default)]
struct Counts {
    by_values: HashMap<Values, Count>,
    /// Memory of the values.
    memory: u64,
    /// Of the spans whose values had no room.
    overflow: Count,
    all: Count,
}

impl Counts {
    /// A tenant cannot have series of more values than the bounds allow, so no more are kept while a request is read.
    fn add(&mut self, values: Values, count: Count, bounds: &Bounds) {
        self.all.add(count);
        let is_full = self.by_values.len() >= bounds.series || self.memory >= bounds.memory;
        let place = match self.by_values.entry(values) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => &mut self.overflow,
            Entry::Vacant(place) => {
                self.memory += place.key().memory();
                place.insert(Count::default())
            }
        };
        place.add(count);
    }
}

/// The bytes of a request for each combination of its spans' values, as many as the bounds allow. Those of further ones come
/// last, as overflow.
fn bytes_by_values(
    request: &Bytes,
    walk: &ExportWalk,
    dimensions: &Dimensions,
    bounds: &Bounds,
) -> Result<Vec<(Values, u64)>, WireError> {
    let mut counts = Counts::default();
    let mut resource = (u32::MAX, dimensions.all(MISSING));
    for run in &walk.runs {
        if resource.0 != run.resource {
            let message = &request[walk.resources[run.resource as usize].clone()];
            resource = (run.resource, dimensions.of_resource(message, MISSING)?);
        }
        // Counted once, because finding the values among the others takes longer than reading a small span.
        let mut without_values = Count::default();
        let mut reader = Reader::new(&request[run.scope_spans.clone()]);
        while let Some((field, value)) = reader.next_field()? {
            if field == 2 {
                let span = value.bytes(2)?;
                let count = Count { spans: 1, bytes: span.len() as u64 };
                match dimensions.of_span(span, &resource.1)? {
                    Some(values) => counts.add(values, count, bounds),
                    None => without_values.add(count),
                }
            }
        }
        if without_values.spans > 0 {
            counts.add(resource.1.clone(), without_values, bounds);
        }
    }
    let Counts { by_values, overflow, all, .. } = counts;
    // Bytes outside of spans are divided evenly. The remainder counts for the first values.
    let rest = (request.len() as u64).saturating_sub(all.bytes);
    let each = rest.checked_div(all.spans).unwrap_or(0);
    let mut left = rest - each * all.spans;
    let overflow = (overflow.spans > 0).then(|| (dimensions.all(OVERFLOW), overflow));
    let bytes = |(values, count): (Values, Count)| {
        (values, count.bytes + each * count.spans + std::mem::take(&mut left))
    };
    Ok(by_values.into_iter().chain(overflow).map(bytes).collect())
}

#[cfg(test)]
mod tests;
