//! Stretches of time in which the recorder itself could not record, and why: so that a gap is explained and not only
//! seen.

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    codec::row_crc,
    error::HistoryError,
    events::{EntryClass, chain},
    fields::{self, Fields},
    open::History,
    steps::checked,
    writer::Durability,
};

/// Why the recorder could not record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutageKind {
    /// The engine did not run.
    EngineStopped,
    /// The disk had no space left.
    DiskFull,
    /// The data folder was gone or could not be written.
    FolderAway,
}

impl OutageKind {
    const ALL: [Self; 3] = [Self::EngineStopped, Self::DiskFull, Self::FolderAway];

    /// As it is stored and read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::EngineStopped => "engine stopped",
            Self::DiskFull => "disk full",
            Self::FolderAway => "folder away",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One stretch in which nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// Why, in one word.
    pub kind: OutageKind,
    /// The last moment that was recorded before.
    pub from: UtcNanos,
    /// The first moment that was recorded again; `None` while it lasts.
    pub to: Option<UtcNanos>,
    /// Why, for the reader.
    pub reason: String,
}

/// A stored outage, for [`History::close_outage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutageId(i64);

/// The outage of a row `id, kind, from_time, to_time, reason, crc`, once its checksum holds.
pub(crate) fn outage_of(row: Fields<'_>) -> Result<(OutageId, Outage), String> {
    let (id, word) = (row.int(0)?, row.text(1)?);
    let (from, to, reason) = (row.int(2)?, row.maybe_int(3)?, row.text(4)?);
    if outage_crc(id, word, from, to, reason) != row.int(5)? {
        return Err("its checksum does not match".to_owned());
    }
    let kind = OutageKind::of(word).ok_or("its kind does not exist")?;
    let (from, to) = (UtcNanos(from), to.map(UtcNanos));
    Ok((OutageId(id), Outage { kind, from, to, reason: reason.to_owned() }))
}

/// As [`outage_of`].
///
/// # Errors
/// [`HistoryError::Damaged`].
pub(crate) fn from_row(row: &SqliteRow) -> Result<(OutageId, Outage), HistoryError> {
    fields::read("outage", row, outage_of)
}

fn stored_crc(id: i64, outage: &Outage) -> i64 {
    outage_crc(id, outage.kind.word(), outage.from.0, outage.to.map(|to| to.0), &outage.reason)
}

/// `outage.crc`.
pub(crate) fn outage_crc(id: i64, kind: &str, from: i64, to: Option<i64>, reason: &str) -> i64 {
    let keys = [id, from, i64::from(to.is_some()), to.unwrap_or(0)];
    row_crc(&keys, &[kind.as_bytes(), &[0], reason.as_bytes()])
}

/// Adds an outage and its event within a transaction of the caller's.
pub(crate) async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    outage: &Outage,
) -> Result<OutageId, sqlx::Error> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO outage (kind, from_time, to_time, reason, crc) VALUES (?1, ?2, ?3, ?4, 0) RETURNING id",
    )
    .bind(outage.kind.word())
    .bind(outage.from.0)
    .bind(outage.to.map(|to| to.0))
    .bind(&outage.reason)
    .fetch_one(&mut **transaction)
    .await?;
    finish(transaction, id, outage).await?;
    Ok(OutageId(id))
}

/// Writes the row's checksum and the event of its present state.
async fn finish(transaction: &mut Transaction<'_, Sqlite>, id: i64, outage: &Outage) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE outage SET to_time = ?2, crc = ?3 WHERE id = ?1")
        .bind(id)
        .bind(outage.to.map(|to| to.0))
        .bind(stored_crc(id, outage))
        .execute(&mut **transaction)
        .await?;
    let (kind, reason) = (outage.kind.word(), &outage.reason);
    let (time, text) = match outage.to {
        None => (outage.from, format!("{kind}: nothing is recorded: {reason}")),
        Some(to) => {
            let seconds = to.since(outage.from) as f64 / 1e9;
            (to, format!("{kind}: nothing was recorded for {seconds:.1} s: {reason}"))
        }
    };
    chain(transaction, time, EntryClass::Event, "outage", &text).await
}

impl History {
    /// Records that nothing was recorded for a time, also as an event: one that is over, or one that lasts still (then
    /// [`History::close_outage`] ends it). Survives a power cut.
    ///
    /// # Errors
    /// [`HistoryError::BadQuery`] for one that ends before it begins, [`HistoryError::DiskFull`],
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_outage(&self, outage: &Outage) -> Result<OutageId, HistoryError> {
        if let Some(to) = outage.to {
            checked(outage.from, to)?;
        }
        let mut writing = self.writing("recording an outage").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        let id = insert(&mut transaction, outage).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        Ok(id)
    }

    /// Records when an outage that was stored without an end was over, also as an event. Survives a power cut.
    ///
    /// # Errors
    /// As [`History::put_outage`]; [`HistoryError::Damaged`] where the row is no longer as it was written.
    pub async fn close_outage(&self, id: OutageId, to: UtcNanos) -> Result<(), HistoryError> {
        let mut writing = self.writing("recording an outage").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        let row = sqlx::query("SELECT id, kind, from_time, to_time, reason, crc FROM outage WHERE id = ?1")
            .bind(id.0)
            .fetch_one(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        let (_, mut outage) = from_row(&row)?;
        checked(outage.from, to)?;
        outage.to = Some(to);
        finish(&mut transaction, id.0, &outage).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// Outages with any part from `from` to `to` (both within), oldest first.
    ///
    /// # Errors
    /// A range upside down, [`HistoryError::Damaged`], SQLite's own.
    pub async fn outages(&self, from: UtcNanos, to: UtcNanos) -> Result<Vec<(OutageId, Outage)>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let rows = sqlx::query(
            "SELECT id, kind, from_time, to_time, reason, crc FROM outage
             WHERE from_time <= ?2 AND (to_time IS NULL OR to_time >= ?1) ORDER BY from_time, id",
        )
        .bind(from)
        .bind(to)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        rows.iter().map(from_row).collect()
    }
}
