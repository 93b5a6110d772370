//! Duration constants, in Prometheus style (`1d12h`) or Go style (`1.5h`, `1m1h`).

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const NANOSECONDS_PER_DAY: u64 = 24 * 3600 * NANOSECONDS_PER_SECOND;

/// Units in the order that Prometheus style demands.
const DESCENDING_UNITS: [(&str, u64); 7] = [
    ("y", 365 * NANOSECONDS_PER_DAY),
    ("w", 7 * NANOSECONDS_PER_DAY),
    ("d", NANOSECONDS_PER_DAY),
    ("h", 3600 * NANOSECONDS_PER_SECOND),
    ("m", 60 * NANOSECONDS_PER_SECOND),
    ("s", NANOSECONDS_PER_SECOND),
    ("ms", 1_000_000),
];

/// Nanoseconds of `text`, if the whole text is a duration that fits.
pub(super) fn parse(text: &str) -> Option<i64> {
    descending(text).or_else(|| any_order(text))
}

/// Splits `text` after its leading characters that satisfy `is_part`.
fn split_while(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

fn descending(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut units = DESCENDING_UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after_number) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, after_unit) = split_while(after_number, |c| c.is_ascii_alphabetic());
        let (_, size) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*size)?)?;
        rest = after_unit;
    }
    i64::try_from(total).ok()
}

fn any_order(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after_whole) = split_while(rest, |c| c.is_ascii_digit());
        let (fraction, after_fraction) = match after_whole.strip_prefix('.') {
            Some(after_point) => split_while(after_point, |c| c.is_ascii_digit()),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after_unit) = split_while(after_fraction, |c| c != '.' && !c.is_ascii_digit());
        let size: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOSECONDS_PER_SECOND,
            "m" => 60 * NANOSECONDS_PER_SECOND,
            "h" => 3600 * NANOSECONDS_PER_SECOND,
            _ => return None,
        };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        total = total.checked_add(whole.checked_mul(size)?)?;
        total = total.checked_add(fraction_of(fraction, size))?;
        rest = after_unit;
    }
    i64::try_from(total).ok()
}

/// `0.fraction * size`, truncated. Digits that do not fit into 63 bits are ignored.
fn fraction_of(fraction: &str, size: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in fraction.bytes() {
        let Some(longer) =
            value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')))
        else {
            break;
        };
        value = longer;
        scale *= 10.0;
    }
    (value as f64 * (size as f64 / scale)) as u64
}
