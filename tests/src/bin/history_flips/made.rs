//! The histories of which copies are changed: one that was closed, one whose log was never folded in.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use sightglass_history::{FILE_NAME, History, Outage, OutageKind};
use sightglass_protocol::{
    Advisory, AdvisoryChange, AdvisoryId, AdvisoryKind, Band, CameraId, CameraInfo, Cause, Forecast, Health,
    HealthState, LineId, LineInfo, PatchMap, PlantInfo, Quality, Role, Sample, ScorePart, Segment, Subject, Surprise,
    TagForecast, TagId, TagInfo, TagSurprise, TimeSource, UtcNanos, time::SECOND,
};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

/// 2026-11-24T08:00:00Z.
const START: i64 = 1_795_507_200 * SECOND;
const TAGS: u32 = 4;

/// Numbers that depend on nothing but their seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What there is to change.
pub(crate) struct Made {
    /// The folder of a history that was closed.
    pub(crate) closed: PathBuf,
    /// The folder of one that was not.
    pub(crate) open: PathBuf,
    pub(crate) page_bytes: u64,
    /// Pages by kind, of tables (true) or indexes.
    by_kind: BTreeMap<(String, bool), Vec<u64>>,
    /// Pages that hold nothing, and the list of them.
    pub(crate) free: Vec<u64>,
    /// Files of video, relative to the folder.
    pub(crate) videos: Vec<String>,
}

impl Made {
    /// Makes both below `folder`.
    pub(crate) async fn new(folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let work = folder.join("work");
        let (closed, open) = (folder.join("closed"), folder.join("open"));
        let history = History::open(&work, &plant()).await?;
        let videos = fill(&history, &work).await?;
        history.close().await?;
        copy_folder(&work, &closed)?;
        // The next run is copied while it goes on, as a power cut or a kill would leave it.
        let history = History::open(&work, &plant()).await?;
        for second in 9000..9040 {
            history.append(&samples(second, 1)).await?;
            if second % 5 == 0 {
                history.put_event(at(second), "step", "a step of the line").await?;
            }
        }
        history.put_audit(at(9041), "meyer", "acknowledged advisory 2").await?;
        copy_folder(&work, &open)?;
        history.close().await?;
        fs::remove_dir_all(&work)?;
        if !open.join(format!("{FILE_NAME}-wal")).exists() {
            return Err("the history that goes on has no log".into());
        }
        let (by_kind, free) = pages(&closed.join(FILE_NAME)).await?;
        let page_bytes = 8192;
        Ok(Self { closed, open, page_bytes, by_kind, free, videos })
    }

    pub(crate) fn pages(&self, kind: &str, of_tables: bool) -> &[u64] {
        self.by_kind.get(&(kind.to_owned(), of_tables)).map_or(&[1], Vec::as_slice)
    }
}

fn at(second: i64) -> UtcNanos {
    UtcNanos(START + second * SECOND)
}

fn plant() -> PlantInfo {
    let tag = |id: u32| TagInfo {
        id: TagId(id),
        line: LineId(0),
        name: format!("pressure {id}"),
        description: String::new(),
        unit: "bar".to_owned(),
        range: Some((0.0, 10.0)),
        role: Role::Measurement,
    };
    PlantInfo {
        name: "Works 1".to_owned(),
        lines: vec![LineInfo {
            id: LineId(0),
            name: "Filling".to_owned(),
            tick_ns: SECOND,
            tags: (0..TAGS).map(TagId).collect(),
            cameras: vec![CameraId(0)],
        }],
        tags: (0..TAGS).map(tag).collect(),
        cameras: vec![CameraInfo { id: CameraId(0), line: LineId(0), name: "filler".to_owned(), roi: None, fps: 25.0 }],
    }
}

/// Samples of all tags, ten a second, that hardly compress.
fn samples(second: i64, seconds: i64) -> Vec<Sample> {
    let mut random = Random::new(second as u64);
    let mut samples = Vec::new();
    for tenth in second * 10..(second + seconds) * 10 {
        for tag in 0..TAGS {
            samples.push(Sample {
                tag: TagId(tag),
                time: UtcNanos(START + tenth * SECOND / 10),
                value: random.below(1 << 40) as f64 / 1e10,
                quality: if random.below(50) == 0 { Quality::Uncertain } else { Quality::Good },
                time_source: TimeSource::Device,
            });
        }
    }
    samples
}

/// Some of everything; returns the files of video.
async fn fill(history: &History, dir: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    for minute in 0..40 {
        history.append(&samples(minute * 60, 60)).await?;
        if minute % 8 == 7 {
            history.merge(at(minute * 60)).await?;
        }
    }
    // Values that others replace.
    let mut others = samples(100, 20);
    others.iter_mut().for_each(|sample| sample.value += 1.0);
    history.append(&others).await?;
    history.merge(at(2_300)).await?;
    for second in 0..60 {
        history.put_outputs(&[output(second)]).await?;
    }
    history.merge(at(30)).await?;
    for second in 60..80 {
        history.put_outputs(&[output(second)]).await?;
    }
    for id in 1..=6 {
        let opened = advisory(id);
        history.put_advisory(&AdvisoryChange::Opened(opened.clone())).await?;
        if id % 2 == 0 {
            let closed = Advisory { closed: Some(at(400 + id as i64)), ..opened };
            history.put_advisory(&AdvisoryChange::Closed(closed)).await?;
        }
    }
    let mut random = Random::new(7);
    let mut videos = Vec::new();
    fs::create_dir_all(dir.join("video/Filling"))?;
    for number in 0..6 {
        let path = format!("video/Filling/{number}.mkv");
        let bytes: Vec<u8> = (0..3_000 + number * 500).map(|_| random.below(256) as u8).collect();
        fs::write(dir.join(&path), &bytes)?;
        history
            .put_segment(&Segment {
                camera: CameraId(0),
                path: path.clone(),
                start: at(number as i64 * 10),
                end: Some(at(number as i64 * 10 + 10)),
                frames: 250,
                bytes: bytes.len() as u64,
            })
            .await?;
        videos.push(path);
    }
    for number in 0..10 {
        history
            .put_health(&Health {
                subject: (number % 2 == 0).then_some(Subject::Tag(TagId(number % TAGS))),
                source: "press.csv".to_owned(),
                state: if number % 3 == 0 { HealthState::Failure } else { HealthState::Good },
                since: at(i64::from(number)),
                reason: format!("line {number}: not a number"),
            })
            .await?;
        history
            .put_outage(&Outage {
                kind: OutageKind::DiskFull,
                from: at(i64::from(number) * 20),
                to: (number < 9).then(|| at(i64::from(number) * 20 + 5)),
                reason: "no space left".to_owned(),
            })
            .await?;
    }
    for number in 0..60 {
        history
            .put_event(
                at(number),
                "engine",
                &format!("event {number} of the line: {}", "x".repeat(number as usize * 3)),
            )
            .await?;
        history.put_audit(at(number), "meyer", &format!("looked at advisory {number}")).await?;
    }
    Ok(videos)
}

fn band(value: f32) -> Band {
    Band { low: value - 1.0, mid: value, high: value + 1.0 }
}

fn output(second: i64) -> (Option<Forecast>, Surprise) {
    let value = (second as f32).sin();
    let tags = |tag| TagForecast { tag: TagId(tag), bands: std::array::from_fn(|step| band(value + step as f32)) };
    let forecast = Forecast { line: LineId(0), time: at(second), tick_ns: SECOND, tags: (0..TAGS).map(tags).collect() };
    let surprise = Surprise {
        line: LineId(0),
        time: at(second),
        score: value.abs(),
        parts: vec![(ScorePart::Latent, 0.5), (ScorePart::Drift, value)],
        tags: vec![TagSurprise {
            tag: TagId(0),
            score: 0.1,
            part: ScorePart::Residual,
            predicted: Some(band(value)),
            actual: Some(1.5),
        }],
        patches: vec![PatchMap {
            camera: CameraId(0),
            rows: 8,
            cols: 8,
            scores: (0..64).map(|patch| patch as f32 + value).collect(),
            part: ScorePart::Appearance,
        }],
        unknown_ground: Vec::new(),
        settled: second > 30,
    };
    (Some(forecast), surprise)
}

fn advisory(id: u64) -> Advisory {
    Advisory {
        id: AdvisoryId(id),
        line: LineId(0),
        kind: AdvisoryKind::Process,
        title: format!("pressure {id} is off its prediction"),
        since: at(id as i64 * 10),
        opened: at(id as i64 * 10 + 5),
        last_seen: at(id as i64 * 10 + 9),
        closed: None,
        peak: 2.5,
        confidence: 0.75,
        causes: vec![Cause {
            subject: Subject::Tag(TagId(1)),
            share: 0.9,
            predicted: Some(band(2.0)),
            actual: Some(9.0),
            reason: "off its prediction".to_owned(),
        }],
        patches: Vec::new(),
    }
}

/// Pages by kind, and those that hold nothing.
async fn pages(file: &Path) -> Result<(BTreeMap<(String, bool), Vec<u64>>, Vec<u64>), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new().filename(file).immutable(true).read_only(true).connect().await?;
    let known: Vec<(i64, String, bool)> = sqlx::query_as(
        "SELECT d.pageno, d.pagetype, coalesce(s.type = 'table', 1) FROM dbstat AS d
         LEFT JOIN sqlite_schema AS s ON s.name = d.name",
    )
    .fetch_all(&mut connection)
    .await?;
    let count: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut connection).await?;
    connection.close().await?;
    let mut by_kind: BTreeMap<(String, bool), Vec<u64>> = BTreeMap::new();
    let mut used = vec![false; count as usize + 1];
    for (page, kind, of_table) in known {
        used[page as usize] = true;
        by_kind.entry((kind, of_table)).or_default().push(page as u64);
    }
    // Also the map of pages, which is SQLite's own.
    let free = (1..=count as usize).filter(|&page| !used[page]).map(|page| page as u64).collect();
    Ok((by_kind, free))
}

/// Copies a folder, without the index of the log, which SQLite makes anew.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Changes one byte.
pub(crate) fn flip(file: &Path, at: u64, by: u8) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ by])
}
