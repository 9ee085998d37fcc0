//! Parquet: the time as a timestamp (or as 64-bit nanoseconds since 1970), the tags as numbers.
//!
//! A null says that nothing was recorded at this time, so it gives no sample: files that join tags of different periods
//! are full of them. A NaN is a sample without a value.

use std::{fs::File, path::Path, sync::Arc};

use ::parquet::{
    basic::{LogicalType, TimeUnit},
    file::{
        reader::{FileReader, SerializedFileReader},
        serialized_reader::ReadOptionsBuilder,
    },
    record::{Field, reader::RowIter},
    schema::types::Type,
};
use sightglass_protocol::{Quality, TagId, UtcNanos};

use super::{Cell, Places, RawRow, Rows, SampleFileSettings, quality_of};

pub(super) struct ParquetRows {
    rows: RowIter<'static>,
    row: u64,
    /// Where the columns stand in a projected row.
    places: Places,
    time_unit_ns: i64,
    /// The names of a projected row's columns.
    names: Vec<String>,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, settings: &SampleFileSettings) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{error}; check the path in the plant file"))?;
        let reader = SerializedFileReader::new_with_options(file, ReadOptionsBuilder::new().build())
            .map_err(|error| format!("not a whole Parquet file: {error}"))?;
        let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
        let fields = schema.get_fields();
        let existing: Vec<_> = fields.iter().map(|field| field.name().to_owned()).collect();
        let mut places = Places::find(settings, &existing)?;
        let time_unit_ns = time_unit_ns(&fields[places.time()])?;
        let mut wanted: Vec<usize> = match &places {
            Places::Wide { columns, .. } => columns.iter().map(|(at, _)| *at).collect(),
            Places::Long { tag, value, quality, .. } => [*tag, *value].into_iter().chain(*quality).collect(),
        };
        wanted.push(places.time());
        wanted.sort_unstable();
        wanted.dedup();
        let projected = |at: &mut usize| *at = wanted.partition_point(|other| other < at);
        match &mut places {
            Places::Wide { time, columns } => {
                projected(time);
                columns.iter_mut().for_each(|(at, _)| projected(at));
            }
            Places::Long { time, tag, value, quality, .. } => {
                [time, tag, value].into_iter().for_each(projected);
                quality.iter_mut().for_each(projected);
            }
        }
        let projection = Type::group_type_builder(schema.name())
            .with_fields(wanted.iter().map(|at| Arc::clone(&fields[*at])).collect())
            .build()
            .map_err(|error| error.to_string())?;
        let rows = RowIter::from_file_into(Box::new(reader)).project(Some(projection)).map_err(|e| e.to_string())?;
        let names = wanted.iter().map(|at| existing[*at].clone()).collect();
        Ok(Self { rows, row: 0, places, time_unit_ns, names })
    }

    fn parse(&self, row: &::parquet::record::Row) -> Result<(UtcNanos, Vec<(TagId, Cell)>), String> {
        let fields: Vec<_> = row.get_column_iter().map(|(_, field)| field).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or(&Field::Null);
        let time = time_of(field(self.places.time()), self.time_unit_ns).ok_or("the row has no usable time")?;
        let cells = match &self.places {
            Places::Wide { columns, .. } => {
                columns.iter().map(|&(at, tag)| (tag, cell_of(field(at), &self.names[at]))).collect()
            }
            Places::Long { tag, value, quality, names, .. } => {
                let Field::Str(name) = field(*tag) else { return Err("the row names no tag".to_owned()) };
                let Some(&id) = names.get(name) else { return Ok((time, Vec::new())) };
                let quality = quality.map(|at| match field(at) {
                    Field::Str(word) => quality_of(word),
                    _ => Quality::Bad,
                });
                let cell = match (quality, field(*value)) {
                    (Some(quality), Field::Double(value)) => Cell::Recorded(*value, quality),
                    (Some(quality), Field::Null) => Cell::Recorded(f64::NAN, quality),
                    (_, other) => cell_of(other, &self.names[*value]),
                };
                vec![(id, cell)]
            }
        };
        Ok((time, cells))
    }
}

impl Rows for ParquetRows {
    fn next_row(&mut self) -> Option<Result<RawRow, String>> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error.to_string())),
        };
        self.row += 1;
        Some(Ok(RawRow { number: self.row, content: self.parse(&row) }))
    }

    fn row_word(&self) -> &'static str {
        "row"
    }
}

/// Nanoseconds in a unit of a time column; 0 for text.
fn time_unit_ns(field: &Type) -> Result<i64, String> {
    let unit = match field.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => match timestamp.unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1,
        },
        _ => match field.get_basic_info().converted_type() {
            ::parquet::basic::ConvertedType::TIMESTAMP_MILLIS => 1_000_000,
            ::parquet::basic::ConvertedType::TIMESTAMP_MICROS => 1_000,
            ::parquet::basic::ConvertedType::UTF8 => 0,
            _ if field.is_primitive() && field.get_physical_type() == ::parquet::basic::Type::INT64 => 1,
            _ => {
                return Err(format!(
                    "column '{}' holds no time; it must be a timestamp, or nanoseconds since 1970 as 64-bit integers",
                    field.name()
                ));
            }
        },
    };
    Ok(unit)
}

fn time_of(field: &Field, unit_ns: i64) -> Option<UtcNanos> {
    match field {
        Field::TimestampMillis(ticks) | Field::TimestampMicros(ticks) | Field::Long(ticks) => {
            ticks.checked_mul(unit_ns).map(UtcNanos)
        }
        Field::Str(text) => text.parse().ok(),
        _ => None,
    }
}

fn cell_of(field: &Field, column: &str) -> Cell {
    let value = match field {
        Field::Null => return Cell::Absent,
        Field::Double(value) => *value,
        Field::Float(value) => f64::from(*value),
        Field::Bool(value) => f64::from(u8::from(*value)),
        Field::Byte(value) => f64::from(*value),
        Field::Short(value) => f64::from(*value),
        Field::Int(value) => f64::from(*value),
        Field::UByte(value) => f64::from(*value),
        Field::UShort(value) => f64::from(*value),
        Field::UInt(value) => f64::from(*value),
        Field::Long(value) => *value as f64,
        Field::ULong(value) => *value as f64,
        _ => return Cell::Unusable(Quality::Bad, format!("'{column}' is not a number")),
    };
    if value.is_finite() {
        Cell::Value(value)
    } else {
        Cell::Unusable(Quality::Bad, format!("'{column}' is {value}, not a finite number"))
    }
}
