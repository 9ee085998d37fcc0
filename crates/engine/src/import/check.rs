//! The first reading of the files: everything that is wrong with them, and what they would change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use serde::Serialize;
use sightglass_history::History;
use sightglass_plant::Plant;
use sightglass_protocol::{Quality, Sample, TagId, UtcNanos};

use super::{BAD_LISTED_MAX, Options, Reader};
use crate::EngineError;

/// Samples that are held against the history at a time: bounds memory.
const COMPARED_MAX: usize = 1 << 18;

/// What is in the files.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub files: Vec<FileReport>,
    pub tags: BTreeMap<String, TagReport>,
    pub samples: u64,
    /// Samples that the history does not have.
    pub new: u64,
    /// Samples that it has just so, or that come twice.
    pub duplicate: u64,
    /// Samples that it has at the same time with another value or quality.
    pub corrected: u64,
    /// Rows that cannot be used.
    pub bad: u64,
}

impl Report {
    /// The time of the last sample.
    pub(crate) fn last(&self) -> Option<UtcNanos> {
        self.tags.values().filter_map(|tag| tag.times).map(|(_, last)| last).max()
    }
}

/// What is in one file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileReport {
    pub path: PathBuf,
    pub rows: u64,
    pub samples: u64,
    pub bad: u64,
    /// The first places that cannot be used, with their line or row.
    pub bad_places: Vec<String>,
    /// Times that local clocks showed twice; taken as the first.
    pub ambiguous_times: u64,
}

impl FileReport {
    fn bad(&mut self, place: String) {
        self.bad += 1;
        if self.bad_places.len() < BAD_LISTED_MAX {
            self.bad_places.push(place);
        }
    }
}

/// What there is of one tag.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TagReport {
    pub samples: u64,
    /// Samples without a usable value.
    pub unusable: u64,
    pub first: Option<String>,
    pub last: Option<String>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Values beyond the range that the plant's description gives.
    pub out_of_range: u64,
    #[serde(skip)]
    times: Option<(UtcNanos, UtcNanos)>,
}

impl TagReport {
    fn take(&mut self, sample: &Sample, range: Option<(f64, f64)>) {
        self.samples += 1;
        let (first, last) = self.times.unwrap_or((sample.time, sample.time));
        self.times = Some((first.min(sample.time), last.max(sample.time)));
        if !sample.quality.is_usable() || !sample.value.is_finite() {
            self.unusable += 1;
            return;
        }
        self.min = Some(self.min.map_or(sample.value, |min| min.min(sample.value)));
        self.max = Some(self.max.map_or(sample.value, |max| max.max(sample.value)));
        if range.is_some_and(|(low, high)| !(low..=high).contains(&sample.value)) {
            self.out_of_range += 1;
        }
    }
}

/// Reads all files and holds them against the history, where there is one. `progress` is told of each file how far it
/// is read.
///
/// # Errors
/// A file that cannot be opened, or the history's own. What is wrong with rows is in the report.
pub(crate) fn check(
    files: &[PathBuf],
    plant: &Plant,
    options: &Options,
    history: Option<(&tokio::runtime::Handle, &History)>,
    mut progress: impl FnMut(&Reader),
) -> Result<Report, EngineError> {
    // Before anything is read for long: all of them can be opened.
    for path in files {
        Reader::open(path, plant, options)?;
    }
    let mut report = Report::default();
    let mut tags: Vec<TagReport> = vec![TagReport::default(); plant.tags.len()];
    let mut waiting = Vec::new();
    for path in files {
        let mut reader = Reader::open(path, plant, options)?;
        let mut file =
            FileReport { path: path.clone(), rows: 0, samples: 0, bad: 0, bad_places: Vec::new(), ambiguous_times: 0 };
        while let Some(row) = reader.next_row() {
            let row = match row {
                Ok(row) => row,
                Err(reason) => {
                    file.bad(format!("{}: reading stopped: {reason}", path.display()));
                    break;
                }
            };
            file.rows += 1;
            match row.content {
                Err(reason) => {
                    file.bad(format!("{}, {} {}: {reason}", path.display(), reader.row_word(), row.number));
                }
                Ok(samples) => {
                    for sample in &samples {
                        tags[sample.tag.index()].take(sample, plant.tags[sample.tag.index()].range);
                    }
                    file.samples += samples.len() as u64;
                    waiting.extend(samples);
                }
            }
            if waiting.len() >= COMPARED_MAX {
                compare(&mut waiting, history, &mut report)?;
                progress(&reader);
            }
        }
        compare(&mut waiting, history, &mut report)?;
        progress(&reader);
        file.ambiguous_times = reader.ambiguous();
        report.samples += file.samples;
        report.bad += file.bad;
        report.files.push(file);
    }
    for (tag, mut found) in plant.tags.iter().zip(tags) {
        if let Some((first, last)) = found.times {
            found.first = Some(first.to_string());
            found.last = Some(last.to_string());
            report.tags.insert(tag.name.clone(), found);
        }
    }
    Ok(report)
}

/// What tells two samples of one tag and time apart.
fn bits(sample: &Sample) -> (u64, Quality) {
    (sample.value.to_bits(), sample.quality)
}

/// Holds samples against the history and each other, and forgets them.
fn compare(
    waiting: &mut Vec<Sample>,
    history: Option<(&tokio::runtime::Handle, &History)>,
    report: &mut Report,
) -> Result<(), EngineError> {
    let mut by_tag: BTreeMap<TagId, HashMap<UtcNanos, (u64, Quality)>> = BTreeMap::new();
    for sample in waiting.drain(..) {
        let known = by_tag.entry(sample.tag).or_default();
        match known.insert(sample.time, bits(&sample)) {
            None => {}
            Some(before) if before == bits(&sample) => report.duplicate += 1,
            Some(_) => report.corrected += 1,
        }
    }
    for (tag, samples) in by_tag {
        let mut same = BTreeSet::new();
        let mut other = BTreeSet::new();
        let range = samples.keys().min().zip(samples.keys().max());
        if let (Some((runtime, history)), Some((&first, &last))) = (history, range) {
            let mut pages = history.samples_of(&[tag], first, last)?;
            while let Some(page) = runtime.block_on(pages.next())? {
                for stored in page {
                    match samples.get(&stored.time) {
                        None => {}
                        Some(found) if *found == bits(&stored) => {
                            same.insert(stored.time);
                        }
                        Some(_) => {
                            other.insert(stored.time);
                        }
                    }
                }
            }
        }
        // A value that was corrected once is there beside the one that replaced it.
        let corrected = other.difference(&same).count() as u64;
        report.duplicate += same.len() as u64;
        report.corrected += corrected;
        report.new += samples.len() as u64 - same.len() as u64 - corrected;
    }
    Ok(())
}
