//! Rows from one SQLite file to another, whatever their columns: for backups and repairs.

use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, TypeInfo as _, ValueRef as _,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnection, SqliteRow},
};

use crate::verify::Table;

/// A stored value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    fn of(row: &SqliteRow, index: usize) -> Result<Self, sqlx::Error> {
        let raw = row.try_get_raw(index)?;
        if raw.is_null() {
            return Ok(Self::Null);
        }
        let kind = raw.type_info().name().to_owned();
        Ok(match kind.as_str() {
            "INTEGER" => Self::Int(row.try_get_unchecked(index)?),
            "REAL" => Self::Real(row.try_get_unchecked(index)?),
            "TEXT" => Self::Text(row.try_get_unchecked(index)?),
            _ => Self::Blob(row.try_get_unchecked(index)?),
        })
    }

    /// Roughly what it takes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Null | Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len() as u64,
            Self::Blob(body) => body.len() as u64,
        }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }
}

/// The values of a row; an error where a text is none.
pub(crate) fn values(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    (0..row.len()).map(|index| Value::of(row, index)).collect()
}

/// How the rows of a table are read and written.
#[derive(Clone, Debug)]
pub(crate) struct Copying {
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    /// Columns of the target, the key first; for a table with checksums, in the order in which its rows are looked at.
    pub(crate) columns: Vec<String>,
    /// What is read of the source for each.
    sources: Vec<String>,
}

impl Copying {
    /// Of a table with checksums, from a file with `schema`. A column that only the target has stays empty.
    pub(crate) async fn checked(
        source: &mut SqliteConnection,
        target: &mut SqliteConnection,
        table: &Table,
        schema: i64,
    ) -> Result<Self, sqlx::Error> {
        let split = |columns: &str| columns.split(", ").map(str::to_owned).collect::<Vec<_>>();
        let (mut columns, mut sources) = (split(table.columns), split(table.columns(schema)));
        for more in shared(source, target, table.name).await? {
            if !columns.contains(&more) {
                columns.push(more.clone());
                sources.push(more);
            }
        }
        Ok(Self { table: table.name, key: table.key, columns, sources })
    }

    /// Of a small table, whose key is its first column.
    pub(crate) async fn small(
        source: &mut SqliteConnection,
        target: &mut SqliteConnection,
        table: &'static str,
        key: &'static str,
    ) -> Result<Self, sqlx::Error> {
        let columns = shared(source, target, table).await?;
        Ok(Self { table, key, sources: columns.clone(), columns })
    }

    /// `SELECT … FROM …`, to be gone on with.
    pub(crate) fn select(&self) -> String {
        format!("SELECT {} FROM {} ", self.sources.join(", "), self.table)
    }

    /// Writes a row; `verb` is `INSERT`, `INSERT OR IGNORE` or `INSERT OR REPLACE`. Returns how many were written.
    pub(crate) async fn insert(
        &self,
        target: &mut SqliteConnection,
        verb: &str,
        row: &[Value],
    ) -> Result<u64, sqlx::Error> {
        self.write(target, verb, "", row).await
    }

    /// Writes a row, or brings the one that has its key up to date.
    pub(crate) async fn upsert(&self, target: &mut SqliteConnection, row: &[Value]) -> Result<(), sqlx::Error> {
        let key = self.key;
        let set: Vec<String> = self.columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        let conflict = format!("ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "));
        self.write(target, "INSERT", &conflict, row).await.map(|_| ())
    }

    async fn write(
        &self,
        target: &mut SqliteConnection,
        verb: &str,
        conflict: &str,
        row: &[Value],
    ) -> Result<u64, sqlx::Error> {
        let places: Vec<String> = (1..=self.columns.len()).map(|place| format!("?{place}")).collect();
        let (table, columns) = (self.table, self.columns.join(", "));
        let sql = format!("{verb} INTO {table} ({columns}) VALUES ({}) {conflict}", places.join(", "));
        let query = row.iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
        Ok(query.execute(target).await?.rows_affected())
    }

    /// The place of a column.
    pub(crate) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }
}

fn bind<'q>(query: Query<'q, Sqlite, SqliteArguments>, value: &Value) -> Query<'q, Sqlite, SqliteArguments> {
    match value {
        Value::Null => query.bind(None::<i64>),
        Value::Int(value) => query.bind(*value),
        Value::Real(value) => query.bind(*value),
        Value::Text(value) => query.bind(value.clone()),
        Value::Blob(value) => query.bind(value.clone()),
    }
}

/// Columns that both files have, in the target's order.
async fn shared(
    source: &mut SqliteConnection,
    target: &mut SqliteConnection,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let known = columns(source, table).await?;
    Ok(columns(target, table).await?.into_iter().filter(|name| known.contains(name)).collect())
}

async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)").bind(table).fetch_all(connection).await
}

/// Makes numbers go on above all that were ever given: AUTOINCREMENT's memory.
pub(crate) async fn copy_sequences(source: &[(String, i64)], target: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for (name, seq) in source {
        let known = sqlx::query("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1")
            .bind(name)
            .bind(seq)
            .execute(&mut *target)
            .await?
            .rows_affected();
        if known == 0 {
            sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)")
                .bind(name)
                .bind(seq)
                .execute(&mut *target)
                .await?;
        }
    }
    Ok(())
}
