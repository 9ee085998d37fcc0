//! Predictions and surprise: stored by tick, read as tracks or as the moment under the cursor.

use std::collections::BTreeMap;

use sightglass_protocol::{Band, Forecast, LineId, Surprise, TagId, UtcNanos};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    codec::{CodecError, row_crc},
    error::HistoryError,
    fields::{self, Fields},
    open::History,
    output::{
        FURTHER, ONE_TICK, decode_forecasts, decode_scores, decode_surprises, encode_forecasts, encode_scores,
        encode_surprises,
    },
    plant::Ids,
    raw::{blocking, json_list},
    steps::{checked, step},
    writer::Durability,
};

/// How far a forecast's time may lie before the first tick that it was stored with: the longest tick period.
const TICK_NS_MAX: i64 = 3_600_000_000_000;
/// The most rows that one step of merging takes.
const STEP_ROWS_MAX: i64 = 1024;

/// Ticks of one line, encoded.
struct NewOutput {
    first: i64,
    last: i64,
    ticks: i64,
    score_max: f32,
    bodies: [Vec<u8>; 4],
}

/// CRC over the keys and bodies of a row of table `output`.
pub(crate) fn output_crc(line: i64, first: i64, last: i64, ticks: i64, bodies: [&[u8]; 4]) -> i64 {
    // Lengths too, so that a byte that moves from one body to the next is found.
    let [a, b, c, d] = bodies.map(|body| body.len() as i64);
    row_crc(&[line, first, last, ticks, a, b, c, d], &bodies)
}

impl History {
    /// Stores what the model said at some ticks: the forecast made there (where there is one) and how unexpected each
    /// was. Survives the end of the process.
    ///
    /// # Errors
    /// An unknown line, [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_outputs(&self, outputs: &[(Option<Forecast>, Surprise)]) -> Result<(), HistoryError> {
        let mut by_line: BTreeMap<LineId, Vec<(Option<&Forecast>, &Surprise)>> = BTreeMap::new();
        for (forecast, surprise) in outputs {
            by_line.entry(surprise.line).or_default().push((forecast.as_ref(), surprise));
        }
        let mut rows = Vec::with_capacity(by_line.len());
        for (line, mut ticks) in by_line {
            ticks.sort_by_key(|(_, surprise)| surprise.time);
            rows.push((self.file_line(line)?, encode_outputs(&ticks, &self.inner.ids)));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut bytes = 0;
        let mut writing = self.writing("recording predictions").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        for (line, output) in rows {
            insert(&mut transaction, line, &output).await.map_err(self.wrap())?;
            bytes += output.bodies.iter().map(Vec::len).sum::<usize>();
        }
        transaction.commit().await.map_err(self.wrap())?;
        drop(writing);
        self.logged(bytes);
        Ok(())
    }

    /// What was predicted one tick ahead, at the tick it speaks of, for each of `tags` of `line`, at most two a pixel:
    /// the lowest low, the mean middle and the highest high of the pixel's ticks. Over very long ranges one stored row a
    /// pixel stands for all of the pixel's ticks.
    ///
    /// # Errors
    /// An unknown line, a range upside down, [`HistoryError::Damaged`], SQLite's own.
    pub async fn bands(
        &self,
        line: LineId,
        tags: &[TagId],
        from: UtcNanos,
        to: UtcNanos,
        pixels: u32,
    ) -> Result<Vec<Vec<(UtcNanos, Band)>>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let step = step(from, to, pixels);
        let places: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT rowid, first_time FROM output WHERE line = ?1 AND first_time <= ?3 AND last_time >= ?2
             AND first_time >= coalesce((SELECT max(first_time) FROM output WHERE line = ?1 AND first_time <= ?2), ?2)
             ORDER BY first_time",
        )
        .bind(self.file_line(line)?)
        .bind(from.saturating_sub(TICK_NS_MAX))
        .bind(to)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        // Where a pixel has many rows, its first one stands for them.
        let rows_max = pixels.max(1) as usize * 2;
        let mut wanted: Vec<i64> = Vec::new();
        let mut last_step = None;
        for &(id, first) in &places {
            let here = first.div_euclid(step);
            if places.len() <= rows_max || last_step != Some(here) {
                wanted.push(id);
            }
            last_step = Some(here);
        }
        let rows = sqlx::query(
            "SELECT id, bands FROM output WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY first_time, id",
        )
        .bind(json_list(wanted))
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        let (history, tags) = (self.clone(), tags.to_vec());
        blocking(move || {
            let mut tracks = vec![Vec::new(); tags.len()];
            for row in rows {
                let forecasts = fields::read("output", &row, |row| {
                    decode_forecasts(row.blob(1)?, ONE_TICK, line, &history.inner.ids, Vec::new()).map_err(said)
                })?;
                for forecast in forecasts {
                    let time = forecast.time.0.saturating_add(forecast.tick_ns);
                    if !(from..=to).contains(&time) {
                        continue;
                    }
                    for (tag, track) in tags.iter().zip(&mut tracks) {
                        if let Some(of) = forecast.tags.iter().find(|of| of.tag == *tag) {
                            track.push((UtcNanos(time), of.bands[0]));
                        }
                    }
                }
            }
            Ok(tracks.into_iter().map(|track| thin_bands(track, step)).collect())
        })
        .await
    }

    /// The newest forecast made at or before `at`.
    ///
    /// # Errors
    /// An unknown line, [`HistoryError::Damaged`], SQLite's own.
    pub async fn forecast_at(&self, line: LineId, at: UtcNanos) -> Result<Option<Forecast>, HistoryError> {
        let Some(row) = self.output_at(line, at).await? else { return Ok(None) };
        let (ids, file_line) = (&self.inner.ids, self.file_line(line)?);
        let forecasts =
            fields::read("output", &row, |row| StoredOutput::of(row, file_line)?.forecasts(line, ids).map_err(said))?;
        Ok(forecasts.into_iter().filter(|forecast| forecast.time <= at).max_by_key(|forecast| forecast.time))
    }

    /// How unexpected the newest tick at or before `at` was.
    ///
    /// # Errors
    /// An unknown line, [`HistoryError::Damaged`], SQLite's own.
    pub async fn surprise_at(&self, line: LineId, at: UtcNanos) -> Result<Option<Surprise>, HistoryError> {
        let Some(row) = self.output_at(line, at).await? else { return Ok(None) };
        let (ids, file_line) = (&self.inner.ids, self.file_line(line)?);
        let surprises =
            fields::read("output", &row, |row| StoredOutput::of(row, file_line)?.surprises(line, ids).map_err(said))?;
        Ok(surprises.into_iter().filter(|surprise| surprise.time <= at).max_by_key(|surprise| surprise.time))
    }

    /// The row with the newest tick at or before `at`, as [`StoredOutput::of`] reads it.
    async fn output_at(&self, line: LineId, at: UtcNanos) -> Result<Option<SqliteRow>, HistoryError> {
        sqlx::query(
            "SELECT id, first_time, last_time, ticks, crc, scores, bands, forecasts, surprises FROM output
             WHERE line = ?1 AND first_time <= ?2 ORDER BY first_time DESC, id DESC LIMIT 1",
        )
        .bind(self.file_line(line)?)
        .bind(at.0)
        .fetch_optional(&self.inner.readers)
        .await
        .map_err(self.wrap())
    }

    /// The one score of `line` from `from` to `to`, at most two a pixel: the highest of the pixel's ticks. A peak is
    /// never left out; its time is right to the pixel.
    ///
    /// # Errors
    /// An unknown line, a range upside down, [`HistoryError::Damaged`], SQLite's own.
    pub async fn scores(
        &self,
        line: LineId,
        from: UtcNanos,
        to: UtcNanos,
        pixels: u32,
    ) -> Result<Vec<(UtcNanos, f32)>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let step = step(from, to, pixels);
        let line = self.file_line(line)?;
        let mut snapshot = self.snapshot().await?;
        // Rows that lie within one step answer by their maximum alone.
        let rows: Vec<(i64, i64, i64, Option<f64>)> = sqlx::query_as(
            "SELECT id, first_time, last_time, score_max FROM output INDEXED BY output_place
             WHERE line = ?1 AND last_time >= ?2 AND first_time <= ?3
             AND first_time >= coalesce((SELECT max(first_time) FROM output WHERE line = ?1 AND first_time <= ?2), ?2)
             ORDER BY first_time",
        )
        .bind(line)
        .bind(from)
        .bind(to)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(self.wrap())?;
        let mut track = Vec::with_capacity(rows.len());
        let mut opened = Vec::new();
        for (id, first, last, score) in rows {
            let is_within = first >= from && last <= to && first.div_euclid(step) == last.div_euclid(step);
            match score {
                Some(score) if is_within => track.push((UtcNanos(first), score as f32)),
                _ => opened.push(id),
            }
        }
        let bodies: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT id, scores FROM output WHERE id IN (SELECT value FROM json_each(?1))")
                .bind(json_list(opened))
                .fetch_all(&mut *snapshot)
                .await
                .map_err(self.wrap())?;
        drop(snapshot);
        blocking(move || {
            for (id, body) in bodies {
                let scores = decode_scores(&body).map_err(|error| damaged(id, &error))?;
                let within = scores.into_iter().filter(|(time, _, _)| (from..=to).contains(time));
                track.extend(within.map(|(time, score, _)| (UtcNanos(time), score)));
            }
            track.sort_by_key(|(time, _)| *time);
            let mut thin: Vec<(UtcNanos, f32)> = Vec::new();
            for (time, score) in track {
                match thin.last_mut() {
                    Some(last) if last.0.0.div_euclid(step) == time.0.div_euclid(step) => {
                        if score > last.1 || last.1.is_nan() {
                            *last = (time, score);
                        }
                    }
                    _ => thin.push((time, score)),
                }
            }
            Ok(thin)
        })
        .await
    }

    /// Joins neighbouring rows of few ticks, wholly before `up_to`, into rows of `full`; returns how many were joined.
    pub(crate) async fn merge_outputs(&self, up_to: i64, full: usize) -> Result<u64, HistoryError> {
        let mut joined = 0;
        let lines: Vec<i64> = self.inner.plant.lines.iter().filter_map(|line| self.inner.ids.line(line.id)).collect();
        for line in lines {
            loop {
                let count = self.merge_outputs_step(line, up_to, full).await?;
                joined += count;
                if count == 0 {
                    break;
                }
            }
        }
        Ok(joined)
    }

    async fn merge_outputs_step(&self, line: i64, up_to: i64, full: usize) -> Result<u64, HistoryError> {
        let rows = sqlx::query(
            "SELECT id, first_time, last_time, ticks, crc, scores, bands, forecasts, surprises FROM output
             WHERE id IN (SELECT id FROM output WHERE line = ?1 AND last_time < ?2 AND ticks < ?3
                          ORDER BY first_time, id LIMIT ?4) ORDER BY first_time, id",
        )
        .bind(line)
        .bind(up_to)
        .bind(full as i64)
        .bind(STEP_ROWS_MAX)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        // Only runs of rows that make up a full one: the rest waits for more.
        let mut taken = 0;
        let mut ticks = 0;
        for (index, row) in rows.iter().enumerate() {
            ticks += fields::read("output", row, |row| row.int(3))?.unsigned_abs() as usize;
            if ticks >= full {
                taken = index + 1;
                break;
            }
        }
        if taken < 2 {
            return Ok(0);
        }
        let rows: Vec<SqliteRow> = rows.into_iter().take(taken).collect();
        let ids =
            rows.iter().map(|row| fields::read("output", row, |row| row.int(0))).collect::<Result<Vec<_>, _>>()?;
        let output = blocking(move || join_outputs(&rows, line)).await?;
        let mut writing = self.writing("merging").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        sqlx::query("DELETE FROM output WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(json_list(ids))
            .execute(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        insert(&mut transaction, line, &output).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        Ok(taken as u64)
    }
}

fn encode_outputs(ticks: &[(Option<&Forecast>, &Surprise)], ids: &Ids) -> NewOutput {
    let surprises: Vec<&Surprise> = ticks.iter().map(|(_, surprise)| *surprise).collect();
    let forecasts: Vec<&Forecast> = ticks.iter().filter_map(|(forecast, _)| *forecast).collect();
    NewOutput {
        first: surprises.iter().map(|surprise| surprise.time.0).min().unwrap_or(0),
        last: surprises.iter().map(|surprise| surprise.time.0).max().unwrap_or(0),
        ticks: surprises.len() as i64,
        score_max: surprises.iter().map(|surprise| surprise.score).fold(f32::NAN, f32::max),
        bodies: [
            encode_scores(&surprises),
            encode_forecasts(&forecasts, ONE_TICK, ids),
            encode_forecasts(&forecasts, FURTHER, ids),
            encode_surprises(&surprises, ids),
        ],
    }
}

/// One row of several; in the file's own ids.
fn join_outputs(rows: &[SqliteRow], file_line: i64) -> Result<NewOutput, HistoryError> {
    // The line's id is in the row, not in its bodies.
    let (ids, line) = (&Ids::identity(), LineId(0));
    let (mut forecasts, mut surprises) = (Vec::new(), Vec::new());
    for row in rows {
        fields::read("output", row, |row| {
            let stored = StoredOutput::of(row, file_line)?;
            forecasts.extend(stored.forecasts(line, ids).map_err(said)?);
            surprises.extend(stored.surprises(line, ids).map_err(said)?);
            Ok(())
        })?;
    }
    forecasts.sort_by_key(|forecast| forecast.time);
    surprises.sort_by_key(|surprise| surprise.time);
    let mut ticks: Vec<(Option<&Forecast>, &Surprise)> = surprises.iter().map(|surprise| (None, surprise)).collect();
    // The columns of forecasts have times of their own: which tick carries which is all the same.
    debug_assert!(forecasts.len() <= ticks.len());
    for (tick, forecast) in ticks.iter_mut().zip(&forecasts) {
        tick.0 = Some(forecast);
    }
    Ok(encode_outputs(&ticks, ids))
}

async fn insert(transaction: &mut Transaction<'_, Sqlite>, line: i64, output: &NewOutput) -> Result<(), sqlx::Error> {
    let [scores, bands, forecasts, surprises] = &output.bodies;
    let crc = output_crc(line, output.first, output.last, output.ticks, [scores, bands, forecasts, surprises]);
    sqlx::query(
        "INSERT INTO output (line, first_time, last_time, ticks, score_max, crc, scores, bands, forecasts, surprises)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(line)
    .bind(output.first)
    .bind(output.last)
    .bind(output.ticks)
    .bind((!output.score_max.is_nan()).then_some(f64::from(output.score_max)))
    .bind(crc)
    .bind(scores)
    .bind(bands)
    .bind(forecasts)
    .bind(surprises)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn damaged(id: i64, error: &CodecError) -> HistoryError {
    HistoryError::Damaged { place: format!("output {id}"), reason: error.to_string() }
}

fn said(error: CodecError) -> String {
    error.to_string()
}

/// What a row of `output` holds beside its scores.
struct StoredOutput<'r> {
    bands: &'r [u8],
    forecasts: &'r [u8],
    surprises: &'r [u8],
}

impl<'r> StoredOutput<'r> {
    /// A row `id, first_time, last_time, ticks, crc, scores, bands, forecasts, surprises` of `line` (the file's id), once
    /// its checksum holds.
    fn of(row: Fields<'r>, line: i64) -> Result<Self, String> {
        let bodies @ [_, bands, forecasts, surprises] = [row.blob(5)?, row.blob(6)?, row.blob(7)?, row.blob(8)?];
        if output_crc(line, row.int(1)?, row.int(2)?, row.int(3)?, bodies) != row.int(4)? {
            return Err("its checksum does not match".to_owned());
        }
        Ok(Self { bands, forecasts, surprises })
    }

    fn forecasts(&self, line: LineId, ids: &Ids) -> Result<Vec<Forecast>, CodecError> {
        let bands = decode_forecasts(self.bands, ONE_TICK, line, ids, Vec::new())?;
        decode_forecasts(self.forecasts, FURTHER, line, ids, bands)
    }

    fn surprises(&self, line: LineId, ids: &Ids) -> Result<Vec<Surprise>, CodecError> {
        decode_surprises(self.surprises, line, ids)
    }
}

fn thin_bands(mut track: Vec<(UtcNanos, Band)>, step: i64) -> Vec<(UtcNanos, Band)> {
    track.sort_by_key(|(time, _)| *time);
    track
        .chunk_by(|a, b| a.0.0.div_euclid(step) == b.0.0.div_euclid(step))
        .map(|ticks| {
            let mid = ticks.iter().map(|(_, band)| band.mid).sum::<f32>() / ticks.len() as f32;
            let low = ticks.iter().map(|(_, band)| band.low).fold(f32::NAN, f32::min);
            let high = ticks.iter().map(|(_, band)| band.high).fold(f32::NAN, f32::max);
            (ticks[0].0, Band { low, mid, high })
        })
        .collect()
}
