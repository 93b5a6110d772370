use super::*;

#[test]
fn explore() {
    for version in VERSIONS {
        let sample = load(version);
        let reader = sample.open();
        println!("{reader:?} {:?}", reader.row_groups());
        for group in reader.file.metadata.row_groups().iter().take(1) {
            for chunk in group.columns() {
                println!("{} {:?} {:?} stats {:?} mask {:?} dict {:?}", chunk.column_path(), chunk.compression(), chunk.encodings().collect::<Vec<_>>(), chunk.statistics().map(|s| (s.null_count_opt(), s.is_min_max_deprecated(), s.min_is_exact())), chunk.page_encoding_stats_mask(), chunk.dictionary_page_offset());
            }
        }
        let mut spans = 0;
        for group in 0..reader.row_groups().len() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            spans += batch.len();
            for span in 0..batch.len().min(5) {
                println!("{:?} {:?} {}", batch.traces.ids[batch.spans.trace[span] as usize], batch.spans.span_id[span], batch.strings.display(batch.spans.name[span]));
                println!("   {:?}", shown(&batch, &batch.span_attributes, span));
                println!("   {:?}", shown(&batch, &batch.resources.attributes, batch.spans.resource[span] as usize));
                println!("   {:?}", shown(&batch, &batch.scopes.attributes, batch.spans.scope[span] as usize));
            }
        }
        println!("{spans}");
    }
}
