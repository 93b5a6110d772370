//! For how many spans a sampled one stands.

use tactus_model::ValueType;

use super::view::{Name, Names, View};

/// A smaller share means nothing: what a trace state can tell. One span must not make a counter so large that no other
/// changes it, or infinite.
const MIN_SHARE: f64 = 1.0 / (1_u64 << 56) as f64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    key: Option<Name>,
    from_trace_state: bool,
}

impl Weight {
    /// `key`: an attribute with the share of spans that were kept; empty for none. `from_trace_state`: the trace state is
    /// asked first.
    pub(crate) fn new(key: &str, from_trace_state: bool, names: &mut Names) -> Self {
        Self { key: (!key.is_empty()).then(|| names.add(key)), from_trace_state }
    }

    /// The weight of a span, 1 if nothing says another.
    #[inline]
    pub(crate) fn of(&self, view: &View<'_>, row: usize, resource: usize) -> f64 {
        if self.from_trace_state {
            let state = view.text(&view.batch.spans.trace_state, row);
            if let Some(weight) = weight_of_state(state) {
                return weight;
            }
        }
        let Some(key) = self.key else { return 1.0 };
        let found = [view.of_span(row, key), view.of_resource(resource, key)];
        for attribute in found.into_iter().flatten() {
            let share = f64::from_bits(attribute.payload);
            if attribute.value_type == ValueType::Double
                && (MIN_SHARE..f64::INFINITY).contains(&share)
            {
                return 1.0 / share;
            }
        }
        1.0
    }
}

/// The weight that `ot=th:…` of a W3C trace state tells.
fn weight_of_state(state: &[u8]) -> Option<f64> {
    let state = std::str::from_utf8(state).ok()?;
    let list = state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let threshold = list.split(';').find_map(|part| part.trim().strip_prefix("th:"))?;
    let digits = 1..=14;
    if !digits.contains(&threshold.len()) || !threshold.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(threshold, 16).ok()? << (4 * (14 - threshold.len()));
    let all = 1_u64 << 56;
    Some(all as f64 / (all - value) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_of_the_trace_state_tells_the_weight() {
        let cases: [(&str, Option<f64>); 9] = [
            ("foo=1,ot=th:c;rv:00000000000001", Some(4.0)),
            ("ot=th:8", Some(2.0)),
            ("ot=th:C", Some(4.0)),
            ("ot=th:0", Some(1.0)),
            ("ot=rv:1;th:8", Some(2.0)),
            ("ot=th:zz", None),
            ("ot=th:000000000000001", None),
            ("ot=th:", None),
            ("foo=th:8", None),
        ];
        for (state, weight) in cases {
            assert_eq!(weight_of_state(state.as_bytes()), weight, "{state}");
        }
        assert_eq!(weight_of_state(b"ot=th:\xff"), None);
        assert_eq!(weight_of_state(b"ot=th:ffffffffffffff"), Some((1_u64 << 56) as f64));
    }
}
