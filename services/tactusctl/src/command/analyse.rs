//! `analyse`: shows which attributes take the most space among the generic ones.

mod count;
mod recommend;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use tactus_block::read::{BlockReader, open_stored};
use tactus_model::{AttributeSelection, Projection};
use tactus_storage::meta::BlockVersion;
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::output::{Output, Table, format};
use crate::{arguments, bucket, building, progress};
use count::{Counts, Scope};
use recommend::Column;

const KEY_WIDTH: usize = 48;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Analysis {
    /// Blocks looked at.
    blocks: Vec<Uuid>,
    /// Blocks that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Uuid>,
    row_groups: usize,
    traces: u64,
    spans: u64,
    /// The largest attributes of each scope.
    attributes: Vec<Attribute>,
    /// Version that the columns are for.
    version: String,
    /// Columns to configure: the existing ones that are used, then new ones.
    recommended: Vec<Column>,
    /// The same as configuration.
    yaml: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attribute {
    scope: Scope,
    key: String,
    /// `string`, `int`, `double`, `bool` or `other`: the type of most values.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `generic`, `dedicated` or `fixed`: the kind of its column.
    column: &'static str,
    /// Owners that have it.
    count: u64,
    /// Distinct values, counted separately in every row group.
    distinct: u64,
    /// Bytes before compression: each value once per row group, and a code for each use.
    bytes: u64,
    /// Percent of the bytes of all attributes of the scope that are in generic columns; 0 for others.
    share_percent: f64,
}

pub(super) async fn run(
    bucket: &Bucket,
    command: &arguments::Analyse,
    output: &Output,
) -> Result<()> {
    let metas = match command.block {
        Some(id) => vec![bucket::find_meta(bucket, &command.tenant, id).await?.0],
        None => newest(bucket, command).await?,
    };
    let Some(newest) = metas.first() else {
        return Err(Error::NotFound(format!("tenant {} has no block", command.tenant)));
    };
    let version = building::written(command.version.map_or_else(|| newest.version(), Ok)?);
    let configured = newest.dedicated_columns.to_vec();
    let bar = progress::bar("reading row groups", 0);
    let (mut counts, mut unreadable) = (Counts::default(), Vec::new());
    for meta in &metas {
        let (bucket, meta, most, bar) =
            (bucket.clone(), meta.clone(), command.row_groups.max(1), bar.clone());
        let id = meta.block_id;
        let counting = tokio::task::spawn_blocking(move || {
            let counted = open_stored(&bucket, &meta, &Handle::current())
                .and_then(|reader| count_block(&meta, &reader, most, &mut counts, &bar));
            (counts, counted)
        });
        let (so_far, counted) = counting.await.map_err(Error::thread)?;
        counts = so_far;
        match counted.map_err(|error| Error::block(id, error)) {
            Ok(()) => {}
            Err(error) if error.is_retryable() || unreadable.len() + 1 == metas.len() => {
                return Err(error);
            }
            Err(_) => unreadable.push(id),
        }
    }
    bar.finish_and_clear();
    let attributes = attributes(&counts);
    let recommended = recommend::columns(&attributes, &configured, version);
    let ids = metas.iter().map(|meta| meta.block_id);
    let analysis = Analysis {
        blocks: ids.filter(|id| !unreadable.contains(id)).collect(),
        unreadable,
        row_groups: counts.row_groups,
        traces: counts.traces,
        spans: counts.spans,
        attributes: largest(attributes, command.limit),
        version: version.to_string(),
        yaml: recommend::yaml(&recommended, version),
        recommended,
    };
    output.show(&analysis, || text(&analysis))
}

async fn newest(bucket: &Bucket, command: &arguments::Analyse) -> Result<Vec<BlockMeta>> {
    let blocks = bucket::blocks(bucket, &command.tenant).await?;
    let mut metas: Vec<_> = blocks.live.iter().map(|meta| meta.as_ref().clone()).collect();
    metas.retain(|meta| meta.size > 0 && meta.version().is_ok());
    metas.sort_by_key(|meta| Reverse((meta.end_time, meta.block_id)));
    metas.truncate(command.blocks.max(1));
    Ok(metas)
}

/// Adds a sample of row groups, evenly spread over the block.
fn count_block(
    meta: &BlockMeta,
    reader: &BlockReader,
    most: usize,
    counts: &mut Counts,
    bar: &indicatif::ProgressBar,
) -> tactus_block::Result<()> {
    let all = reader.row_groups().len();
    let chosen = most.min(all);
    bar.inc_length(chosen as u64);
    let projection = Projection {
        span_attributes: AttributeSelection::All,
        resource_attributes: AttributeSelection::All,
        scope_attributes: AttributeSelection::All,
        events: true,
        event_attributes: AttributeSelection::All,
        links: true,
        link_attributes: AttributeSelection::All,
        ..Projection::default()
    };
    for number in 0..chosen {
        let batch = reader.read_row_group(number * all / chosen, &projection)?;
        counts.add(&batch, meta);
        bar.inc(1);
    }
    Ok(())
}

/// Every attribute, the largest generic ones of each scope first.
fn attributes(counts: &Counts) -> Vec<Attribute> {
    let mut totals: BTreeMap<Scope, u64> = BTreeMap::new();
    for ((scope, _), count) in &counts.attributes {
        if count.is_generic() {
            *totals.entry(*scope).or_default() += count.bytes;
        }
    }
    let mut attributes: Vec<_> = counts
        .attributes
        .iter()
        .map(|((scope, key), count)| Attribute {
            scope: *scope,
            key: String::from_utf8_lossy(key).into_owned(),
            kind: count.kind(),
            column: count.column.as_str(),
            count: count.uses,
            distinct: count.distinct,
            bytes: count.bytes,
            share_percent: match totals.get(scope) {
                Some(&total) if count.is_generic() && total > 0 => {
                    (count.bytes as f64 * 1000.0 / total as f64).round() / 10.0
                }
                _ => 0.0,
            },
        })
        .collect();
    attributes.sort_by(|one, other| {
        let rank = |attribute: &Attribute| {
            (attribute.scope, attribute.column != "generic", Reverse(attribute.bytes))
        };
        rank(one).cmp(&rank(other)).then_with(|| one.key.cmp(&other.key))
    });
    attributes
}

/// The first of each scope.
fn largest(attributes: Vec<Attribute>, limit: usize) -> Vec<Attribute> {
    let mut shown: BTreeMap<Scope, usize> = BTreeMap::new();
    let mut kept = attributes;
    kept.retain(|attribute| {
        let count = shown.entry(attribute.scope).or_default();
        *count += 1;
        *count <= limit
    });
    kept
}

fn text(analysis: &Analysis) -> String {
    let share = |attribute: &Attribute| match attribute.column {
        "generic" => format!("{:.1} %", attribute.share_percent),
        _ => "-".to_owned(),
    };
    let lines = Table::of(&analysis.attributes)
        .left("SCOPE", |it| it.scope.as_str().to_owned())
        .left("ATTRIBUTE", |it| format::cut(&format::clean(&it.key), KEY_WIDTH))
        .left("TYPE", |it| it.kind.to_owned())
        .left("COLUMN", |it| it.column.to_owned())
        .right("USES", |it| it.count.to_string())
        .right("DISTINCT", |it| it.distinct.to_string())
        .right("BYTES", |it| format::bytes(it.bytes))
        .right("SHARE", |it| share(it))
        .render();
    let unreadable = match &analysis.unreadable[..] {
        [] => String::new(),
        blocks => {
            let count = format::counted(blocks.len(), "block");
            format!("{count} cannot be read (see verify): {}\n", format::names(blocks))
        }
    };
    format!(
        "{lines}{unreadable}blocks: {}  row groups: {}  traces: {}  spans: {}\n\n{}",
        analysis.blocks.len(),
        analysis.row_groups,
        analysis.traces,
        analysis.spans,
        analysis.yaml
    )
}

/// True for a version that has a column for integers, events and options.
fn is_newest(version: BlockVersion) -> bool {
    version >= BlockVersion::VParquet5
}
