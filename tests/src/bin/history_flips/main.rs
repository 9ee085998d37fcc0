//! `history_flips`: changes one random byte in each of many copies of a history, and sees whether `verify` finds it.
//!
//! A change is harmless when every row and every file of video still reads as before (it hit free space, or what only
//! SQLite keeps for itself). Any other must be found, and nothing may panic: neither verifying nor reading.

mod made;
mod reading;

use std::{
    collections::BTreeMap,
    fs,
    io::IsTerminal,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use clap::Parser;
use indicatif::ProgressBar;
use sightglass_history::{FILE_NAME, verify_folder};

use crate::{
    made::{Made, Random},
    reading::Judge,
};

/// Changes one byte in each of many copies of a history, and counts what `verify` finds.
#[derive(Parser)]
struct Arguments {
    /// How many copies
    #[arg(long, default_value_t = 1000)]
    copies: u64,
    /// Chooses what is changed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 when something was not found, or panicked
    #[arg(long)]
    check: bool,
}

/// Panics of all threads.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Where bytes are changed, in turn, so that each kind of place has its share.
const PLACES: [Place; 10] = [
    Place::Pages("leaf", true),
    Place::Pages("overflow", true),
    Place::Pages("leaf", false),
    Place::Log,
    Place::Anywhere,
    Place::Pages("internal", true),
    Place::Video,
    Place::Free,
    Place::Log,
    Place::Header,
];

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Pages of a kind (as `dbstat` names it), of tables or of indexes.
    Pages(&'static str, bool),
    /// Pages that hold nothing, and the list of them.
    Free,
    /// The first hundred bytes.
    Header,
    /// The whole file.
    Anywhere,
    /// The write-ahead log of a history that was not closed.
    Log,
    /// A file of video.
    Video,
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Self::Pages("leaf", true) => "rows",
            Self::Pages("overflow", true) => "long rows' further pages",
            Self::Pages(_, true) => "the trees of tables",
            Self::Pages(..) => "indexes",
            Self::Free => "free pages",
            Self::Header => "the header",
            Self::Anywhere => "anywhere in the file",
            Self::Log => "the write-ahead log",
            Self::Video => "video",
        }
    }
}

/// What became of the changes.
#[derive(Clone, Copy, Default)]
struct Figures {
    found: u64,
    unfound: u64,
    harmless: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    match run(&arguments) {
        Ok(by_place) => {
            let panics = PANICS.load(Ordering::Relaxed);
            println!("| changed byte in | found | not found | harmless |\n| --- | --- | --- | --- |");
            for (place, figures) in &by_place {
                println!("| {place} | {} | {} | {} |", figures.found, figures.unfound, figures.harmless);
            }
            let figures = by_place.values().fold(Figures::default(), |sum, figures| Figures {
                found: sum.found + figures.found,
                unfound: sum.unfound + figures.unfound,
                harmless: sum.harmless + figures.harmless,
            });
            println!(
                "flips copies={} found={} unfound={} harmless={} panics={panics}",
                arguments.copies, figures.found, figures.unfound, figures.harmless
            );
            if arguments.check && (figures.unfound > 0 || panics > 0) {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("history_flips: {error}");
            ExitCode::from(2)
        }
    }
}

/// The figures by the kind of place.
fn run(arguments: &Arguments) -> Result<BTreeMap<&'static str, Figures>, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let made = runtime.block_on(Made::new(folder.path()))?;
    let closed = runtime.block_on(Judge::of(&made.closed))?;
    let open = runtime.block_on(Judge::of(&made.open))?;
    let whole = [&made.closed, &made.open]
        .map(|dir| runtime.block_on(verify_folder(dir, &mut |_| {})).map(|problems| (dir.clone(), problems)));
    for looked in whole {
        let (dir, problems) = looked?;
        if let Some(problem) = problems.first() {
            return Err(format!("{} is not whole before anything is changed: {problem}", dir.display()).into());
        }
    }
    let mut random = Random::new(arguments.seed);
    let mut by_place: BTreeMap<&'static str, Figures> = BTreeMap::new();
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(arguments.copies) } else { ProgressBar::hidden() };
    for copy in 0..arguments.copies {
        let place = PLACES[copy as usize % PLACES.len()];
        let (from, judge) = if matches!(place, Place::Log) { (&made.open, &open) } else { (&made.closed, &closed) };
        let dir = folder.path().join("copy");
        made::copy_folder(from, &dir)?;
        let (file, at) = choose(place, &made, &dir, &mut random)?;
        let flip = if random.below(2) == 0 { 1 << random.below(8) } else { random.below(255) as u8 + 1 };
        made::flip(&file, at, flip)?;
        let is_harmless = runtime.block_on(judge.is_same(&dir));
        let verified = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(verify_folder(&dir, &mut |_| {})).map_err(|e| e.to_string())
        }));
        let is_found = matches!(&verified, Ok(Ok(problems)) if !problems.is_empty());
        // Reading what is damaged is an error or a gap.
        let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(reading::read_all(&dir))));
        let figures = by_place.entry(place.words()).or_default();
        match (is_harmless, is_found) {
            (true, _) => figures.harmless += 1,
            (false, true) => figures.found += 1,
            (false, false) => {
                figures.unfound += 1;
                let name = file.strip_prefix(&dir).unwrap_or(&file).display();
                println!("not found: copy {copy}, {place:?}, {name} at {at}, changed by {flip:#04x}: {verified:?}");
            }
        }
        fs::remove_dir_all(&dir)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(by_place)
}

/// The file and the byte to change.
fn choose(place: Place, made: &Made, dir: &Path, random: &mut Random) -> std::io::Result<(PathBuf, u64)> {
    let file = dir.join(FILE_NAME);
    let length = |path: &Path| fs::metadata(path).map(|file| file.len());
    let within = |pages: &[u64], random: &mut Random| {
        let page = pages[random.below(pages.len() as u64) as usize];
        (page - 1) * made.page_bytes + random.below(made.page_bytes)
    };
    Ok(match place {
        Place::Header => (file, random.below(100)),
        Place::Anywhere => {
            let length = length(&file)?;
            (file, random.below(length))
        }
        Place::Free => (file, within(&made.free, random)),
        Place::Pages(kind, of_tables) => (file, within(made.pages(kind, of_tables), random)),
        Place::Log => {
            let log = dir.join(format!("{FILE_NAME}-wal"));
            let length = length(&log)?;
            (log, random.below(length))
        }
        Place::Video => {
            let video = dir.join(&made.videos[random.below(made.videos.len() as u64) as usize]);
            let length = length(&video)?;
            (video, random.below(length))
        }
    })
}
