//! Cuts the power of the writer at random writes: its files become what a disk would have of them, and the next writer
//! has to find all that was promised.
//!
//! The layer in `power_layer.c` writes down what the writer does and ends it; `disk_image.rs` decides what of it the disk
//! has. What the writer acknowledged is in the same trace, in the true order with its writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::acknowledged::{Acknowledged, Word};
use crate::check::Found;
use crate::dice::Dice;
use crate::disk_image::Disk;
use crate::trace::{self, Operation};
use crate::{bar, check_in_a_process, writer_command};

/// Samples that were acknowledged this long before the cut have to be there.
const SAMPLES_AGE_NS: u64 = 1_000_000_000;
/// One folder goes through so many cuts, then a new one is begun.
const CUTS_A_FOLDER: u64 = 10;
/// As the layer ends the process.
const CUT_STATUS: i32 = 86;
/// Time from one commit of samples to the next.
const COMMIT_MS: u64 = 20;
const LAYER: &str = include_str!("power_layer.c");

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// How often the power is cut
    #[arg(long, default_value_t = 500)]
    cuts: u64,
    /// Chooses the moments, what the disk loses, and what is written
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 where anything was lost that must not be
    #[arg(long)]
    check: bool,
    /// Keep the folder of the first cut that lost anything here
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Figures of all cuts.
#[derive(Default)]
struct Totals {
    found: Found,
    open_failures: u64,
    unsynced_bytes: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        println!("torture_power skipped: the layer under the writer's files is for Linux");
        return Ok(());
    }
    let work = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let root = work.path().canonicalize().map_err(|error| format!("cannot resolve the folder: {error}"))?;
    let Some(layer) = build_layer(&root)? else {
        println!("torture_power skipped: there is no C compiler (cc) to build the layer under the writer's files");
        return Ok(());
    };
    println!("a writer's power is cut {} times; what was not synced is lost in part", options.cuts);
    let mut dice = Dice::new(options.seed);
    let mut totals = Totals::default();
    let mut run = Run { root, layer, seed: options.seed, all: Acknowledged::default() };
    let progress = bar(options.cuts, "cutting the power");
    for cut in 0..options.cuts {
        if cut % CUTS_A_FOLDER == 0 {
            run.begin_anew(options.seed ^ cut << 20)?;
        }
        let before = (totals.open_failures, totals.found);
        run.cut(cut, &mut dice, &mut totals)?;
        if (totals.open_failures, totals.found.is_clean()) != (before.0, before.1.is_clean())
            && let Some(keep) = &options.keep
        {
            let copied = Command::new("cp").arg("-r").arg(&run.root).arg(keep).status();
            println!("the folder of cut {cut} is kept in {}: {copied:?}", keep.display());
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let Totals { found, open_failures, unsynced_bytes } = totals;
    println!(
        "torture_power cuts={} open_failures={open_failures} entries_lost={} samples_lost_older_than_1s={} \
         verify_problems={} surplus_samples={} unsynced_bytes={unsynced_bytes}",
        options.cuts, found.missing_entries, found.missing_samples, found.verify_problems, found.surplus_samples
    );
    if unsynced_bytes == 0 && options.cuts > 0 {
        return Err("no cut met anything that was not synced: the layer does not see the writes".to_owned());
    }
    if options.check && (open_failures > 0 || !found.is_clean()) {
        return Err("a power cut lost or damaged what had been promised".to_owned());
    }
    Ok(())
}

/// The layer as a shared object; `None` where nothing can compile it.
fn build_layer(work: &Path) -> Result<Option<PathBuf>, String> {
    if Command::new("cc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let (source, layer) = (work.join("power_layer.c"), work.join("power_layer.so"));
    std::fs::write(&source, LAYER).map_err(|error| format!("cannot write {}: {error}", source.display()))?;
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&layer).arg(&source).args(["-ldl", "-lpthread"]);
    let output = compile.output().map_err(|error| format!("cannot run cc: {error}"))?;
    if !output.status.success() {
        return Err(format!("the layer cannot be built: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(Some(layer))
}

/// One folder on its way through the cuts.
struct Run {
    root: PathBuf,
    layer: PathBuf,
    seed: u64,
    all: Acknowledged,
}

impl Run {
    fn folder(&self) -> PathBuf {
        self.root.join("data")
    }

    fn begin_anew(&mut self, seed: u64) -> Result<(), String> {
        self.seed = seed;
        self.all = Acknowledged::default();
        let folder = self.folder();
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
        }
        // The folder itself is the user's: it is there.
        std::fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
    }

    /// Writes until the cut, loses what the disk loses, and looks.
    fn cut(&mut self, cut: u64, dice: &mut Dice, totals: &mut Totals) -> Result<(), String> {
        let (folder, traced, log) = (self.folder(), self.root.join("trace"), self.root.join("acknowledged"));
        let mut disk = Disk::load(&folder)?;
        let mut writer = writer_command(&folder, self.seed, &self.all)?;
        writer.args(["--commit-ms", &COMMIT_MS.to_string(), "--close-after", &(20 + dice.below(150)).to_string()]);
        writer.args(["--entry-ms", &[3, 100, 5_000][dice.below(3) as usize].to_string()]);
        writer.env("LD_PRELOAD", &self.layer).env("POWER_FOLDER", &folder).env("POWER_TRACE", &traced);
        // Early cuts are aimed at single operations of opening, the others at running.
        if dice.hits(40) {
            writer.env("POWER_OPERATIONS", (1 + dice.below(500)).to_string());
        } else {
            writer.env("POWER_MILLISECONDS", (50 + dice.below(2_500)).to_string());
        }
        let output = writer.stdout(Stdio::null()).output().map_err(|error| format!("cannot start: {error}"))?;
        let records = trace::read(&traced)?;
        let mut said = Vec::new();
        let mut text = String::new();
        for record in &records {
            disk.follow(&record.operation)?;
            if let Operation::Said(bytes) = &record.operation {
                text = String::from_utf8_lossy(bytes).trim_end().to_owned();
                if !self.all.take(&text) {
                    return Err(format!("the writer said '{text}'"));
                }
                said.push((record.time_ns, text.clone()));
            }
        }
        if output.status.code() != Some(CUT_STATUS) {
            let told = String::from_utf8_lossy(&output.stderr);
            let problem = format!("cut {cut}: the writer ended by itself ({}): {}", output.status, told.trim());
            if text != "p open" {
                return Err(problem);
            }
            eprintln!("{problem}");
            totals.open_failures += 1;
        }
        let cut_ns = records.last().map_or(0, |record| record.time_ns);
        for (time_ns, line) in &said {
            if cut_ns.saturating_sub(*time_ns) <= SAMPLES_AGE_NS
                && let Some(step) = line.strip_prefix("s ").and_then(|step| step.parse().ok())
            {
                self.all.steps.insert(step, Word::Open);
            }
        }
        self.all.note_under_way();
        self.all.write(&log)?;
        totals.unsynced_bytes += disk.unsynced_bytes();
        disk.cut(dice)?;
        match check_in_a_process(&folder, self.seed, &log, dice.hits(30))? {
            Ok(found) => {
                if !found.is_clean() {
                    eprintln!("after cut {cut}: {}", found.line());
                }
                totals.found = totals.found.worse(&found);
            }
            Err(reason) => {
                eprintln!("after cut {cut} the folder cannot be opened: {reason}");
                totals.open_failures += 1;
                self.begin_anew(self.seed.wrapping_add(1))?;
            }
        }
        Ok(())
    }
}
