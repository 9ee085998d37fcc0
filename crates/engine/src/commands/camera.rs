//! `sightglass camera test`: whether a camera delivers, and what.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use sightglass_ingest::{IngestEvent, LinePipeline, Pace, PipelineOptions};
use sightglass_plant::Plant;
use sightglass_protocol::{Frame, Health, HealthState, LineId, UtcNanos, time::SECOND};

use super::print;
use crate::{EngineError, card, pictures};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at a camera for a while: what it sends, how evenly, where its times come from; and keep a picture.
    Test(Test),
}

#[derive(Args)]
struct Test {
    /// The camera: rtsp://ADDRESS/PATH (without a user in it), http://…, or a file.
    uri: String,
    /// Who asks for the pictures.
    #[arg(long)]
    user: Option<String>,
    /// Where the user's password is: keyring:NAME, env:NAME or file:PATH.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// How an RTSP camera's pictures travel.
    #[arg(long, value_parser = ["tcp", "udp"])]
    transport: Option<String>,
    /// How long to look.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Where to keep the last picture.
    #[arg(long, default_value = "camera.jpg")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was seen of the camera.
#[derive(Default)]
struct Seen {
    times: Vec<UtcNanos>,
    last: Option<Frame>,
    health: Vec<Health>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let Command::Test(test) = &arguments.command;
    if !(test.seconds.is_finite() && test.seconds > 0.0) {
        return Err(EngineError::Usage(format!("--seconds {} is no time to look", test.seconds)));
    }
    let seen = look(&plant(test)?, Duration::from_secs_f64(test.seconds))?;
    report(test, seen)
}

/// A plant of this camera alone, read as from a file, so that whatever is wrong is told in the same words.
fn plant(test: &Test) -> Result<Plant, EngineError> {
    let mut camera = toml::Table::new();
    let mut put = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            camera.insert(key.to_owned(), value.into());
        }
    };
    put("name", Some("camera"));
    put("uri", Some(&test.uri));
    put("user", test.user.as_deref());
    put("password", test.password.as_deref());
    put("transport", test.transport.as_deref());
    let text = format!("[plant]\nname = \"test\"\n[[line]]\nname = \"line\"\n[[camera]]\n{camera}");
    let here = std::env::current_dir().map_err(EngineError::io("finding the folder", std::path::Path::new(".")))?;
    Ok(sightglass_plant::parse(&text, "the camera", &here)?)
}

fn look(plant: &Plant, time: Duration) -> Result<Seen, EngineError> {
    let options = PipelineOptions {
        pace: Pace::Speed(1.0),
        now: Some(card::wall_clock()),
        pictures: true,
        ..PipelineOptions::default()
    };
    let line = LinePipeline::start(plant, LineId(0), options, None)?;
    let bar = card::spinner("looking at the camera");
    let mut seen = Seen::default();
    let mut until = Instant::now() + time;
    while let Ok(event) = line.events().recv_timeout(until.saturating_duration_since(Instant::now())) {
        match event {
            IngestEvent::Picture { time: captured, frame, .. } => {
                // The time to connect is not the camera's time.
                if seen.times.is_empty() {
                    until = Instant::now() + time;
                }
                seen.times.push(captured);
                seen.last = Some(frame);
            }
            IngestEvent::Health(health) => seen.health.push(health),
            IngestEvent::EndOfStream => break,
            _ => {}
        }
    }
    line.stop();
    bar.finish_and_clear();
    Ok(seen)
}

fn report(test: &Test, seen: Seen) -> Result<(), EngineError> {
    let reasons = |good: bool| -> Vec<&str> {
        let wanted = seen.health.iter().filter(|health| (health.state == HealthState::Good) == good);
        wanted.map(|health| health.reason.as_str()).collect()
    };
    let Some(frame) = &seen.last else {
        let why = reasons(false).join("; ");
        let why = if why.is_empty() { "it told nothing; check its power and its network".to_owned() } else { why };
        return Err(EngineError::FoundWrong(format!(
            "no picture came from {} within {} s: {why}",
            test.uri, test.seconds
        )));
    };
    let picture = pictures::encode(frame).map_err(EngineError::FoundWrong)?;
    std::fs::write(&test.out, &picture.jpeg).map_err(EngineError::io("writing the picture", &test.out))?;
    let (rate, jitter_ms) = pace(&seen.times);
    if test.json {
        print::line(json!({
            "width": frame.width,
            "height": frame.height,
            "pictures": seen.times.len(),
            "rate_hz": rate,
            "jitter_ms": jitter_ms,
            "told": reasons(true),
            "troubles": reasons(false),
            "picture": test.out,
        }));
        return Ok(());
    }
    print::line(format_args!("{} x {} pixels, {} pictures", frame.width, frame.height, seen.times.len()));
    if let (Some(rate), Some(jitter)) = (rate, jitter_ms) {
        print::line(format_args!("{rate:.2} a second, intervals vary by {jitter:.1} ms (standard deviation)"));
    }
    for reason in reasons(true).into_iter().chain(reasons(false)) {
        print::line(reason);
    }
    print::line(format_args!("the last picture is in {}", test.out.display()));
    Ok(())
}

/// Pictures a second, and the standard deviation of their intervals in milliseconds; at most 15 pictures a second are
/// looked at.
fn pace(times: &[UtcNanos]) -> (Option<f64>, Option<f64>) {
    let intervals: Vec<f64> = times.windows(2).map(|pair| pair[1].since(pair[0]) as f64 / SECOND as f64).collect();
    let count = intervals.len() as f64;
    let mean = intervals.iter().sum::<f64>() / count;
    if intervals.is_empty() || mean <= 0.0 {
        return (None, None);
    }
    let variance = intervals.iter().map(|interval| (interval - mean).powi(2)).sum::<f64>() / count;
    (Some(1.0 / mean), Some(variance.sqrt() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_of_pictures_is_their_rate_and_how_evenly_they_come() {
        let times = |intervals_ms: &[i64]| {
            let sums = intervals_ms.iter().scan(0, |sum, interval| {
                *sum += interval;
                Some(UtcNanos(*sum * 1_000_000))
            });
            std::iter::once(UtcNanos(0)).chain(sums).collect::<Vec<_>>()
        };
        let (rate, jitter) = pace(&times(&[100; 10]));
        assert!((rate.unwrap() - 10.0).abs() < 1e-9 && jitter.unwrap() < 1e-9);
        let (rate, jitter) = pace(&times(&[90, 110, 90, 110]));
        assert!((rate.unwrap() - 10.0).abs() < 1e-9 && (jitter.unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(pace(&times(&[])), (None, None));
        assert_eq!(pace(&times(&[0, 0])), (None, None));
    }

    #[test]
    fn a_user_in_the_address_and_a_password_itself_are_refused_without_being_shown() {
        let test = |uri: &str, password: Option<&str>| Test {
            uri: uri.to_owned(),
            user: password.map(|_| "viewer".to_owned()),
            password: password.map(str::to_owned),
            transport: None,
            seconds: 1.0,
            out: PathBuf::from("x.jpg"),
            json: false,
        };
        for refused in [test("rtsp://me:hunter2@10.0.0.7/a", None), test("rtsp://10.0.0.7/a", Some("hunter2"))] {
            let error = plant(&refused).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(plant(&test("rtsp://10.0.0.7/a", Some("env:CAM"))).unwrap().cameras.len(), 1);
    }
}
