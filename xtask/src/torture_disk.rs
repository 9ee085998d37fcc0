//! `cargo xtask torture disk`: the engine records onto a small disk that its own video and another program fill up, and
//! that is freed again. Recording must resume by itself, nothing may be damaged, and the gap must be explained.
//!
//! The small disk is a tmpfs in a mount namespace of this command's own: nobody else sees it, and it ends with it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::outcome::{Doing, Outcome, step};
use crate::process::{self, Running, ask};
use crate::workspace::Workspace;
use crate::{setup, torture};

/// The small disk.
const DISK_MIB: u64 = 64;
/// The other program writes pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 16;
/// Until something that must happen has happened.
const WAIT_MAX: Duration = Duration::from_secs(240);
/// How fast the simulated line runs: its video then fills the disk in some seconds.
const SPEED: &str = "8";
/// How long the disk stays full.
const FULL_TIME: Duration = Duration::from_secs(4);
/// As the engine says it.
const SCARCE: &str = "samples last, and recording goes on";
const BROKEN: &str = "the history cannot be written, holding the sources back";
const RESUMED: &str = "the history can be written again";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: torture::Common,
    /// Set by the command itself: the folder of the small disk, once nobody else sees it
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    match &arguments.inside {
        Some(folder) => fill_and_free(workspace, folder, &arguments.common),
        None => enter(workspace, &arguments.common),
    }
}

/// Builds what is needed, and goes on in a namespace where a disk can be mounted.
fn enter(workspace: &Workspace, common: &torture::Common) -> Outcome {
    if ask(Command::new("unshare").args(["--mount", "true"])).is_none() {
        println!("torture_disk skipped: it takes Linux and root to mount a small disk (unshare --mount)");
        return Ok(());
    }
    setup::for_building(workspace)?;
    // Before the build, which may put another file in its place.
    let own = std::env::current_exe().could_not("find this program")?;
    workspace.build_everything()?;
    let folder = workspace.target.join("torture-disk");
    std::fs::create_dir_all(&folder).could_not(format_args!("make {}", folder.display()))?;
    let mut again = Command::new("unshare");
    again.arg("--mount").arg(own).args(["torture", "disk", "--inside"]).arg(&folder).args(common.arguments());
    let done = process::run(&mut again);
    std::fs::remove_dir(&folder).could_not(format_args!("remove {}", folder.display()))?;
    done
}

fn fill_and_free(workspace: &Workspace, disk: &Path, common: &torture::Common) -> Outcome {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "sightglass-torture"]).arg(disk);
    process::run(&mut mount)?;
    let (data, filler) = (disk.join("data"), disk.join("another-program.bin"));

    step(format_args!("record onto a disk of {DISK_MIB} MiB until the video fills it"));
    let mut command = Command::new(workspace.program("sightglass"));
    command.current_dir(&workspace.root).args(["demo", "--fault", "none", "--speed", SPEED]);
    command.args(["--seed", &common.seed().to_string(), "--data"]).arg(&data).env("RUST_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut engine = Running::start("the engine", &mut command)?;
    let mut told = Told::by(&mut engine)?;
    told.wait_until("that room is scarce", |told| told.last(SCARCE).is_some(), || Ok(()))?;

    step("fill the rest by another program until the engine cannot write");
    let begun = Instant::now();
    let mut other = File::create(&filler).could_not("make the other program's file")?;
    let mut filled_bytes = 0_u64;
    let mut fill = || {
        // The engine deletes video to make room, so that there is always more to fill.
        loop {
            match other.write(&[0x5A; PIECE_BYTES]) {
                Ok(written) => filled_bytes += written as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(format!("the other program cannot write: {error}")),
            }
        }
    };
    told.wait_until("that it cannot write", Told::is_broken, &mut fill)?;
    let full_since = Instant::now();
    while full_since.elapsed() < FULL_TIME {
        fill()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(other);

    step("free the disk, and wait until recording resumes by itself");
    std::fs::remove_file(&filler).could_not("remove the other program's file")?;
    told.wait_until("that it can write again", |told| !told.is_broken(), || Ok(()))?;
    let full_s = begun.elapsed().as_secs_f64();
    let before = Report::of(workspace, &data)?;
    let mut after = before;
    let deadline = Instant::now() + WAIT_MAX;
    while after.outages == 0 || after.last_ns <= before.last_ns {
        if Instant::now() > deadline {
            return Err(format!("the engine does not record on: {after:?}"));
        }
        std::thread::sleep(Duration::from_millis(200));
        after = Report::of(workspace, &data)?;
    }
    engine.end()?;
    let ended_well = engine.ended()?.is_some_and(|status| status.success());

    step("look for damage");
    let verify = Command::new(workspace.program("sightglass")).args(["history", "verify"]).arg(&data).status();
    let is_whole = verify.could_not("run `sightglass history verify`")?.success();
    let last = Report::of(workspace, &data)?;
    println!(
        "torture_disk disk_mib={DISK_MIB} filled_by_other_mib={} full_s={full_s:.1} verify_problems={} \
         recorded_on={} gaps_explained={} deletions_told={} engine_ended_well={}",
        filled_bytes >> 20,
        u8::from(!is_whole),
        u8::from(last.last_ns > before.last_ns),
        last.outages,
        last.deletions,
        u8::from(ended_well)
    );
    let is_good = is_whole && ended_well && last.outages > 0 && last.deletions > 0 && last.last_ns > before.last_ns;
    if common.is_check() && !is_good {
        return Err(
            "the full disk left damage, a gap that is not explained, or an engine that does not go on".to_owned()
        );
    }
    Ok(())
}

/// What the engine says on standard error.
struct Told {
    lines: Receiver<String>,
    all: Vec<String>,
}

impl Told {
    fn by(engine: &mut Running) -> Outcome<Self> {
        let errors = engine.child().stderr.take().ok_or("the engine's standard error is not piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { lines, all: Vec::new() })
    }

    /// Where it last said something.
    fn last(&self, what: &str) -> Option<usize> {
        self.all.iter().rposition(|line| line.contains(what))
    }

    /// Whether the history cannot be written, by what was said last.
    fn is_broken(&self) -> bool {
        self.last(BROKEN) > self.last(RESUMED)
    }

    /// Waits until it has said so; does `meanwhile` again and again.
    fn wait_until(
        &mut self,
        what: &str,
        is_said: impl Fn(&Self) -> bool,
        mut meanwhile: impl FnMut() -> Outcome,
    ) -> Outcome {
        let deadline = Instant::now() + WAIT_MAX;
        while !is_said(self) {
            meanwhile()?;
            match self.lines.recv_timeout(Duration::from_millis(10)) {
                Ok(line) => self.all.push(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(_) => {
                    let last = self.all.len().saturating_sub(10);
                    return Err(format!(
                        "the engine did not say {what} within {WAIT_MAX:?}, or ended; its last lines:\n{}",
                        self.all[last..].join("\n")
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a data folder says of its disk.
#[derive(Clone, Copy, Debug)]
struct Report {
    outages: u64,
    deletions: u64,
    /// The newest sample.
    last_ns: i64,
}

impl Report {
    fn of(workspace: &Workspace, data: &Path) -> Outcome<Self> {
        let mut program = Command::new(workspace.program("history_torture"));
        let output = program.arg("report").arg("--folder").arg(data).output().could_not("ask what was recorded")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |key: &str| {
            let value = text.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            let told = String::from_utf8_lossy(&output.stderr);
            value
                .and_then(|value| value.parse::<i64>().ok())
                .ok_or_else(|| format!("the report has no {key}: {}{}", text.trim(), told.trim()))
        };
        let (outages, deletions) = (figure("outages")? as u64, figure("deletions")? as u64);
        Ok(Self { outages, deletions, last_ns: figure("last_ns")? })
    }
}
