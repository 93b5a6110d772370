//! Checks that a batch is complete and consistent.

use crate::{AttributeList, SpanBatch, ValueType};

type Checked = Result<(), &'static str>;

impl SpanBatch {
    /// Checks that every column has a value for each row, that offsets ascend, and that each row, string and type that
    /// is referred to exists. A reader of such a batch never looks outside its columns. Takes one pass over the
    /// columns.
    ///
    /// Errors: what is missing. A batch that was read with a [`crate::Projection`] always lacks columns.
    pub fn check(&self) -> Result<(), &'static str> {
        self.check_tables()?;
        self.check_spans()?;
        self.check_children()
    }

    fn check_tables(&self) -> Checked {
        let (resources, scopes) = (&self.resources, &self.scopes);
        self.check_attributes(&resources.attributes, resources.dropped_attributes.len())?;
        self.check_attributes(&scopes.attributes, scopes.name.len())?;
        let count = scopes.name.len();
        ensure(
            scopes.version.len() == count && scopes.dropped_attributes.len() == count,
            "a column of scopes is missing",
        )?;
        let strings = self.strings.len();
        ensure(
            below(&scopes.name, strings) && below(&scopes.version, strings),
            "a string is missing",
        )
    }

    fn check_spans(&self) -> Checked {
        let (spans, count) = (&self.spans, self.len());
        ensure(spans.are_complete(), "a column of spans is missing")?;
        ensure(below(&spans.trace, self.traces.ids.len()), "a trace is missing")?;
        ensure(below(&spans.resource, self.resources.len()), "a resource is missing")?;
        ensure(below(&spans.scope, self.scopes.len()), "a scope is missing")?;
        let strings = self.strings.len();
        let codes = [&spans.name, &spans.status_message, &spans.trace_state];
        ensure(codes.iter().all(|codes| below(codes, strings)), "a string is missing")?;
        self.check_attributes(&self.span_attributes, count)
    }

    fn check_children(&self) -> Checked {
        let (events, links, strings) = (&self.events, &self.links, self.strings.len());
        let count = events.time.len();
        check_starts(&events.starts, self.len(), count)?;
        ensure(
            events.name.len() == count && events.dropped_attributes.len() == count,
            "a column of events is missing",
        )?;
        self.check_attributes(&events.attributes, count)?;
        let count = links.trace_id.len();
        check_starts(&links.starts, self.len(), count)?;
        let lengths =
            [links.span_id.len(), links.trace_state.len(), links.dropped_attributes.len()];
        ensure(lengths.iter().all(|&length| length == count), "a column of links is missing")?;
        self.check_attributes(&links.attributes, count)?;
        ensure(
            below(&events.name, strings) && below(&links.trace_state, strings),
            "a string is missing",
        )
    }

    fn check_attributes(&self, list: &AttributeList, owners: usize) -> Checked {
        let count = list.keys.len();
        check_starts(&list.starts, owners, count)?;
        ensure(
            list.types.len() == count && list.payloads.len() == count,
            "a column of attributes is missing",
        )?;
        let strings = self.strings.len();
        let mut holds_code = [false; 256];
        for byte in 0..=u8::MAX {
            holds_code[usize::from(byte)] =
                ValueType::from_u8(byte).is_some_and(ValueType::holds_code);
        }
        let last_type = ValueType::Other as u8;
        let mut values = list.types.iter().zip(list.payloads.iter());
        let fits = values.all(|(&value_type, &payload)| {
            value_type <= last_type
                && (!holds_code[usize::from(value_type)] || payload < strings as u64)
        });
        ensure(fits && below(&list.keys, strings), "a string is missing")
    }
}

fn ensure(holds: bool, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(what) }
}

fn below(rows: &[u32], limit: usize) -> bool {
    rows.iter().max().is_none_or(|&row| (row as usize) < limit)
}

fn check_starts(starts: &[u32], owners: usize, entries: usize) -> Checked {
    let fits = starts.len() == owners + 1
        && starts.first() == Some(&0)
        && starts.last().is_some_and(|&end| end as usize == entries)
        && starts.is_sorted();
    ensure(fits, "offsets do not fit")
}
