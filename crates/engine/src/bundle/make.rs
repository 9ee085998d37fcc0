//! Making a bundle from a recording.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sightglass_history::{History, RecordedScore, partition};
use sightglass_ingest::Pace;
use sightglass_plant::{CameraFeed, Device, Plant, SampleFile, SampleFormat, SampleLayout, Source, SourceKind};
use sightglass_protocol::{Advisory, AdvisoryId, CameraId, LineId, PlantInfo, TagId, UtcNanos, time::SECOND};
use sightglass_world_model::{ComputeDevice, PlantModel};

use super::{
    ABOUT, ADVISORY, Bundle, CARD, CLIPS, FORM, MODEL, PLANT, SAMPLES, SCORES, Scores, Wanted, processor, program, sums,
};
use crate::run::RunOptions;
use crate::{EngineError, card, commands::print, kept_plant, model_files};

/// How long before an incident a bundle begins at most: the model remembers, so that a bundle begins with the run.
const BEFORE_NS_MAX: i64 = 24 * 3_600 * SECOND;
/// What a bundle has after the incident's end.
const AFTER_NS: i64 = 60 * SECOND;
/// Ticks that may lie between two of one run: what the model's stream bridges, and one.
const APART_TICKS_MAX: i64 = 4;

/// What is known before anything is written.
struct Plan {
    plant: Plant,
    line: LineId,
    model: Option<PathBuf>,
    advisory: Option<Advisory>,
    from: UtcNanos,
    to: UtcNanos,
    is_whole_run: bool,
    recorded: Vec<RecordedScore>,
}

/// Makes a bundle in the folder `out`, which must be empty or absent; it is there whole or not at all.
///
/// # Errors
/// An advisory or line that is not there, a recording without its description, and whatever cannot be read or written.
pub(crate) fn make(data: &Path, wanted: Wanted, plant: Option<&Path>, out: &Path) -> Result<Bundle, EngineError> {
    let is_taken = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(EngineError::io("looking into", out)(error)),
    };
    if is_taken {
        return Err(EngineError::Usage(format!(
            "the folder {} is not empty; a bundle needs a folder of its own",
            out.display()
        )));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(EngineError::io("starting threads for", "the history"))?;
    let history = runtime.block_on(History::open_read_only(data))?;
    let plan = runtime.block_on(plan(&history, wanted, plant))?;

    let partial = Partial::make(out)?;
    let folder = &partial.0;
    let info = plan.plant.info();
    let samples = folder.join(SAMPLES);
    let stats = runtime.block_on(history.export_run(&info, plan.line, plan.from, plan.to, &samples))?;
    let clips_missing = runtime.block_on(copy_clips(&history, &plan, folder))?;
    let model = copy_model(&plan, folder)?;
    if let Some(advisory) = &plan.advisory {
        let text = format!("{:#}\n", print::advisory(history.plant(), advisory));
        write(&folder.join(ADVISORY), &text)?;
    }
    let description = folder.join(PLANT);
    write(&description, &sightglass_plant::to_text(&on_its_own(&plan, model.is_some())))?;

    let scores = replay(&description, &plan)?;
    let about = Bundle {
        form: FORM,
        made_by: program(),
        processor: processor(),
        plant: plan.plant.name.clone(),
        line: plan.plant.lines[plan.line.index()].name.clone(),
        incident: plan.advisory.as_ref().map(|advisory| advisory.id.0),
        from: plan.from,
        to: plan.to,
        is_whole_run: plan.is_whole_run,
        model,
        samples: stats.samples,
        clips_missing,
        ticks: scores.judged(),
        recorded: scores.against_recorded(&plan.recorded),
    };
    scores.write(&folder.join(SCORES), &plan.recorded)?;
    let text = serde_json::to_string_pretty(&about)
        .map_err(|error| EngineError::FoundWrong(format!("the bundle cannot be described: {error}")))?;
    write(&folder.join(ABOUT), &format!("{text}\n"))?;
    sums::write(folder)?;
    partial.finish(out)?;
    Ok(about)
}

fn write(path: &Path, text: &str) -> Result<(), EngineError> {
    fs::write(path, text).map_err(EngineError::io("writing", path))
}

/// The folder that is being filled, beside the one that it becomes. Removed unless it is finished.
struct Partial(PathBuf);

impl Partial {
    fn make(out: &Path) -> Result<Self, EngineError> {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let folder = out.with_file_name(name);
        fs::create_dir_all(&folder).map_err(EngineError::io("making the folder", &folder))?;
        Ok(Self(folder))
    }

    fn finish(self, out: &Path) -> Result<(), EngineError> {
        // An empty folder may stand there; a rename does not replace it everywhere.
        match fs::remove_dir(out) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(EngineError::io("replacing the empty folder", out)(error)),
        }
        fs::rename(&self.0, out).map_err(EngineError::io("naming the folder", out))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            // It has its name.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{} could not be removed: {error}", self.0.display()),
        }
    }
}

async fn plan(history: &History, wanted: Wanted, plant: Option<&Path>) -> Result<Plan, EngineError> {
    let info = history.plant();
    let (line, advisory, around) = match wanted {
        Wanted::Incident(id) => {
            let advisory = incident(history, id).await?;
            let end = advisory.closed.unwrap_or(advisory.last_seen) + AFTER_NS;
            (info.lines[advisory.line.index()].name.clone(), Some(advisory.clone()), (advisory.since, end))
        }
        Wanted::Range { line, from, to } => (line_name(info, line)?, None, (from, to)),
    };
    let described = match plant {
        Some(path) => {
            let plant = sightglass_plant::load(path)?;
            let model = None;
            (plant, model)
        }
        None => {
            let kept = kept_plant::find(history, &line, around.1).await?.ok_or_else(|| {
                EngineError::Usage(format!(
                    "{} does not say which description and model line {line} ran with; give the description with \
                     --plant plant.toml",
                    history.dir().display()
                ))
            })?;
            (sightglass_plant::load(&kept.plant)?, kept.model)
        }
    };
    let (plant, model) = described;
    let found = plant.lines.iter().find(|candidate| candidate.name == line).map(|line| (line.id, line.tick_ns));
    let (id, tick_ns) = found.ok_or_else(|| {
        EngineError::Usage(format!("the plant's description has no line '{line}', which the recording has"))
    })?;
    let model = model.or_else(|| model_files::path(&plant, id).filter(|path| path.exists()));
    let recorded_line = info.lines.iter().find(|candidate| candidate.name == line).map(|line| line.id);
    let looked_from =
        if advisory.is_some() { around.0 - BEFORE_NS_MAX } else { around.0 } - 2 * APART_TICKS_MAX * tick_ns;
    let recorded = match recorded_line {
        Some(line) => history.recorded_scores(line, looked_from, around.1).await?,
        None => Vec::new(),
    };
    let (from, is_whole_run) = match &advisory {
        Some(advisory) => beginning(&recorded, advisory.since, looked_from, tick_ns),
        None => cut(&recorded, around.0, tick_ns),
    };
    Ok(Plan { plant, line: id, model, advisory, from, to: around.1, is_whole_run, recorded })
}

async fn incident(history: &History, id: AdvisoryId) -> Result<Advisory, EngineError> {
    if let Some(advisory) = history.advisory(id).await? {
        return Ok(advisory);
    }
    let known = history.advisories(None, UtcNanos::MIN, UtcNanos::MAX, 10).await?;
    let newest: Vec<String> = known.iter().map(|advisory| format!("{} ({})", advisory.id.0, advisory.since)).collect();
    Err(EngineError::Usage(format!(
        "there is no advisory {}; {}",
        id.0,
        if newest.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("the newest are {}", newest.join(", "))
        }
    )))
}

fn line_name(info: &PlantInfo, wanted: Option<String>) -> Result<String, EngineError> {
    let names: Vec<&str> = info.lines.iter().map(|line| line.name.as_str()).collect();
    match (wanted, names.as_slice()) {
        (Some(line), names) if names.contains(&line.as_str()) => Ok(line),
        (Some(line), names) => {
            Err(EngineError::Usage(format!("there is no line '{line}'; there are {}", names.join(", "))))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => Err(EngineError::Usage(format!("say which line with --line: {}", names.join(", ")))),
    }
}

/// Where a bundle of what happened at `since` begins: with the run that holds it, unless that is too long before; and
/// whether it does. `looked_from` is where the recorded ticks were read from.
fn beginning(recorded: &[RecordedScore], since: UtcNanos, looked_from: UtcNanos, tick_ns: i64) -> (UtcNanos, bool) {
    let before = &recorded[..recorded.partition_point(|tick| tick.time <= since)];
    let apart = |pair: &[RecordedScore]| pair[1].time.since(pair[0].time) > APART_TICKS_MAX * tick_ns + tick_ns / 2;
    let first = before.windows(2).rposition(apart).map_or(0, |at| at + 1);
    match before.get(first) {
        Some(tick) if tick.time.since(looked_from) > 2 * APART_TICKS_MAX * tick_ns => (tick.time - tick_ns + 1, true),
        _ => ((since - BEFORE_NS_MAX).floor_to(tick_ns) + 1, false),
    }
}

/// The same for a stretch that is to begin at `from`.
fn cut(recorded: &[RecordedScore], from: UtcNanos, tick_ns: i64) -> (UtcNanos, bool) {
    let at = recorded.partition_point(|tick| tick.time < from);
    match (at.checked_sub(1).and_then(|at| recorded.get(at)), recorded.get(at)) {
        (None, Some(first)) => (from.max(first.time - tick_ns + 1), true),
        (Some(last), Some(first)) if first.time.since(last.time) > APART_TICKS_MAX * tick_ns + tick_ns / 2 => {
            (from.max(first.time - tick_ns + 1), true)
        }
        _ => (from, false),
    }
}

/// Copies the segments and writes each camera's index; gives those that cannot be copied.
async fn copy_clips(history: &History, plan: &Plan, folder: &Path) -> Result<Vec<String>, EngineError> {
    let mut missing = Vec::new();
    for &camera in &plan.plant.lines[plan.line.index()].cameras {
        let name = &plan.plant.cameras[camera.index()].name;
        let index = folder.join(clips_index(name));
        let clips = index.with_extension("");
        fs::create_dir_all(&clips).map_err(EngineError::io("making the folder", &clips))?;
        let failed = |error: csv::Error| EngineError::io("writing", &index)(error.into());
        let mut writer = csv::Writer::from_path(&index).map_err(failed)?;
        writer.write_record(["path", "start"]).map_err(failed)?;
        let known = history.plant().cameras.iter().find(|camera| camera.name == *name).map(|camera| camera.id);
        let segments = match known {
            Some(camera) => history.segments(camera, plan.from, plan.to).await?,
            None => Vec::new(),
        };
        let bar = card::bar(segments.len() as u64, &format!("copying video of {name}"));
        for (number, segment) in segments.iter().enumerate() {
            let file = format!("{}/{number:05}.mkv", partition(name));
            match fs::copy(history.dir().join(&segment.path), folder.join(CLIPS).join(&file)) {
                Ok(_) => writer.write_record([file, segment.start.to_string()]).map_err(failed)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(segment.path.clone()),
                Err(error) => return Err(EngineError::io("copying", &segment.path)(error)),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        writer.flush().map_err(EngineError::io("writing", &index))?;
    }
    Ok(missing)
}

/// A camera's index within the bundle.
fn clips_index(camera: &str) -> PathBuf {
    // The ending must not be taken for a part of the name.
    Path::new(CLIPS).join(format!("{}.csv", partition(camera)))
}

/// Copies the model and writes its card; gives the hash of its file.
fn copy_model(plan: &Plan, folder: &Path) -> Result<Option<String>, EngineError> {
    let Some(path) = &plan.model else { return Ok(None) };
    let copy = folder.join(MODEL);
    fs::copy(path, &copy).map_err(EngineError::io("copying", path))?;
    let encoder = model_files::encoder(&plan.plant)?;
    let spec = model_files::spec(&plan.plant, plan.line);
    let model = PlantModel::load_with(&copy, &spec, &ComputeDevice::cpu(), encoder.as_ref())?;
    write(&folder.join(CARD), &model.card().to_text())?;
    Ok(Some(sums::of_file(&copy)?))
}

/// The line alone, on the bundle's own files.
fn on_its_own(plan: &Plan, has_model: bool) -> Plant {
    let line = &plan.plant.lines[plan.line.index()];
    let mut plant = plan.plant.clone();
    plant.sources = Vec::new();
    if !line.tags.is_empty() {
        let file = SampleFile {
            paths: vec![SAMPLES.into()],
            format: SampleFormat::Parquet,
            layout: SampleLayout::Long,
            time_column: "time".to_owned(),
        };
        plant.sources.push(Source { name: "recording".to_owned(), kind: SourceKind::File(file) });
    }
    plant.tags = line.tags.iter().map(|tag| plan.plant.tags[tag.index()].clone()).collect();
    for (index, tag) in plant.tags.iter_mut().enumerate() {
        tag.id = TagId::from_index(index);
        tag.line = LineId::from_index(0);
        tag.source = 0;
        tag.address = tag.name.clone();
    }
    plant.cameras = line.cameras.iter().map(|camera| plan.plant.cameras[camera.index()].clone()).collect();
    for (index, camera) in plant.cameras.iter_mut().enumerate() {
        camera.id = CameraId::from_index(index);
        camera.line = LineId::from_index(0);
        camera.feed = CameraFeed::Clips(clips_index(&camera.name));
        camera.start = None;
    }
    let mut line = line.clone();
    line.id = LineId::from_index(0);
    line.tags = plant.tags.iter().map(|tag| tag.id).collect();
    line.cameras = plant.cameras.iter().map(|camera| camera.id).collect();
    plant.lines = vec![line];
    // What every PC has, so that everybody gets the scores that are written in the bundle.
    plant.model.device = Device::Cpu;
    plant.model.path = has_model.then(|| MODEL.into());
    plant
}

/// Replays the bundle as anybody will.
fn replay(description: &Path, plan: &Plan) -> Result<Scores, EngineError> {
    let plant = sightglass_plant::load(description)?;
    let options = RunOptions {
        pace: Pace::Max,
        data: None,
        serve: false,
        mode: "replay".to_owned(),
        live: false,
        from: Some(plan.from),
        to: Some(plan.to),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let ticks = plan.to.since(plan.from) / plan.plant.lines[plan.line.index()].tick_ns;
    let bar = card::bar(ticks.unsigned_abs(), "replaying");
    let mut scores = Scores::default();
    crate::run::run(&plant, options, &|_| None, |notice| {
        if matches!(notice, crate::notice::Notice::Tick { .. }) {
            bar.inc(1);
        }
        scores.take(notice);
    })?;
    bar.finish_and_clear();
    Ok(scores)
}
