use proptest::prelude::*;
use tactus_storage::meta::BlockVersion;

use super::*;

use crate::schema::Schema;
use crate::schema::leaf::Leaves;

/// Statistics of a column of the vParquet4 schema.
fn statistics_of(leaf: impl Fn(&Leaves) -> usize) -> ChunkStatistics {
    let schema = Schema::new(BlockVersion::VParquet4, &[]).unwrap();
    ChunkStatistics::new(&schema.descriptor().column(leaf(&schema.leaves)), true)
}

fn chunk(leaf: impl Fn(&Leaves) -> usize, pages: &[Bounds]) -> (Statistics, ColumnIndexMetaData) {
    let mut statistics = statistics_of(leaf);
    for bounds in pages {
        statistics.page(bounds.clone(), 0, 0);
    }
    let (statistics, index) = statistics.finish().unwrap();
    (statistics, index.unwrap())
}

fn pair(low: &[u8], high: &[u8]) -> Bounds {
    Some((low.to_vec(), high.to_vec()))
}

#[test]
fn unsigned_columns_compare_unsigned() {
    let values = [-1, 1, i64::MIN];
    let bounds = Order::Int64 { unsigned: true }.of_integers(&values);
    assert_eq!(bounds, pair(&1i64.to_le_bytes(), &(-1i64).to_le_bytes()));
    let bounds = Order::Int64 { unsigned: false }.of_integers(&values);
    assert_eq!(bounds, pair(&i64::MIN.to_le_bytes(), &1i64.to_le_bytes()));
    let bounds = Order::Int32 { unsigned: true }.of_integers(&[-1, 5]);
    assert_eq!(bounds, pair(&5i32.to_le_bytes(), &(-1i32).to_le_bytes()));
    assert_eq!(Order::Int32 { unsigned: true }.of_integers(&[]), None);

    let (statistics, index) = chunk(
        |leaves| leaves.trace_start,
        &[
            pair(&1u64.to_le_bytes(), &2u64.to_le_bytes()),
            pair(&3u64.to_le_bytes(), &u64::MAX.to_le_bytes()),
        ],
    );
    let Statistics::Int64(statistics) = statistics else { panic!("{statistics:?}") };
    assert_eq!((statistics.min_opt(), statistics.max_opt()), (Some(&1), Some(&-1)));
    assert_eq!(index.get_boundary_order(), Some(BoundaryOrder::ASCENDING));
}

#[test]
fn nan_is_no_bound_unless_alone() {
    let bytes = |low: f64, high: f64| pair(&low.to_le_bytes(), &high.to_le_bytes());
    assert_eq!(of_doubles(&[2.0, f64::NAN, -0.0, 0.0]), (bytes(-0.0, 2.0), 1));
    assert_eq!(of_doubles(&[f64::NAN]), (bytes(f64::NAN, f64::NAN), 1));
    assert_eq!(of_doubles(&[]), (None, 0));
}

#[test]
fn booleans_have_both_bounds() {
    assert_eq!(of_booleans(&[0, 1]), pair(&[0], &[1]));
    assert_eq!(of_booleans(&[1, 1]), pair(&[1], &[1]));
    assert_eq!(of_booleans(&[0]), pair(&[0], &[0]));
    assert_eq!(of_booleans(&[]), None);
}

#[test]
fn long_strings_are_cut_between_characters() {
    let statistics = statistics_of(|leaves| leaves.span_name);
    let long = "0123456789abcdeä and more".as_bytes();
    assert_eq!(statistics.cut_low(long), (b"0123456789abcde".to_vec(), false));
    assert_eq!(statistics.cut_high(long), (b"0123456789abcdf".to_vec(), false));
    assert_eq!(statistics.cut_high(b"short"), (b"short".to_vec(), true));
    assert_eq!(statistics.cut_high(&[0xff; 20]), (vec![0xff; 20], true));
}

proptest! {
    #[test]
    fn cut_bounds_enclose_the_value(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "\\PC{0,20}".prop_map(String::into_bytes),
            prop::collection::vec(0xfdu8.., 0..40),
        ],
        is_text in any::<bool>(),
    ) {
        let leaf = |leaves: &Leaves| if is_text { leaves.span_name } else { leaves.trace_id };
        let statistics = statistics_of(leaf);
        let (low, low_exact) = statistics.cut_low(&value);
        let (high, high_exact) = statistics.cut_high(&value);
        prop_assert!(low <= value && value <= high);
        prop_assert_eq!(low_exact, low == value);
        prop_assert_eq!(high_exact, high == value);
        prop_assert!(low.len() <= MAX_BYTES);
        if is_text && std::str::from_utf8(&value).is_ok() {
            prop_assert!(std::str::from_utf8(&low).is_ok() && std::str::from_utf8(&high).is_ok());
        }
    }

    #[test]
    fn found_bounds_are_those_of_a_sorted_copy(values in prop::collection::vec(prop::collection::vec(0u8..3, 0..12), 1..20)) {
        let mut bounds = BytesBounds::default();
        values.iter().for_each(|value| bounds.add(value));
        let (low, high) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        prop_assert_eq!(bounds.finish(), pair(low, high));
    }
}
