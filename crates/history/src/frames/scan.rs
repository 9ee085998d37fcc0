//! Samples as a lazy table: nothing is read before it is collected, and then only the time, tags and columns that the
//! question needs.

use std::{any::Any, sync::Arc, thread};

use polars::{
    lazy::dsl::Operator,
    prelude::{AnonymousScan, AnonymousScanArgs, ScanArgsAnonymous, *},
};
use sightglass_protocol::{TagId, UtcNanos};
use tokio::runtime::Handle;

use super::{time_column, time_type};
use crate::{chunk::Row, error::HistoryError, open::History, steps::checked};

/// The source of one table: some tags over some time.
struct Samples {
    history: History,
    runtime: Handle,
    /// The file's id and the name in column `tag`.
    tags: Vec<(i64, String)>,
    from: i64,
    to: i64,
    schema: SchemaRef,
}

/// [`History::raw`] of one tag as a lazy frame: `time` (UTC nanoseconds, sorted) and `value`, null where it is not usable:
/// never a number that could be taken for one. Filters on `time` and choices of columns reach down to what is read.
///
/// # Errors
/// An unknown tag, a range upside down. What cannot be read is an error of `collect`.
pub async fn samples_frame(
    history: &History,
    tag: TagId,
    from: UtcNanos,
    to: UtcNanos,
) -> Result<LazyFrame, HistoryError> {
    scan(history, &[tag], from, to, &["time", "value"])
}

/// Samples of several tags as one lazy frame: `tag` (its name), `time`, `value` as in [`samples_frame`], one tag after the
/// other. Filters on `tag` (by `eq`), `time` and choices of columns reach down to what is read.
///
/// # Errors
/// As [`samples_frame`].
pub async fn tags_frame(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    to: UtcNanos,
) -> Result<LazyFrame, HistoryError> {
    scan(history, tags, from, to, &["tag", "time", "value"])
}

fn scan(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    to: UtcNanos,
    columns: &[&str],
) -> Result<LazyFrame, HistoryError> {
    let (from, to) = checked(from, to)?;
    let named = |&tag: &TagId| Ok((history.file_tag(tag)?, history.inner.plant.tags[tag.index()].name.clone()));
    let tags = tags.iter().map(named).collect::<Result<Vec<_>, HistoryError>>()?;
    let field = |&name: &&str| {
        let kind = match name {
            "tag" => DataType::String,
            "time" => time_type(),
            _ => DataType::Float64,
        };
        Field::new(name.into(), kind)
    };
    let schema: SchemaRef = Arc::new(columns.iter().map(field).collect());
    let source =
        Samples { history: history.clone(), runtime: Handle::current(), tags, from, to, schema: Arc::clone(&schema) };
    let options = ScanArgsAnonymous { schema: Some(schema), name: "SAMPLES", ..Default::default() };
    LazyFrame::anonymous_scan(Arc::new(source), options).map_err(super::frame_error("make a table of samples"))
}

impl AnonymousScan for Samples {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self, _infer_schema_length: Option<usize>) -> PolarsResult<SchemaRef> {
        Ok(Arc::clone(&self.schema))
    }

    fn allows_predicate_pushdown(&self) -> bool {
        true
    }

    fn allows_projection_pushdown(&self) -> bool {
        true
    }

    fn scan(&self, options: AnonymousScanArgs) -> PolarsResult<DataFrame> {
        let mut wanted = Wanted { from: self.from, to: self.to, tag: None };
        if let Some(predicate) = &options.predicate {
            wanted.narrow(predicate);
        }
        let columns: Vec<PlSmallStr> = match &options.with_columns {
            Some(columns) => columns.to_vec(),
            None => self.schema.iter_names().cloned().collect(),
        };
        // What the predicate looks at is read as well, and left out of the answer.
        let is_read = |name: &str| options.predicate.is_some() || columns.iter().any(|column| column == name);
        let mut parts = Parts::new(&self.schema, &is_read);
        let rows_max = options.n_rows.filter(|_| options.predicate.is_none()).unwrap_or(usize::MAX);
        for (tag, name) in &self.tags {
            if wanted.tag.as_ref().is_none_or(|wanted| wanted == name) && wanted.from <= wanted.to {
                self.read(*tag, name, &wanted, &mut parts, rows_max)?;
            }
        }
        let mut frame = parts.frame()?;
        if let Some(predicate) = options.predicate {
            frame = frame.lazy().filter(predicate).collect()?;
        }
        let frame = frame.select(columns)?;
        Ok(options.n_rows.map_or_else(|| frame.clone(), |rows| frame.head(Some(rows))))
    }
}

impl Samples {
    /// Reads one tag page by page, so that beside the answer only a page is in memory.
    fn read(&self, tag: i64, name: &str, wanted: &Wanted, parts: &mut Parts, rows_max: usize) -> PolarsResult<()> {
        let mut pages = self.history.pages(vec![tag], UtcNanos(wanted.from), UtcNanos(wanted.to));
        while parts.rows < rows_max {
            // polars asks on threads of its own, or on one of the runtime's, which must not wait for itself.
            let page = thread::scope(|scope| scope.spawn(|| self.runtime.block_on(pages.next_rows())).join());
            let page = page.map_err(|_| polars_err!(ComputeError: "reading samples ended unexpectedly"))?;
            let page = page.map_err(|error| polars_err!(ComputeError: "{error}"))?;
            let Some(page) = page else { break };
            page.iter().for_each(|(_, rows)| parts.put(name, rows));
        }
        Ok(())
    }
}

/// The columns of the answer, as they grow.
struct Parts {
    rows: usize,
    names: Option<Vec<(String, usize)>>,
    times: Option<Vec<i64>>,
    values: Option<Vec<Option<f64>>>,
}

impl Parts {
    fn new(schema: &Schema, is_read: &dyn Fn(&str) -> bool) -> Self {
        let has = |name: &str| schema.contains(name) && is_read(name);
        Self {
            rows: 0,
            names: has("tag").then(Vec::new),
            times: has("time").then(Vec::new),
            values: has("value").then(Vec::new),
        }
    }

    fn put(&mut self, name: &str, rows: &[Row]) {
        self.rows += rows.len();
        if let Some(names) = &mut self.names {
            match names.last_mut() {
                Some((last, count)) if last == name => *count += rows.len(),
                _ => names.push((name.to_owned(), rows.len())),
            }
        }
        if let Some(times) = &mut self.times {
            times.extend(rows.iter().map(|row| row.time));
        }
        if let Some(values) = &mut self.values {
            values.extend(rows.iter().map(usable));
        }
    }

    fn frame(self) -> PolarsResult<DataFrame> {
        let mut columns = Vec::with_capacity(3);
        if let Some(names) = self.names {
            let names = names.iter().flat_map(|(name, count)| std::iter::repeat_n(name.as_str(), *count));
            columns.push(StringChunked::from_iter_values("tag".into(), names).into_column());
        }
        if let Some(times) = self.times {
            columns.push(time_column(times)?);
        }
        if let Some(values) = self.values {
            columns.push(Column::new("value".into(), values));
        }
        DataFrame::new(self.rows, columns)
    }
}

/// A value that may be computed with.
pub(super) fn usable(row: &Row) -> Option<f64> {
    (row.quality().is_usable() && !row.value.is_nan()).then_some(row.value)
}

/// What a predicate leaves to be read: never less than it lets through.
struct Wanted {
    from: i64,
    to: i64,
    tag: Option<String>,
}

impl Wanted {
    fn narrow(&mut self, predicate: &Expr) {
        let Expr::BinaryExpr { left, op, right } = predicate else { return };
        match op {
            Operator::And | Operator::LogicalAnd => {
                self.narrow(left);
                self.narrow(right);
            }
            _ => {
                if let Some(column) = column(left) {
                    self.compare(column, *op, right);
                } else if let (Some(column), Some(op)) = (column(right), mirrored(*op)) {
                    self.compare(column, op, left);
                }
            }
        }
    }

    fn compare(&mut self, column: &str, op: Operator, literal: &Expr) {
        match (column, op) {
            ("tag", Operator::Eq) => {
                if let Some(name) = text(literal) {
                    self.tag = Some(name);
                }
            }
            ("time", op) => {
                let Some(time) = nanos(literal) else { return };
                match op {
                    Operator::Gt | Operator::GtEq => self.from = self.from.max(time),
                    Operator::Lt | Operator::LtEq => self.to = self.to.min(time),
                    Operator::Eq => (self.from, self.to) = (self.from.max(time), self.to.min(time)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn column(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Column(name) => Some(name.as_str()),
        // `time` in other words is still its nanoseconds only as an integer; other casts may round.
        Expr::Cast { expr, dtype: DataTypeExpr::Literal(DataType::Int64), .. } => column(expr),
        _ => None,
    }
}

const fn mirrored(op: Operator) -> Option<Operator> {
    Some(match op {
        Operator::Gt => Operator::Lt,
        Operator::GtEq => Operator::LtEq,
        Operator::Lt => Operator::Gt,
        Operator::LtEq => Operator::GtEq,
        Operator::Eq => Operator::Eq,
        _ => return None,
    })
}

/// A literal as UTC nanoseconds.
fn nanos(literal: &Expr) -> Option<i64> {
    match literal {
        Expr::Cast { expr, .. } => nanos(expr),
        Expr::Literal(value) => match value.to_any_value()? {
            AnyValue::Int32(value) => Some(value.into()),
            AnyValue::Int64(value) => Some(value),
            AnyValue::Int128(value) => i64::try_from(value).ok(),
            AnyValue::Datetime(value, unit, _) | AnyValue::DatetimeOwned(value, unit, _) => match unit {
                TimeUnit::Nanoseconds => Some(value),
                TimeUnit::Microseconds => value.checked_mul(1_000),
                TimeUnit::Milliseconds => value.checked_mul(1_000_000),
            },
            _ => None,
        },
        _ => None,
    }
}

fn text(literal: &Expr) -> Option<String> {
    let Expr::Literal(value) = literal else { return None };
    match value.to_any_value()? {
        AnyValue::String(text) => Some(text.to_owned()),
        AnyValue::StringOwned(text) => Some(text.to_string()),
        _ => None,
    }
}
