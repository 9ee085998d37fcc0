//! Advisories: stored at once at every step of their lives.

use serde::{Deserialize, Serialize};
use sightglass_protocol::{
    Advisory, AdvisoryChange, AdvisoryId, AdvisoryKind, Band, CameraId, Cause, LineId, PatchMap, UtcNanos,
};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    codec::{CodecError, Reader, put_varint, row_crc},
    error::HistoryError,
    events::{EntryClass, chain},
    fields::{self, Fields},
    open::History,
    output::{put_maps, read_maps},
    pins,
    plant::Ids,
    steps::checked,
    writer::Durability,
};

/// The format's version: the first byte of a body.
const VERSION: u8 = 1;
/// By their numbers in the file.
const KINDS: [AdvisoryKind; 4] =
    [AdvisoryKind::Process, AdvisoryKind::Sensor, AdvisoryKind::Camera, AdvisoryKind::Model];

/// A cause as stored: in the file's ids.
#[derive(Serialize, Deserialize)]
struct StoredCause {
    subject_kind: i64,
    subject: i64,
    share: f32,
    predicted: Option<(f32, f32, f32)>,
    actual: Option<f64>,
    reason: String,
}

/// Causes (postcard) and patches of an advisory. Subjects that the plant does not have are left out.
fn encode(advisory: &Advisory, ids: &Ids) -> Result<Vec<u8>, postcard::Error> {
    let causes: Vec<StoredCause> = advisory
        .causes
        .iter()
        .filter_map(|cause| {
            let (subject_kind, subject) = ids.subject(Some(cause.subject))?;
            Some(StoredCause {
                subject_kind,
                subject,
                share: cause.share,
                predicted: cause.predicted.map(|band| (band.low, band.mid, band.high)),
                actual: cause.actual,
                reason: cause.reason.clone(),
            })
        })
        .collect();
    let causes = postcard::to_stdvec(&causes)?;
    let mut out = vec![VERSION];
    put_varint(&mut out, causes.len() as u64);
    out.extend_from_slice(&causes);
    let maps: Vec<_> = advisory.patches.iter().filter_map(|map| Some((ids.camera(map.camera)?, map))).collect();
    put_varint(&mut out, maps.len() as u64);
    for (camera, map) in maps {
        put_varint(&mut out, camera.unsigned_abs());
        put_maps(&mut out, &[map]);
    }
    Ok(out)
}

fn decode(body: &[u8], ids: &Ids) -> Result<(Vec<Cause>, Vec<PatchMap>), CodecError> {
    let mut reader = Reader::new(body);
    reader.version(VERSION)?;
    let length = reader.count()?;
    let stored: Vec<StoredCause> =
        postcard::from_bytes(reader.take(length)?).map_err(|_| CodecError::Invalid("its causes are not readable"))?;
    let causes = stored.into_iter().filter_map(|cause| {
        Some(Cause {
            subject: ids.subject_of(cause.subject_kind, cause.subject)??,
            share: cause.share,
            predicted: cause.predicted.map(|(low, mid, high)| Band { low, mid, high }),
            actual: cause.actual,
            reason: cause.reason,
        })
    });
    let causes = causes.collect();
    let mut patches = Vec::new();
    for _ in 0..reader.count()? {
        let camera = ids.camera_of(reader.varint()? as i64);
        let maps = read_maps(&mut reader, 1, camera.unwrap_or(CameraId(u16::MAX)))?;
        if camera.is_some() {
            patches.extend(maps);
        }
    }
    reader.end()?;
    Ok((causes, patches))
}

/// `id, line, kind`; `since, opened, last_seen`; `closed`; `peak, confidence`.
type AdvisoryKeys = ([i64; 3], [i64; 3], Option<i64>, (Option<f64>, Option<f64>));

/// `advisory.crc`.
pub(crate) fn advisory_crc((ids, times, closed, scores): AdvisoryKeys, title: &str, body: &[u8]) -> i64 {
    let bits = |score: Option<f64>| score.unwrap_or(f64::NAN).to_bits() as i64;
    let mut keys = [0; 10];
    keys[..3].copy_from_slice(&ids);
    keys[3..6].copy_from_slice(&times);
    keys[6..].copy_from_slice(&[i64::from(closed.is_some()), closed.unwrap_or(0), bits(scores.0), bits(scores.1)]);
    row_crc(&keys, &[title.as_bytes(), body])
}

/// The checksum that a row `id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body` should
/// have; an error where a column does not even have its type.
fn computed_crc(row: Fields<'_>) -> Result<i64, String> {
    let keys = (
        [row.int(0)?, row.int(1)?, row.int(2)?],
        [row.int(4)?, row.int(5)?, row.int(6)?],
        row.maybe_int(7)?,
        (row.maybe_real(8)?, row.maybe_real(9)?),
    );
    Ok(advisory_crc(keys, row.text(3)?, row.blob(11)?))
}

impl History {
    /// Stores a step in an advisory's life, notes its opening and closing as events, and pins the video of its line from
    /// shortly before it to shortly after its close. Survives a power cut.
    ///
    /// # Errors
    /// An unknown line, [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_advisory(&self, change: &AdvisoryChange) -> Result<(), HistoryError> {
        let advisory = change.advisory();
        let line = self.file_line(advisory.line)?;
        let body = encode(advisory, &self.inner.ids).map_err(|error| HistoryError::BadQuery {
            what: format!("advisory {} cannot be stored: {error}", advisory.id.0),
        })?;
        let mut writing = self.writing("recording advisories").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        store(&mut transaction, advisory, line, &body).await.map_err(self.wrap())?;
        let event = match change {
            AdvisoryChange::Opened(_) => Some(("advisory opened", advisory.opened)),
            AdvisoryChange::Updated(_) => None,
            AdvisoryChange::Closed(_) => Some(("advisory closed", advisory.closed.unwrap_or(advisory.last_seen))),
        };
        if let Some((kind, time)) = event {
            let text = format!("{}: {}", advisory.id.0, advisory.title);
            chain(&mut transaction, time, EntryClass::Event, kind, &text).await.map_err(self.wrap())?;
            pins::pin_incident(&mut transaction, line, advisory).await.map_err(self.wrap())?;
        }
        transaction.commit().await.map_err(self.wrap())
    }

    /// The identity for the next advisory: one above the highest that was ever stored.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn next_advisory_id(&self) -> Result<AdvisoryId, HistoryError> {
        let last: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM advisory")
            .fetch_one(&self.inner.readers)
            .await
            .map_err(self.wrap())?;
        Ok(AdvisoryId(last as u64 + 1))
    }

    /// Advisories that were open (from their `since` on) at any time from `from` to `to`, newest first, at most
    /// `limit`; of one line or of all. Each is as it is now, also where that is after `to`.
    ///
    /// # Errors
    /// An unknown line, a range upside down, [`HistoryError::Damaged`], SQLite's own.
    pub async fn advisories(
        &self,
        line: Option<LineId>,
        from: UtcNanos,
        to: UtcNanos,
        limit: u32,
    ) -> Result<Vec<Advisory>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let line = line.map(|line| self.file_line(line)).transpose()?;
        let rows = sqlx::query(
            "SELECT id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body FROM advisory
             WHERE (?1 IS NULL OR line = ?1) AND since <= ?3 AND (closed IS NULL OR closed >= ?2)
             ORDER BY since DESC, id DESC LIMIT ?4",
        )
        .bind(line)
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        self.read_advisories(&rows)
    }

    /// The advisory with this identity, as it is now.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`], SQLite's own.
    pub async fn advisory(&self, id: AdvisoryId) -> Result<Option<Advisory>, HistoryError> {
        let rows = sqlx::query(
            "SELECT id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body FROM advisory
             WHERE id = ?1",
        )
        .bind(id.0 as i64)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        Ok(self.read_advisories(&rows)?.pop())
    }

    /// Advisories that had been raised and were not over at `at`, newest first.
    ///
    /// # Errors
    /// An unknown line, [`HistoryError::Damaged`], SQLite's own.
    pub async fn open_advisories(&self, line: LineId, at: UtcNanos) -> Result<Vec<Advisory>, HistoryError> {
        let rows = sqlx::query(
            "SELECT id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body FROM advisory
             WHERE line = ?1 AND opened <= ?2 AND (closed IS NULL OR closed > ?2) ORDER BY since DESC, id DESC",
        )
        .bind(self.file_line(line)?)
        .bind(at.0)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        self.read_advisories(&rows)
    }

    /// Closes advisories that a former engine left open when it died, each at the last recorded tick of its line, with
    /// an event that says so. Returns them as they now are. To be called once, before anything is raised.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`], [`HistoryError::NotWritable`], SQLite's own.
    pub async fn close_dangling_advisories(&self) -> Result<Vec<Advisory>, HistoryError> {
        let mut writing = self.writing("closing advisories").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        let rows = sqlx::query(
            "SELECT id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body FROM advisory
             WHERE closed IS NULL ORDER BY id",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(self.wrap())?;
        let mut advisories = self.read_advisories(&rows)?;
        for advisory in &mut advisories {
            let line = self.file_line(advisory.line)?;
            let last: Option<i64> = sqlx::query_scalar("SELECT max(last_time) FROM output WHERE line = ?1")
                .bind(line)
                .fetch_one(&mut *transaction)
                .await
                .map_err(self.wrap())?;
            let closed = advisory.last_seen.max(UtcNanos(last.unwrap_or(i64::MIN)));
            advisory.closed = Some(closed);
            let row = rows.iter().find(|&row| Fields(row).int(0) == Ok(advisory.id.0 as i64));
            // The stored body as it is: it may name tags that today's plant does not have.
            let body = row.and_then(|row| Fields(row).blob(11).ok()).unwrap_or_default();
            store(&mut transaction, advisory, line, body).await.map_err(self.wrap())?;
            let text = format!("{}: {}: the engine ended while it was open", advisory.id.0, advisory.title);
            chain(&mut transaction, closed, EntryClass::Event, "advisory closed", &text).await.map_err(self.wrap())?;
        }
        transaction.commit().await.map_err(self.wrap())?;
        Ok(advisories)
    }

    /// Rows of a line that today's plant does not have are left out.
    fn read_advisories(&self, rows: &[SqliteRow]) -> Result<Vec<Advisory>, HistoryError> {
        let ids = &self.inner.ids;
        let read = |row| fields::read("advisory", row, |row| advisory_of(row, ids));
        rows.iter().filter_map(|row| read(row).transpose()).collect()
    }
}

/// The advisory of a row as [`store`] returns it, once its checksum holds; `None` where its line is not in the plant.
fn advisory_of(row: Fields<'_>, ids: &Ids) -> Result<Option<Advisory>, String> {
    if computed_crc(row)? != row.int(10)? {
        return Err("its checksum does not match".to_owned());
    }
    let Some(line) = ids.line_of(row.int(1)?) else { return Ok(None) };
    let kind = usize::try_from(row.int(2)?).ok().and_then(|kind| KINDS.get(kind).copied());
    let (causes, patches) = decode(row.blob(11)?, ids).map_err(|error| error.to_string())?;
    let score = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
    Ok(Some(Advisory {
        id: AdvisoryId(row.int(0)? as u64),
        line,
        kind: kind.ok_or("it is of an unknown kind")?,
        title: row.text(3)?.to_owned(),
        since: UtcNanos(row.int(4)?),
        opened: UtcNanos(row.int(5)?),
        last_seen: UtcNanos(row.int(6)?),
        closed: row.maybe_int(7)?.map(UtcNanos),
        peak: score(row.maybe_real(8)?),
        confidence: score(row.maybe_real(9)?),
        causes,
        patches,
    }))
}

async fn store(
    transaction: &mut Transaction<'_, Sqlite>,
    advisory: &Advisory,
    line: i64,
    body: &[u8],
) -> Result<(), sqlx::Error> {
    let kind = KINDS.iter().position(|&kind| kind == advisory.kind).unwrap_or(0) as i64;
    let stored = |value: f32| (!value.is_nan()).then_some(f64::from(value));
    let (peak, confidence) = (stored(advisory.peak), stored(advisory.confidence));
    let row = sqlx::query(
        "INSERT INTO advisory (id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11)
         ON CONFLICT (id) DO UPDATE SET line = excluded.line, kind = excluded.kind, title = excluded.title,
             since = excluded.since, opened = excluded.opened, last_seen = excluded.last_seen,
             closed = excluded.closed, peak = excluded.peak, confidence = excluded.confidence, body = excluded.body
         RETURNING id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body",
    )
    .bind(advisory.id.0 as i64)
    .bind(line)
    .bind(kind)
    .bind(&advisory.title)
    .bind(advisory.since.0)
    .bind(advisory.opened.0)
    .bind(advisory.last_seen.0)
    .bind(advisory.closed.map(|closed| closed.0))
    .bind(peak)
    .bind(confidence)
    .bind(body)
    .fetch_one(&mut **transaction)
    .await?;
    let crc = fields::stored("advisory", &row, computed_crc)?;
    sqlx::query("UPDATE advisory SET crc = ?2 WHERE id = ?1")
        .bind(advisory.id.0 as i64)
        .bind(crc)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
