//! A sheet as a Parquet file: one row group, plain typed columns, for programs that analyse. Amounts are whole minor units,
//! as in JSON, with the currency beside them; nothing is rounded.

use std::sync::Arc;

use ::parquet::{
    basic::{LogicalType, Repetition, TimeUnit, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::Type,
};

use super::{Cell, Kind, Sheet, xlsx::days};

impl Sheet {
    /// As a Parquet file. Columns are required, but for times, which may be unknown.
    pub(super) fn parquet(&self) -> anyhow::Result<Vec<u8>> {
        let columns = self.columns.iter().map(|(name, kind)| column(name, *kind));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder(self.name).with_fields(columns).build()?;
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties)?;
        if !self.rows.is_empty() {
            let mut group = writer.next_row_group()?;
            for (place, (_, kind)) in self.columns.iter().enumerate() {
                let cells: Vec<&Cell> = self.rows.iter().filter_map(|row| row.get(place)).collect();
                let mut column = group.next_column()?.ok_or_else(|| missing(place))?;
                fill(&mut column, *kind, &cells)?;
                column.close()?;
            }
            group.close()?;
        }
        Ok(writer.into_inner()?)
    }
}

fn missing(place: usize) -> ParquetError {
    ParquetError::General(format!("the file has no column {place}"))
}

/// A column's name and type; amounts are named as in JSON.
fn column(name: &str, kind: Kind) -> Result<Arc<Type>, ParquetError> {
    let name = if kind == Kind::Money { format!("{name}_minor") } else { name.to_owned() };
    let (physical, logical) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::DOUBLE, None),
        Kind::Count | Kind::Money => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Kind::Day => (Physical::INT32, Some(LogicalType::Date)),
    };
    let repetition = if kind == Kind::Time { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let column = Type::primitive_type_builder(&name, physical);
    Ok(Arc::new(column.with_repetition(repetition).with_logical_type(logical).build()?))
}

/// Writes the cells of a column; each is of its kind, which [`Sheet::push`] holds.
fn fill(column: &mut SerializedColumnWriter<'_>, kind: Kind, cells: &[&Cell]) -> Result<(), ParquetError> {
    match kind {
        Kind::Text => {
            let texts = cells.iter().filter_map(|cell| match cell {
                Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                _ => None,
            });
            column.typed::<ByteArrayType>().write_batch(&texts.collect::<Vec<_>>(), None, None)?;
        }
        Kind::Number => {
            let numbers = cells.iter().filter_map(|cell| match cell {
                Cell::Number(number) => Some(*number),
                _ => None,
            });
            column.typed::<DoubleType>().write_batch(&numbers.collect::<Vec<_>>(), None, None)?;
        }
        Kind::Day => {
            let numbers = cells.iter().filter_map(|cell| match cell {
                Cell::Day(day) => Some(days(*day)),
                _ => None,
            });
            column.typed::<Int32Type>().write_batch(&numbers.collect::<Vec<_>>(), None, None)?;
        }
        Kind::Count | Kind::Money => {
            let numbers: Vec<i64> = cells.iter().filter_map(|cell| whole(cell)).collect();
            column.typed::<Int64Type>().write_batch(&numbers, None, None)?;
        }
        Kind::Time => {
            let known: Vec<i64> = cells.iter().filter_map(|cell| whole(cell)).collect();
            let levels: Vec<i16> = cells.iter().map(|cell| i16::from(whole(cell).is_some())).collect();
            column.typed::<Int64Type>().write_batch(&known, Some(&levels), None)?;
        }
    }
    Ok(())
}

fn whole(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Count(number) | Cell::Money(number) => Some(*number),
        Cell::Time(time) => time.map(|time| time.seconds * 1_000 + i64::from(time.nanos / 1_000_000)),
        Cell::Text(_) | Cell::Number(_) | Cell::Day(_) => None,
    }
}
