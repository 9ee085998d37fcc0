//! What else happened: sessions, outages, health, retention. Whatever explains a gap.

use std::collections::{BTreeSet, HashMap};

use sightglass_protocol::{PlantInfo, UtcNanos};
use sqlx::{Sqlite, Transaction};

use super::{GapReason, stored::Series};
use crate::{
    error::HistoryError,
    fields::{self, Fields},
    health,
    open::History,
    outages::{self, OutageKind},
};

/// A part of a gap with one reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) reason: GapReason,
    pub(super) detail: String,
}

/// Something that held from `from` up to `to` (left out).
struct Span<T> {
    from: i64,
    to: i64,
    what: T,
}

impl<T> Span<T> {
    const fn holds(&self, time: i64) -> bool {
        self.from <= time && time < self.to
    }
}

/// A state that was not good.
struct Bad {
    /// The file's id of the tag; `None` for a source.
    tag: Option<i64>,
    state: i64,
    detail: String,
}

/// Everything that can explain a gap in one range.
pub(super) struct Reasons {
    /// Told runs, each with the plant that it recorded (an index into `plants`).
    sessions: Vec<Span<usize>>,
    /// Line and name of the tags of each plant.
    plants: Vec<BTreeSet<(String, String)>>,
    /// Plants of runs that did not tell when they were.
    untold: BTreeSet<usize>,
    outages: Vec<Span<(OutageKind, String)>>,
    health: Vec<Span<Bad>>,
    kept_from: Option<i64>,
    /// After the last moment of any sample, while the newest run goes on.
    nothing_after: Option<i64>,
    /// The first stored sample of each tag that was asked for.
    first_samples: HashMap<i64, i64>,
}

impl Reasons {
    pub(super) async fn read(
        history: &History,
        snapshot: &mut Transaction<'_, Sqlite>,
        series: &[Series],
        from: i64,
        to: i64,
    ) -> Result<Self, HistoryError> {
        let wrap = |source| history.error(source);
        let (sessions, plants, untold, is_running) = sessions(snapshot, history).await?;
        let rows = sqlx::query(
            "SELECT id, kind, from_time, to_time, reason, crc FROM outage
             WHERE from_time < ?2 AND (to_time IS NULL OR to_time > ?1) ORDER BY from_time, id",
        )
        .bind(from)
        .bind(to)
        .fetch_all(&mut **snapshot)
        .await
        .map_err(wrap)?;
        let mut outages = Vec::with_capacity(rows.len());
        for row in &rows {
            let (_, outage) = outages::from_row(row)?;
            let to = outage.to.map_or(i64::MAX, |to| to.0);
            outages.push(Span { from: outage.from.0, to, what: (outage.kind, outage.reason) });
        }
        let starts: Vec<i64> = sessions.iter().map(|session| session.from).collect();
        let health = health_spans(snapshot, &starts, to).await.map_err(wrap)?;
        let kept_from: Option<i64> = sqlx::query_scalar("SELECT time FROM kept_from WHERE what = 'samples'")
            .fetch_optional(&mut **snapshot)
            .await
            .map_err(wrap)?;
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(t) FROM (SELECT max(last_time) AS t FROM sample_batch UNION ALL SELECT max(last_time) FROM chunk)",
        )
        .fetch_one(&mut **snapshot)
        .await
        .map_err(wrap)?;
        let mut first_samples = HashMap::new();
        for tag in series.iter().flat_map(|series| &series.file_tags) {
            let first: Option<i64> = sqlx::query_scalar("SELECT min(first_time) FROM chunk WHERE tag = ?1")
                .bind(tag)
                .fetch_one(&mut **snapshot)
                .await
                .map_err(wrap)?;
            if let Some(first) = first {
                first_samples.insert(*tag, first);
            }
        }
        let nothing_after = is_running.then(|| last.map_or(i64::MIN, |last| last.saturating_add(1)));
        Ok(Self { sessions, plants, untold, outages, health, kept_from, nothing_after, first_samples })
    }

    /// Cuts a stretch without samples into parts of one reason each, oldest first.
    pub(super) fn explain(&self, series: &Series, from: i64, to: i64) -> Vec<Piece> {
        let mut cuts: Vec<i64> = vec![from];
        let mut cut = |time: i64| {
            if from < time && time < to {
                cuts.push(time);
            }
        };
        self.sessions.iter().for_each(|span| [span.from, span.to].into_iter().for_each(&mut cut));
        self.outages.iter().for_each(|span| [span.from, span.to].into_iter().for_each(&mut cut));
        self.health.iter().for_each(|span| [span.from, span.to].into_iter().for_each(&mut cut));
        let begun = series.file_tags.iter().filter_map(|tag| self.first_samples.get(tag).copied()).min();
        [self.kept_from, self.nothing_after, begun].into_iter().flatten().for_each(&mut cut);
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces: Vec<Piece> = Vec::with_capacity(cuts.len());
        for (index, &start) in cuts.iter().enumerate() {
            let end = cuts.get(index + 1).copied().unwrap_or(to);
            let (reason, detail) = self.at(series, start, begun);
            match pieces.last_mut() {
                Some(last) if (last.reason, &last.detail) == (reason, &detail) => last.to = end,
                _ => pieces.push(Piece { from: start, to: end, reason, detail }),
            }
        }
        pieces
    }

    fn has(&self, plant: usize, series: &Series) -> bool {
        self.plants[plant].contains(&(series.line.clone(), series.name.clone()))
    }

    fn at(&self, series: &Series, time: i64, begun: Option<i64>) -> (GapReason, String) {
        let nothing = String::new;
        for outage in self.outages.iter().filter(|outage| outage.holds(time)) {
            let reason = match outage.what.0 {
                OutageKind::DiskFull => GapReason::DiskFull,
                OutageKind::FolderAway => GapReason::FolderAway,
                OutageKind::EngineStopped => continue,
            };
            return (reason, outage.what.1.clone());
        }
        // The tag's first run that told when it was.
        let first = self.sessions.iter().filter(|span| self.has(span.what, series)).map(|span| span.from).min();
        let was_before = self.untold.iter().any(|&plant| self.has(plant, series));
        match (first, was_before) {
            (Some(first), false) if time < first && begun.is_none_or(|begun| time < begun) => {
                return (GapReason::NotYetBegun, nothing());
            }
            _ => {}
        }
        if let Some(kept_from) = self.kept_from
            && time < kept_from
        {
            return (GapReason::Retention, format!("samples are kept from {} on", UtcNanos(kept_from)));
        }
        if (first.is_none() || was_before) && begun.is_some_and(|begun| time < begun) {
            // Runs of the first schema did not tell when they were; with nothing deleted, the first sample tells.
            return (GapReason::NotYetBegun, nothing());
        }
        let mut running = self.sessions.iter().filter(|span| span.holds(time)).peekable();
        if running.peek().is_some() {
            if !running.any(|span| self.has(span.what, series)) {
                return (GapReason::NotInPlant, "the description of then does not have it".to_owned());
            }
        } else if self.sessions.iter().any(|span| span.from <= time) {
            let told = self.outages.iter().find(|outage| outage.holds(time));
            return (GapReason::EngineStopped, told.map_or_else(nothing, |outage| outage.what.1.clone()));
        }
        if self.nothing_after.is_some_and(|after| time >= after) {
            return (GapReason::NotYetRecorded, nothing());
        }
        let bad = |own: bool| {
            self.health
                .iter()
                .filter(|span| span.holds(time))
                .filter(|span| match span.what.tag {
                    Some(tag) => own && series.file_tags.contains(&tag),
                    None => !own,
                })
                .max_by_key(|span| span.what.state)
        };
        match bad(true).or_else(|| bad(false)) {
            Some(span) => (GapReason::SourceDown, span.what.detail.clone()),
            None => (GapReason::Unexplained, nothing()),
        }
    }
}

type Sessions = (Vec<Span<usize>>, Vec<BTreeSet<(String, String)>>, BTreeSet<usize>, bool);

/// Told runs with their plants, the plants, those of untold runs, and whether the newest run goes on.
async fn sessions(snapshot: &mut Transaction<'_, Sqlite>, history: &History) -> Result<Sessions, HistoryError> {
    let infos: Vec<(i64, String)> = sqlx::query_as("SELECT id, info FROM plant ORDER BY id")
        .fetch_all(&mut **snapshot)
        .await
        .map_err(history.wrap())?;
    let mut plants = Vec::with_capacity(infos.len());
    let mut places = HashMap::new();
    for (id, info) in infos {
        let plant: PlantInfo = serde_json::from_str(&info)
            .map_err(|error| HistoryError::Damaged { place: format!("plant {id}"), reason: error.to_string() })?;
        places.insert(id, plants.len());
        let line = |tag: &sightglass_protocol::TagInfo| plant.lines.get(tag.line.index()).map(|line| line.name.clone());
        plants.push(plant.tags.iter().filter_map(|tag| Some((line(tag)?, tag.name.clone()))).collect());
    }
    let rows: Vec<(i64, Option<i64>, Option<i64>, i64)> =
        sqlx::query_as("SELECT plant, started, ended, clean FROM session ORDER BY id")
            .fetch_all(&mut **snapshot)
            .await
            .map_err(history.wrap())?;
    let newest = rows.iter().rposition(|row| row.1.is_some());
    let mut sessions = Vec::with_capacity(rows.len());
    let mut untold = BTreeSet::new();
    let mut is_running = false;
    for (index, (plant, started, ended, _)) in rows.into_iter().enumerate() {
        let Some(&plant) = places.get(&plant) else { continue };
        match (started, ended) {
            (None, _) => {
                // Only runs before the first told one can have recorded without a word: later ones are tools'.
                if sessions.is_empty() {
                    untold.insert(plant);
                }
            }
            (Some(from), Some(to)) => sessions.push(Span { from, to, what: plant }),
            (Some(from), None) => {
                is_running |= Some(index) == newest;
                sessions.push(Span { from, to: i64::MAX, what: plant });
            }
        }
    }
    Ok((sessions, plants, untold, is_running))
}

/// The first of the stored states, best first, in which nothing can be taken from a source.
const CHECK_FUNCTION: i64 = 3;

/// Times in which a source or tag did not deliver: from each word on it to the next, or to the next start of the engine,
/// which asks anew. One that wants maintenance, or is used outside of what it is made for, delivers.
async fn health_spans(
    snapshot: &mut Transaction<'_, Sqlite>,
    starts: &[i64],
    to: i64,
) -> Result<Vec<Span<Bad>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, subject_kind, subject, source, state, since, reason FROM health
         WHERE since < ?1 AND subject_kind IN (0, 1) ORDER BY subject_kind, subject, source, since, id",
    )
    .bind(to)
    .fetch_all(&mut **snapshot)
    .await?;
    let read = |row: Fields<'_>| {
        let (of, word) = ((row.int(1)?, row.int(2)?, row.text(3)?.to_owned()), (row.int(4)?, row.int(5)?));
        Ok((of, word, row.text(6)?.to_owned()))
    };
    let words = rows.iter().map(|row| fields::stored("health", row, read)).collect::<Result<Vec<_>, _>>()?;
    let mut spans = Vec::new();
    for (index, (of, (state, since), reason)) in words.iter().enumerate() {
        let ((kind, subject, source), (state, since)) = (of, (*state, *since));
        if state < CHECK_FUNCTION {
            continue;
        }
        let next = words.get(index + 1).filter(|next| next.0 == *of);
        let next = next.map_or(i64::MAX, |next| next.1.1);
        let restart = starts.iter().copied().filter(|&start| start > since).min().unwrap_or(i64::MAX);
        let detail = format!("{source}: {}: {reason}", health::word(state));
        let tag = (*kind == 1).then_some(*subject);
        spans.push(Span { from: since, to: next.min(restart), what: Bad { tag, state, detail } });
    }
    Ok(spans)
}
