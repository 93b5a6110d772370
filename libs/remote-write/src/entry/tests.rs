use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::series::BucketSpan;

fn owned(pairs: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
    pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
}

fn entries(frame: &[u8]) -> Result<Vec<Entry<'_>>, Damaged> {
    let mut reader = FrameReader::new(frame)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn frame(write: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
    let mut writer = FrameWriter::new();
    write(&mut writer);
    writer.finish(true, <[u8]>::to_vec)
}

#[test]
fn name_and_bucket_stand_in_their_places_among_the_labels() {
    let labels = owned(&[("__metrics_gen_instance", "g"), ("client", "a"), ("zone", "z")]);
    let series = Series { reference: 1, labels: &labels, name: "x_bucket", le: Some("0.1") };
    let frame = frame(|writer| {
        writer.define(&series);
        writer.float(0, 1, 1.0);
    });
    let expected = [
        ("__metrics_gen_instance", "g"),
        ("__name__", "x_bucket"),
        ("client", "a"),
        ("le", "0.1"),
        ("zone", "z"),
    ];
    assert_eq!(entries(&frame).unwrap()[0], Entry::Define(expected.to_vec()));
}

#[test]
fn label_hash_tells_name_value_and_bucket_apart() {
    let labels = owned(&[("a", "bc")]);
    let other = owned(&[("ab", "c")]);
    let series = Series { reference: 1, labels: &labels, name: "x", le: None };
    let hashes = [
        label_hash(&series),
        label_hash(&Series { labels: &other, ..series }),
        label_hash(&Series { name: "y", ..series }),
        label_hash(&Series { le: Some("1"), ..series }),
    ];
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(hash), "{index}");
    }
    assert_eq!(hashes[0], label_hash(&Series { reference: 2, ..series }));
}

#[test]
fn header_tells_counts_and_the_end_of_a_collection() {
    let mut writer = FrameWriter::new();
    writer.float(0, 5, 1.0);
    writer.float(0, 6, 1.5);
    writer.histogram(0, 7, &NativeHistogram::default());
    let first = writer.finish(false, <[u8]>::to_vec);
    let last = writer.finish(true, <[u8]>::to_vec);
    let reader = FrameReader::new(&first).unwrap();
    assert_eq!(reader.counts(), Counts { floats: 2, histograms: 1, exemplars: 0 });
    assert!(!reader.ends_collection());
    let reader = FrameReader::new(&last).unwrap();
    assert_eq!(reader.counts(), Counts::default());
    assert!(reader.ends_collection());
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        (-1000_i64..1000).prop_map(|whole| whole as f64),
        Just(-0.0),
        Just(f64::from_bits(0x7ff0_0000_0000_0002)),
        Just(i64::MAX as f64),
    ]
}

fn histogram() -> impl Strategy<Value = NativeHistogram> {
    let spans = prop::collection::vec((any::<i32>(), any::<u32>()), 0..4);
    (prop::array::uniform4(value()), any::<i32>(), spans, prop::collection::vec(value(), 0..9))
        .prop_map(|([count, sum, zero_threshold, zero_count], schema, spans, buckets)| {
            let span = |(offset, length)| BucketSpan { offset, length };
            let spans = spans.into_iter().map(span).collect();
            NativeHistogram { count, sum, schema, zero_threshold, zero_count, spans, buckets }
        })
}

#[derive(Clone, Debug)]
enum Written {
    Float(u32, i64, f64),
    Histogram(u32, i64, NativeHistogram),
    Exemplar(u32, i64, f64, String, String),
}

fn written() -> impl Strategy<Value = Written> {
    let id = any::<u32>();
    let time = any::<i64>();
    prop_oneof![
        (id, time, value()).prop_map(|(id, time, value)| Written::Float(id, time, value)),
        (id, time, histogram()).prop_map(|(id, time, value)| Written::Histogram(id, time, value)),
        (id, time, value(), ".{0,12}", ".{0,12}").prop_map(|(id, time, value, label, trace)| {
            Written::Exemplar(id, time, value, label, trace)
        }),
    ]
}

fn write(writer: &mut FrameWriter, entry: &Written) {
    match entry {
        Written::Float(id, time, value) => writer.float(*id, *time, *value),
        Written::Histogram(id, time, value) => writer.histogram(*id, *time, value),
        Written::Exemplar(id, timestamp_ms, value, label, trace_id) => {
            let exemplar = Exemplar { label, trace_id, value: *value, timestamp_ms: *timestamp_ms };
            writer.exemplar(*id, &exemplar);
        }
    }
}

/// Bits, since a value may be NaN.
fn bits(value: &NativeHistogram) -> Vec<u64> {
    let numbers = [value.count, value.sum, value.zero_threshold, value.zero_count];
    numbers.iter().chain(&value.buckets).map(|number| number.to_bits()).collect()
}

proptest! {
    #[test]
    fn entries_come_back_to_the_bit(list in prop::collection::vec(written(), 1..20)) {
        let frame = frame(|writer| list.iter().for_each(|entry| write(writer, entry)));
        let read = entries(&frame).unwrap();
        prop_assert_eq!(read.len(), list.len());
        for (read, written) in read.iter().zip(&list) {
            match (read, written) {
                (Entry::Float { id, timestamp_ms, value }, Written::Float(i, t, v)) => {
                    prop_assert_eq!((id, timestamp_ms, value.to_bits()), (i, t, v.to_bits()));
                }
                (Entry::Histogram { id, timestamp_ms, value }, Written::Histogram(i, t, v)) => {
                    prop_assert_eq!((id, timestamp_ms, bits(value)), (i, t, bits(v)));
                    prop_assert_eq!((value.schema, &value.spans), (v.schema, &v.spans));
                }
                (
                    Entry::Exemplar { id, timestamp_ms, value, label, trace_id },
                    Written::Exemplar(i, t, v, l, c),
                ) => {
                    prop_assert_eq!((id, timestamp_ms, value.to_bits()), (i, t, v.to_bits()));
                    prop_assert_eq!((*label, *trace_id), (l.as_str(), c.as_str()));
                }
                _ => prop_assert!(false, "{:?} became {:?}", written, read),
            }
        }
    }

    #[test]
    fn damaged_frame_is_an_error_or_other_entries_and_never_a_panic(
        list in prop::collection::vec(written(), 1..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = frame(|writer| list.iter().for_each(|entry| write(writer, entry)));
        let at = at.index(frame.len());
        frame[at] = byte;
        let _ = entries(&frame);
        frame.truncate(cut.index(frame.len()));
        let _ = entries(&frame);
    }
}
