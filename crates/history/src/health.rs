//! The state of what delivers data, from each change to the next.

use sightglass_protocol::{Health, HealthState, UtcNanos};

use crate::{
    clip_crc::health_crc,
    error::HistoryError,
    events::{EntryClass, chain},
    fields,
    open::History,
    writer::Durability,
};

const STATES: [(HealthState, &str); 5] = [
    (HealthState::Good, "good"),
    (HealthState::MaintenanceRequired, "maintenance required"),
    (HealthState::OutOfSpecification, "out of specification"),
    (HealthState::CheckFunction, "check function"),
    (HealthState::Failure, "failure"),
];

/// A stored state in words.
pub(crate) fn word(state: i64) -> &'static str {
    usize::try_from(state).ok().and_then(|state| STATES.get(state)).map_or("failure", |state| state.1)
}

impl History {
    /// Records a change of health, also as an event. Survives a power cut.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] for a tag or camera that the plant does not have, [`HistoryError::DiskFull`],
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_health(&self, health: &Health) -> Result<(), HistoryError> {
        let (kind, subject) = self.inner.ids.subject(health.subject).ok_or(HistoryError::Unknown {
            what: "tag or camera",
            id: match health.subject {
                Some(sightglass_protocol::Subject::Tag(tag)) => tag.0,
                Some(sightglass_protocol::Subject::Camera(camera)) => camera.0.into(),
                None => 0,
            },
        })?;
        let number = STATES.iter().position(|(state, _)| *state == health.state).unwrap_or(STATES.len() - 1);
        let mut writing = self.writing("recording health").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        sqlx::query(
            "INSERT INTO health (subject_kind, subject, source, state, since, reason, crc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(kind)
        .bind(subject)
        .bind(&health.source)
        .bind(number as i64)
        .bind(health.since.0)
        .bind(&health.reason)
        .bind(health_crc(kind, subject, number as i64, health.since.0, &health.source, &health.reason))
        .execute(&mut *transaction)
        .await
        .map_err(self.wrap())?;
        let text = format!("{}: {}: {}", health.source, STATES[number].1, health.reason);
        chain(&mut transaction, health.since, EntryClass::Event, "health", &text).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// What did not deliver as it should at `at`: the newest state, where it is not good, of each source, tag and
    /// camera; worst first.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn health_at(&self, at: UtcNanos) -> Result<Vec<Health>, HistoryError> {
        let rows = sqlx::query(
            "SELECT id, subject_kind, subject, source, state, since, reason FROM health AS h WHERE since <= ?1 AND state > 0
             AND id = (SELECT id FROM health WHERE subject_kind = h.subject_kind AND subject = h.subject
                       AND source = h.source AND since <= ?1 ORDER BY since DESC, id DESC LIMIT 1)
             ORDER BY state DESC, since",
        )
        .bind(at.0)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        let health = |row| {
            fields::read("health", row, |row| {
                let Some(subject) = self.inner.ids.subject_of(row.int(1)?, row.int(2)?) else { return Ok(None) };
                let state = usize::try_from(row.int(4)?).ok().and_then(|state| STATES.get(state));
                Ok(Some(Health {
                    subject,
                    source: row.text(3)?.to_owned(),
                    state: state.map_or(HealthState::Failure, |state| state.0),
                    since: UtcNanos(row.int(5)?),
                    reason: row.text(6)?.to_owned(),
                }))
            })
        };
        rows.iter().filter_map(|row| health(row).transpose()).collect()
    }
}
