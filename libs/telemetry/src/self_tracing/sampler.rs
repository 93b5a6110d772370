//! Decides which of our own traces are recorded.

use super::context::SpanContext;

/// Of so many requests with spans that nobody asked to trace, one is traced.
pub(crate) const INGEST_SHARE: u64 = 1_000;

/// Decides at the first span of a trace in this process; the spans below follow it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The share of traces that are recorded, 0 to 1.
    pub ratio: f64,
    /// A caller's decision holds.
    pub parent_based: bool,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { ratio: 1.0, parent_based: true }
    }
}

impl Sampler {
    /// From `OTEL_TRACES_SAMPLER` and its argument. Errors: the name or the number as it is.
    pub(super) fn parse(name: &str, argument: &str) -> Result<Self, String> {
        let (parent_based, name) = match name.strip_prefix("parentbased_") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let ratio = match name {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" if argument.is_empty() => 1.0,
            "traceidratio" => match argument.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                _ => {
                    return Err(format!(
                        "OTEL_TRACES_SAMPLER_ARG: {argument} is not between 0 and 1"
                    ));
                }
            },
            _ => return Err(format!("OTEL_TRACES_SAMPLER: unknown sampler {name}")),
        };
        Ok(Self { ratio, parent_based })
    }

    /// Whether a trace that comes into this process, or begins here, is recorded. `caller`: where it comes from.
    /// `ingest`: the request brings spans, maybe our own.
    pub(super) fn samples(
        &self,
        span: &SpanContext,
        caller: Option<&SpanContext>,
        ingest: bool,
    ) -> bool {
        match caller {
            Some(caller) if self.parent_based || (ingest && !caller.sampled) => caller.sampled,
            _ => {
                let ratio = if ingest { self.ratio / INGEST_SHARE as f64 } else { self.ratio };
                let id = u128::from_be_bytes(span.trace_id) as u64 >> 1;
                (id as f64) < ratio * (1u64 << 63) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_standard_are_known() {
        let sampler = |parent_based, ratio| Ok(Sampler { ratio, parent_based });
        assert_eq!(Sampler::parse("parentbased_always_on", ""), sampler(true, 1.0));
        assert_eq!(Sampler::parse("always_off", "x"), sampler(false, 0.0));
        assert_eq!(Sampler::parse("parentbased_traceidratio", "0.25"), sampler(true, 0.25));
        assert!(Sampler::parse("traceidratio", "2").is_err());
        assert!(Sampler::parse("jaeger_remote", "").is_err());
    }

    #[test]
    fn share_of_traces_is_about_the_ratio_and_a_caller_decides() {
        let sampler = Sampler { ratio: 0.5, parent_based: true };
        let count = |ingest| {
            let roots = (0..20_000).map(|_| SpanContext::root());
            roots.filter(|root| sampler.samples(root, None, ingest)).count()
        };
        assert!((9_000..11_000).contains(&count(false)));
        assert!(count(true) < 60);
        let root = SpanContext::root();
        for sampled in [true, false] {
            let caller = SpanContext { sampled, ..root };
            assert_eq!(sampler.samples(&root, Some(&caller), true), sampled);
        }
        let always = Sampler { ratio: 1.0, parent_based: false };
        let caller = SpanContext { sampled: false, ..root };
        assert!(always.samples(&root, Some(&caller), false));
        assert!(!always.samples(&root, Some(&caller), true), "our own export");
    }
}
