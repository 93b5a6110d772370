//! Shows each series as a line of bars.

use crate::answers::{KeyValue, Metrics, Sample, Series};
use crate::output::{Output, Table, format};

/// Bars from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Shown if there is no value.
const GAP: char = '·';
/// Estimated columns of the numbers in a line.
const NUMBERS_WIDTH: usize = 48;
const MOST_BARS: usize = 60;
const LABELS_WIDTH: usize = 60;

/// The series in the order of the answer. All lines share one time scale, and each has its own scale of values.
pub(super) fn render(answer: &Metrics, output: &Output) -> String {
    let times = || answer.series.iter().flat_map(|series| &series.samples);
    let first = times().map(|sample| sample.timestamp_ms).min().unwrap_or(0);
    let last = times().map(|sample| sample.timestamp_ms).max().unwrap_or(0);
    let labels: Vec<_> = answer
        .series
        .iter()
        .map(|series| format::cut(&labels(&series.labels), LABELS_WIDTH))
        .collect();
    let widest = labels.iter().map(|text| format::width(text)).max().unwrap_or(0);
    let room = output.width.saturating_sub(widest + NUMBERS_WIDTH).clamp(10, MOST_BARS);
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let finite = |series: &Series| {
        let values = series.samples.iter().map(|sample| sample.value);
        values.filter(|value| value.is_finite()).collect::<Vec<f64>>()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut text = Table::of(answer.series.iter().zip(labels))
        .left("SERIES", |(_, labels)| labels.clone())
        .left("VALUES", |(series, _)| sparkline(series, (first, last), room))
        .right("MIN", |(series, _)| shown(finite(series).into_iter().reduce(f64::min)))
        .right("MAX", |(series, _)| shown(finite(series).into_iter().reduce(f64::max)))
        .right("MEAN", |(series, _)| {
            shown(Some(finite(series)).filter(|it| !it.is_empty()).map(|it| mean(&it)))
        })
        .right("LAST", |(series, _)| shown(series.samples.last().map(|sample| sample.value)))
        .render();
    if !answer.series.is_empty() {
        let time = |millis: u64| format::time_of_nanos(millis.saturating_mul(1_000_000));
        text.push_str(&format!("{} to {}\n", time(first), time(last)));
    }
    text.push_str(&format!("{} series\n", answer.series.len()));
    if let Some(explanation) = &answer.explain {
        text.push_str(&format!("{explanation:#}\n"));
    }
    text
}

fn labels(labels: &[KeyValue]) -> String {
    let label = |label: &KeyValue| {
        let value = label.value.to_string();
        let quoted = label.value.as_str().map(|text| format!("{text:?}"));
        // `Debug` has escaped the control characters of strings. `clean` escapes the rest.
        format::clean(&format!("{}={}", label.key, quoted.unwrap_or(value)))
    };
    let texts: Vec<_> = labels.iter().map(label).collect();
    format!("{{{}}}", texts.join(", "))
}

/// At most `room` bars from the first to the last time, each for the highest value of its part of the range.
fn sparkline(series: &Series, (first, last): (u64, u64), room: usize) -> String {
    let steps = distinct_steps(&series.samples, first, last).clamp(1, room);
    let mut highest: Vec<Option<f64>> = vec![None; steps];
    let length = u128::from(last - first) + 1;
    for sample in series.samples.iter().filter(|sample| sample.value.is_finite()) {
        let offset = u128::from(sample.timestamp_ms.saturating_sub(first));
        // The result is below `steps`, because the offset is below the length.
        let slot = &mut highest[(offset * steps as u128 / length) as usize];
        *slot = Some(slot.map_or(sample.value, |value| value.max(sample.value)));
    }
    let all = || highest.iter().flatten().copied();
    let least = all().fold(0.0, f64::min);
    let range = all().fold(f64::MIN, f64::max) - least;
    let bar = |value: Option<f64>| match value {
        None => GAP,
        Some(value) if range > 0.0 => {
            let level = ((value - least) / range * (BARS.len() - 1) as f64).round();
            BARS[(level as usize).min(BARS.len() - 1)]
        }
        Some(_) => BARS[0],
    };
    highest.into_iter().map(bar).collect()
}

/// How many samples the range would have if there were one at every step.
fn distinct_steps(samples: &[Sample], first: u64, last: u64) -> usize {
    let steps =
        samples.windows(2).map(|two| two[1].timestamp_ms.saturating_sub(two[0].timestamp_ms));
    match steps.filter(|step| *step > 0).min() {
        Some(step) => usize::try_from((last - first) / step + 1).unwrap_or(usize::MAX),
        None => 1,
    }
}

/// A number with about four digits.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(0.001..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = if size >= 100.0 {
        1
    } else if size >= 1.0 {
        3
    } else {
        5
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::parse;

    const OUTPUT: Output = Output { json: false, colour: false, width: 100 };

    #[test]
    fn series_share_the_scale_of_time() {
        let body = r#"{"series":[
            {"labels":[{"key":"resource.service.name","value":{"stringValue":"a\u001bb"}}],
             "samples":[{"timestampMs":"1700000000000"},{"timestampMs":"1700000060000","value":3.5},
                        {"timestampMs":"1700000120000","value":7}]},
            {"labels":[{"key":"p","value":{"doubleValue":0.9}}],
             "samples":[{"timestampMs":"1700000060000","value":"NaN"},
                        {"timestampMs":"1700000120000","value":12345678}]}]}"#;
        assert_eq!(
            render(&parse(body.as_bytes()).unwrap(), &OUTPUT),
            concat!(
                "SERIES                              VALUES       MIN       MAX      MEAN      LAST\n",
                "{resource.service.name=\"a\\u{1b}b\"}  ▁▅█            0         7       3.5         7\n",
                "{p=0.9}                             ··█     12345678  12345678  12345678  12345678\n",
                "2023-11-14T22:13:20Z to 2023-11-14T22:15:20Z\n2 series\n"
            )
        );
    }

    #[test]
    fn long_series_fit_the_room() {
        let samples = (0..1000).map(|i| Sample { timestamp_ms: i * 10, value: i as f64 }).collect();
        let series = Series { labels: Vec::new(), samples };
        let line = sparkline(&series, (0, 9990), 8);
        assert_eq!(line, "▂▃▄▄▅▆▇█");
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1234.56, "1234.6"),
            (-3.0, "-3"),
            (1e12, "1.000e12"),
            (0.0001, "1.000e-4"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn no_series_is_an_answer() {
        assert_eq!(
            render(&parse(b"{\"series\":[]}").unwrap(), &OUTPUT),
            "SERIES  VALUES  MIN  MAX  MEAN  LAST\n0 series\n"
        );
    }
}
