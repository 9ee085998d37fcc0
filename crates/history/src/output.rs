//! What the model said over some ticks, as it lies in the file: four bodies, so that a track of scores does not read
//! surprise maps. Format 1, byte by byte, in `docs/history-format.md`.
//!
//! Values lie along time (all ticks of one tag's lower bound, then of its middle, …): neighbours in time are alike, so
//! rows of many ticks are far smaller than as many rows of one.

use std::ops::Range;

use sightglass_protocol::{
    Band, CameraId, Forecast, HORIZONS, LineId, PatchMap, ScorePart, Surprise, TagForecast, TagSurprise, UtcNanos,
};

use crate::{
    codec::{CodecError, LEVEL_CHUNK, Reader, put_column, put_runs, put_varint},
    plant::Ids,
};

/// The format's version: the first byte of each body.
const VERSION: u8 = 1;
/// Rows with fewer ticks are merged up to this many.
pub(crate) const OUTPUT_TICKS_FULL: usize = 128;

/// The part of a forecast that trends show: one tick ahead.
pub(crate) const ONE_TICK: Range<usize> = 0..1;
/// The rest of it.
pub(crate) const FURTHER: Range<usize> = 1..HORIZONS.len();

const PARTS: [ScorePart; 4] = [ScorePart::Latent, ScorePart::Appearance, ScorePart::Residual, ScorePart::Drift];

fn part_number(part: ScorePart) -> u8 {
    match part {
        ScorePart::Latent => 0,
        ScorePart::Appearance => 1,
        ScorePart::Residual => 2,
        ScorePart::Drift => 3,
    }
}

fn part(number: u8) -> Result<ScorePart, CodecError> {
    PARTS.get(usize::from(number)).copied().ok_or(CodecError::Invalid("an unknown kind of evidence"))
}

fn start() -> Vec<u8> {
    vec![VERSION]
}

pub(crate) fn encode_scores(surprises: &[&Surprise]) -> Vec<u8> {
    let mut out = start();
    put_varint(&mut out, surprises.len() as u64);
    put_column(&mut out, &surprises.iter().map(|surprise| surprise.time.0).collect::<Vec<_>>(), LEVEL_CHUNK);
    put_column(&mut out, &surprises.iter().map(|surprise| surprise.score).collect::<Vec<_>>(), LEVEL_CHUNK);
    put_runs(&mut out, &surprises.iter().map(|surprise| u8::from(surprise.settled)).collect::<Vec<_>>());
    out
}

/// Time, score, settled.
pub(crate) fn decode_scores(body: &[u8]) -> Result<Vec<(i64, f32, bool)>, CodecError> {
    let mut reader = Reader::new(body);
    let scores = read_scores(&mut reader)?;
    reader.end()?;
    Ok(scores)
}

fn read_scores(reader: &mut Reader<'_>) -> Result<Vec<(i64, f32, bool)>, CodecError> {
    reader.version(VERSION)?;
    let count = reader.count()?;
    let times = reader.column::<i64>(count)?;
    let scores = reader.column::<f32>(count)?;
    let settled = reader.runs(count)?;
    Ok(times.into_iter().zip(scores).zip(settled).map(|((time, score), settled)| (time, score, settled != 0)).collect())
}

/// The things that occur in any of `lists`, in the order of their first occurrence.
fn in_order<T: Copy + Eq + std::hash::Hash>(lists: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    lists.filter(|&item| seen.insert(item)).collect()
}

/// For each of `items`: what `find` finds, and a flag where it finds something.
fn presence<'a, I, T>(items: &'a [I], find: impl Fn(&'a I) -> Option<T>) -> (Vec<u8>, Vec<T>) {
    let mut flags = Vec::with_capacity(items.len());
    let mut found = Vec::new();
    for item in items {
        let item = find(item);
        flags.push(u8::from(item.is_some()));
        found.extend(item);
    }
    (flags, found)
}

fn put_bands(out: &mut Vec<u8>, bands: &[Band]) {
    let bounds: [fn(&Band) -> f32; 3] = [|band| band.low, |band| band.mid, |band| band.high];
    for of in bounds {
        put_column(out, &bands.iter().map(of).collect::<Vec<f32>>(), LEVEL_CHUNK);
    }
}

fn read_bands(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Band>, CodecError> {
    let low = reader.column::<f32>(count)?;
    let mid = reader.column::<f32>(count)?;
    let high = reader.column::<f32>(count)?;
    Ok(low.into_iter().zip(mid).zip(high).map(|((low, mid), high)| Band { low, mid, high }).collect())
}

fn count_set(flags: &[u8]) -> usize {
    flags.iter().filter(|&&flag| flag != 0).count()
}

/// Tags that the file does not know are left out (there are none: a history is opened with its plant).
pub(crate) fn encode_forecasts(forecasts: &[&Forecast], horizons: Range<usize>, ids: &Ids) -> Vec<u8> {
    let mut out = start();
    put_varint(&mut out, forecasts.len() as u64);
    put_column(&mut out, &forecasts.iter().map(|forecast| forecast.time.0).collect::<Vec<_>>(), LEVEL_CHUNK);
    put_column(&mut out, &forecasts.iter().map(|forecast| forecast.tick_ns).collect::<Vec<_>>(), LEVEL_CHUNK);
    let tags = in_order(forecasts.iter().flat_map(|forecast| forecast.tags.iter().map(|tag| tag.tag)));
    let tags: Vec<_> = tags.into_iter().filter_map(|tag| Some((tag, ids.tag(tag)?))).collect();
    put_varint(&mut out, tags.len() as u64);
    for (tag, id) in tags {
        put_varint(&mut out, id.unsigned_abs());
        let (flags, found) = presence(forecasts, |forecast| forecast.tags.iter().find(|of| of.tag == tag));
        put_runs(&mut out, &flags);
        for horizon in horizons.clone() {
            put_bands(&mut out, &found.iter().map(|of| of.bands[horizon]).collect::<Vec<_>>());
        }
    }
    out
}

/// Forecasts in which only `horizons` are filled in, as in [`encode_forecasts`]; the others are as in `into`, which is
/// the result of another part of the same ticks, or empty.
pub(crate) fn decode_forecasts(
    body: &[u8],
    horizons: Range<usize>,
    line: LineId,
    ids: &Ids,
    into: Vec<Forecast>,
) -> Result<Vec<Forecast>, CodecError> {
    let mut reader = Reader::new(body);
    reader.version(VERSION)?;
    let count = reader.count()?;
    let times = reader.column::<i64>(count)?;
    let ticks = reader.column::<i64>(count)?;
    let mut forecasts = into;
    if forecasts.is_empty() {
        forecasts = times
            .iter()
            .zip(&ticks)
            .map(|(&time, &tick_ns)| Forecast { line, time: UtcNanos(time), tick_ns, tags: Vec::new() })
            .collect();
    }
    if forecasts.len() != count {
        return Err(CodecError::Invalid("its forecasts are not those of its bands"));
    }
    let empty = Band { low: f32::NAN, mid: f32::NAN, high: f32::NAN };
    for _ in 0..reader.count()? {
        let tag = ids.tag_of(reader.varint()? as i64);
        let flags = reader.runs(count)?;
        let found = count_set(&flags);
        for horizon in horizons.clone() {
            let mut bands = read_bands(&mut reader, found)?.into_iter();
            let Some(tag) = tag else { continue };
            for (forecast, _) in forecasts.iter_mut().zip(&flags).filter(|(_, flag)| **flag != 0) {
                let Some(band) = bands.next() else { break };
                match forecast.tags.iter_mut().find(|of| of.tag == tag) {
                    Some(of) => of.bands[horizon] = band,
                    None => {
                        let mut of = TagForecast { tag, bands: [empty; HORIZONS.len()] };
                        of.bands[horizon] = band;
                        forecast.tags.push(of);
                    }
                }
            }
        }
    }
    reader.end()?;
    Ok(forecasts)
}

pub(crate) fn encode_surprises(surprises: &[&Surprise], ids: &Ids) -> Vec<u8> {
    let mut out = encode_scores(surprises);
    for surprise in surprises {
        put_varint(&mut out, surprise.parts.len() as u64);
    }
    let parts: Vec<_> = surprises.iter().flat_map(|surprise| surprise.parts.iter()).collect();
    put_runs(&mut out, &parts.iter().map(|(part, _)| part_number(*part)).collect::<Vec<_>>());
    put_column(&mut out, &parts.iter().map(|(_, score)| *score).collect::<Vec<_>>(), LEVEL_CHUNK);

    let tags = in_order(surprises.iter().flat_map(|surprise| surprise.tags.iter().map(|tag| tag.tag)));
    let tags: Vec<_> = tags.into_iter().filter_map(|tag| Some((tag, ids.tag(tag)?))).collect();
    put_varint(&mut out, tags.len() as u64);
    for (tag, id) in tags {
        put_varint(&mut out, id.unsigned_abs());
        let (flags, found) = presence(surprises, |surprise| surprise.tags.iter().find(|of| of.tag == tag));
        put_runs(&mut out, &flags);
        put_column(&mut out, &found.iter().map(|of| of.score).collect::<Vec<_>>(), LEVEL_CHUNK);
        put_runs(&mut out, &found.iter().map(|of| part_number(of.part)).collect::<Vec<_>>());
        let (flags, bands) = presence(&found, |of| of.predicted);
        put_runs(&mut out, &flags);
        put_bands(&mut out, &bands);
        let (flags, actual) = presence(&found, |of| of.actual);
        put_runs(&mut out, &flags);
        put_column(&mut out, &actual, LEVEL_CHUNK);
    }

    let cameras = in_order(surprises.iter().flat_map(|surprise| surprise.patches.iter().map(|map| map.camera)));
    let cameras: Vec<_> = cameras.into_iter().filter_map(|camera| Some((camera, ids.camera(camera)?))).collect();
    put_varint(&mut out, cameras.len() as u64);
    for (camera, id) in cameras {
        put_varint(&mut out, id.unsigned_abs());
        let (flags, maps) = presence(surprises, |surprise| surprise.patches.iter().find(|map| map.camera == camera));
        put_runs(&mut out, &flags);
        put_maps(&mut out, &maps);
    }
    out
}

/// Maps of one camera: alike in shape, and then each patch along time; else one after the other.
pub(crate) fn put_maps(out: &mut Vec<u8>, maps: &[&PatchMap]) {
    put_runs(out, &maps.iter().map(|map| part_number(map.part)).collect::<Vec<_>>());
    for map in maps {
        put_varint(out, map.rows.into());
        put_varint(out, map.cols.into());
        put_varint(out, map.scores.len() as u64);
    }
    let is_even = maps.windows(2).all(|pair| pair[0].scores.len() == pair[1].scores.len());
    out.push(u8::from(is_even));
    let scores: Vec<f32> = if is_even {
        let patches = maps.first().map_or(0, |map| map.scores.len());
        (0..patches).flat_map(|patch| maps.iter().map(move |map| map.scores[patch])).collect()
    } else {
        maps.iter().flat_map(|map| map.scores.iter().copied()).collect()
    };
    put_column(out, &scores, LEVEL_CHUNK);
}

pub(crate) fn read_maps(reader: &mut Reader<'_>, count: usize, camera: CameraId) -> Result<Vec<PatchMap>, CodecError> {
    let parts = reader.runs(count)?;
    let mut maps = Vec::with_capacity(count);
    let mut lengths = Vec::with_capacity(count);
    for number in parts {
        let side = |value: u64| u16::try_from(value).map_err(|_| CodecError::Invalid("a map is absurdly large"));
        let (rows, cols) = (side(reader.varint()?)?, side(reader.varint()?)?);
        lengths.push(reader.count()?);
        maps.push(PatchMap { camera, rows, cols, scores: Vec::new(), part: part(number)? });
    }
    let is_even = reader.byte()? != 0;
    let total = lengths.iter().try_fold(0usize, |sum, &length| sum.checked_add(length));
    let total = total.filter(|&total| total <= crate::codec::COLUMN_VALUES_MAX);
    let total = total.ok_or(CodecError::Invalid("its maps are absurdly large"))?;
    let scores = reader.column::<f32>(total)?;
    if is_even && lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(CodecError::Invalid("its maps are not of one size"));
    }
    let mut from = 0;
    for (index, (map, length)) in maps.iter_mut().zip(lengths).enumerate() {
        map.scores = if is_even {
            scores.iter().skip(index).step_by(count).copied().collect()
        } else {
            scores[from..from + length].to_vec()
        };
        from += length;
    }
    Ok(maps)
}

pub(crate) fn decode_surprises(body: &[u8], line: LineId, ids: &Ids) -> Result<Vec<Surprise>, CodecError> {
    let mut reader = Reader::new(body);
    let scores = read_scores(&mut reader)?;
    let count = scores.len();
    let mut surprises: Vec<Surprise> = scores
        .into_iter()
        .map(|(time, score, settled)| Surprise {
            line,
            time: UtcNanos(time),
            score,
            parts: Vec::new(),
            tags: Vec::new(),
            patches: Vec::new(),
            // What people set is stored as samples, and the ground of an advisory with its causes.
            unknown_ground: Vec::new(),
            settled,
        })
        .collect();
    let lengths = (0..count).map(|_| reader.count()).collect::<Result<Vec<_>, _>>()?;
    let total = lengths.iter().sum();
    let numbers = reader.runs(total)?;
    let mut parts = numbers.into_iter().zip(reader.column::<f32>(total)?);
    for (surprise, length) in surprises.iter_mut().zip(lengths) {
        for (number, score) in parts.by_ref().take(length) {
            surprise.parts.push((part(number)?, score));
        }
    }
    for _ in 0..reader.count()? {
        let tag = ids.tag_of(reader.varint()? as i64);
        let flags = reader.runs(count)?;
        let found = count_set(&flags);
        let scores = reader.column::<f32>(found)?;
        let parts = reader.runs(found)?;
        let with_band = reader.runs(found)?;
        let mut bands = read_bands(&mut reader, count_set(&with_band))?.into_iter();
        let with_actual = reader.runs(found)?;
        let mut actual = reader.column::<f64>(count_set(&with_actual))?.into_iter();
        let Some(tag) = tag else { continue };
        let here = surprises.iter_mut().zip(&flags).filter(|(_, flag)| **flag != 0);
        for (index, (surprise, _)) in here.enumerate() {
            surprise.tags.push(TagSurprise {
                tag,
                score: scores[index],
                part: part(parts[index])?,
                predicted: if with_band[index] != 0 { bands.next() } else { None },
                actual: if with_actual[index] != 0 { actual.next() } else { None },
            });
        }
    }
    for _ in 0..reader.count()? {
        let camera = ids.camera_of(reader.varint()? as i64);
        let flags = reader.runs(count)?;
        let maps = read_maps(&mut reader, count_set(&flags), camera.unwrap_or(CameraId(u16::MAX)))?;
        if camera.is_none() {
            continue;
        }
        for ((surprise, _), map) in surprises.iter_mut().zip(&flags).filter(|(_, flag)| **flag != 0).zip(maps) {
            surprise.patches.push(map);
        }
    }
    reader.end()?;
    Ok(surprises)
}
