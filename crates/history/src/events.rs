//! Events and audit entries: one chain of hashes, so that an entry that was changed, taken out or put in is found.

use serde::Serialize;
use sha2::{Digest, Sha256};
use sightglass_protocol::UtcNanos;
use sqlx::{Sqlite, Transaction};

use crate::{error::HistoryError, open::History, steps::checked, writer::Durability};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryClass {
    /// Something happened.
    Event,
    /// Somebody did something.
    Audit,
}

impl EntryClass {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Audit => "audit",
        }
    }
}

/// One entry of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its place in the chain, from 1 on, whatever the clock did.
    pub seq: u64,
    /// When.
    pub time: UtcNanos,
    /// Which.
    pub class: EntryClass,
    /// The kind of event, or who did it.
    pub subject: String,
    /// What.
    pub text: String,
}

/// The hash of an entry: SHA-256 over the previous hash and the entry's fields, each text behind its length.
pub(crate) fn entry_hash(previous: &[u8], seq: i64, time: i64, class: &str, subject: &str, text: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(seq.to_le_bytes());
    hash.update(time.to_le_bytes());
    for field in [class, subject, text] {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().to_vec()
}

/// Adds an entry at the chain's end.
pub(crate) async fn chain(
    transaction: &mut Transaction<'_, Sqlite>,
    time: UtcNanos,
    class: EntryClass,
    subject: &str,
    text: &str,
) -> Result<(), sqlx::Error> {
    let (last, previous): (i64, Vec<u8>) =
        sqlx::query_as("SELECT seq, hash FROM journal_head").fetch_one(&mut **transaction).await?;
    let seq = last + 1;
    let hash = entry_hash(&previous, seq, time.0, class.word(), subject, text);
    sqlx::query("INSERT INTO journal (seq, time, class, subject, text, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .bind(seq)
        .bind(time.0)
        .bind(class.word())
        .bind(subject)
        .bind(text)
        .bind(&hash)
        .execute(&mut **transaction)
        .await?;
    sqlx::query("UPDATE journal_head SET seq = ?1, hash = ?2")
        .bind(seq)
        .bind(&hash)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

impl History {
    /// Records that something happened. Survives a power cut.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_event(&self, time: UtcNanos, kind: &str, text: &str) -> Result<(), HistoryError> {
        self.put_entry(time, EntryClass::Event, kind, text).await
    }

    /// Records that somebody did something. Survives a power cut.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_audit(&self, time: UtcNanos, who: &str, what: &str) -> Result<(), HistoryError> {
        self.put_entry(time, EntryClass::Audit, who, what).await
    }

    async fn put_entry(
        &self,
        time: UtcNanos,
        class: EntryClass,
        subject: &str,
        text: &str,
    ) -> Result<(), HistoryError> {
        let mut writing = self.writing("recording events").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        chain(&mut transaction, time, class, subject, text).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// Events and audit entries from `from` to `to` (both within), newest first, at most `limit`.
    ///
    /// # Errors
    /// A range upside down, SQLite's own.
    pub async fn entries(&self, from: UtcNanos, to: UtcNanos, limit: u32) -> Result<Vec<Entry>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let rows: Vec<EntryRow> = sqlx::query_as(
            "SELECT seq, time, class, subject, text FROM journal WHERE time BETWEEN ?1 AND ?2
             ORDER BY time DESC, seq DESC LIMIT ?3",
        )
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Events of one kind at or before `to`, newest first, at most `limit`.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn events_of(&self, kind: &str, to: UtcNanos, limit: u32) -> Result<Vec<Entry>, HistoryError> {
        let rows: Vec<EntryRow> = sqlx::query_as(
            "SELECT seq, time, class, subject, text FROM journal WHERE class = 'event' AND subject = ?1 AND time <= ?2
             ORDER BY time DESC, seq DESC LIMIT ?3",
        )
        .bind(kind)
        .bind(to.0)
        .bind(limit)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        Ok(rows.into_iter().map(entry).collect())
    }
}

/// `seq, time, class, subject, text`.
type EntryRow = (i64, i64, String, String, String);

fn entry((seq, time, class, subject, text): EntryRow) -> Entry {
    Entry {
        seq: seq as u64,
        time: UtcNanos(time),
        class: if class == "audit" { EntryClass::Audit } else { EntryClass::Event },
        subject,
        text,
    }
}
