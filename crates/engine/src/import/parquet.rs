//! Parquet, a row at a time.

use std::fs::File;
use std::path::Path;

use ::parquet::{
    basic::{LogicalType, TimeUnit},
    file::{
        reader::{FileReader, SerializedFileReader},
        serialized_reader::ReadOptionsBuilder,
    },
    record::{Field, reader::RowIter},
    schema::types::Type,
};

use super::{Cell, RawRow, Table};

pub(super) struct ParquetTable {
    rows: RowIter<'static>,
    names: Vec<String>,
    /// Nanoseconds in a unit of each column that is a time; 0 for those that are none.
    units_ns: Vec<i64>,
    row: u64,
    length: u64,
}

impl ParquetTable {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let reader = SerializedFileReader::new_with_options(file, ReadOptionsBuilder::new().build())
            .map_err(|error| format!("it is not a whole Parquet file: {error}"))?;
        let metadata = reader.metadata().file_metadata();
        let length = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let schema = metadata.schema_descr().root_schema_ptr();
        let names = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        let units_ns = schema.get_fields().iter().map(|field| time_unit_ns(field)).collect();
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Self { rows, names, units_ns, row: 0, length })
    }
}

impl Table for ParquetTable {
    fn columns(&self) -> &[String] {
        &self.names
    }

    fn next_row(&mut self) -> Option<Result<RawRow, String>> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error.to_string())),
        };
        self.row += 1;
        let cells = row.get_column_iter().zip(&self.units_ns).map(|((name, field), unit)| {
            cell_of(field, *unit).ok_or_else(|| format!("'{name}' is neither a number, a text nor a time"))
        });
        Some(Ok(RawRow { number: self.row, cells: cells.collect() }))
    }

    fn progress(&self) -> (u64, u64) {
        (self.row, self.length)
    }

    fn row_word(&self) -> &'static str {
        "row"
    }

    fn may_have_decimal_commas(&self) -> bool {
        true
    }
}

fn time_unit_ns(field: &Type) -> i64 {
    use ::parquet::basic::ConvertedType;
    match field.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => match timestamp.unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1,
        },
        _ => match field.get_basic_info().converted_type() {
            ConvertedType::TIMESTAMP_MILLIS => 1_000_000,
            ConvertedType::TIMESTAMP_MICROS => 1_000,
            _ => 0,
        },
    }
}

fn cell_of(field: &Field, unit_ns: i64) -> Option<Cell> {
    Some(match field {
        Field::Null => Cell::Empty,
        Field::TimestampMillis(ticks) | Field::TimestampMicros(ticks) => {
            Cell::Time(i128::from(*ticks) * i128::from(unit_ns))
        }
        Field::Long(ticks) if unit_ns > 0 => Cell::Time(i128::from(*ticks) * i128::from(unit_ns)),
        Field::Date(days) => Cell::Time(i128::from(*days) * 86_400_000_000_000),
        Field::Str(text) => Cell::Text(text.clone()),
        Field::Bool(value) => Cell::Number(f64::from(u8::from(*value))),
        Field::Byte(value) => Cell::Number(f64::from(*value)),
        Field::Short(value) => Cell::Number(f64::from(*value)),
        Field::Int(value) => Cell::Number(f64::from(*value)),
        // As text, so that times in nanoseconds keep every digit.
        Field::Long(value) => Cell::Text(value.to_string()),
        Field::UByte(value) => Cell::Number(f64::from(*value)),
        Field::UShort(value) => Cell::Number(f64::from(*value)),
        Field::UInt(value) => Cell::Number(f64::from(*value)),
        Field::ULong(value) => Cell::Text(value.to_string()),
        Field::Float16(value) => Cell::Number(f64::from(*value)),
        Field::Float(value) => Cell::Number(f64::from(*value)),
        Field::Double(value) => Cell::Number(*value),
        _ => return None,
    })
}
