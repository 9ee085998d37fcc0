//! `sightglass history certificate`: what share of the expected samples is there, and why the rest is not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use sightglass_history::{Completeness, GapReason, History, TagCompleteness};
use sightglass_protocol::time::SECOND;
use sightglass_protocol::{PlantInfo, TagId, UtcNanos};

use super::{folder, runtime};
use crate::EngineError;
use crate::commands::{parse_time, print};

/// Tags of the page; a certificate of more shows the least complete ones.
const TAGS_SHOWN: usize = 24;
/// Gaps of the page, longest first.
const GAPS_SHOWN: usize = 16;
/// Characters of a name.
const NAME_CHARACTERS: usize = 24;
/// Characters of what else is known of a gap.
const DETAIL_CHARACTERS: usize = 60;

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    /// The beginning of the range.
    #[arg(long, value_parser = parse_time)]
    from: UtcNanos,
    /// The end of the range: the first moment that is left out.
    #[arg(long, value_parser = parse_time)]
    to: UtcNanos,
    /// Tags by name, separated by commas (default: all of the plant).
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// For programs: everything, with every gap.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    runtime()?.block_on(async {
        let history = History::open_read_only(folder(&arguments.db)).await?;
        let tags = tags_of(history.plant(), &arguments.tags)?;
        let certificate = history.completeness(&tags, arguments.from, arguments.to).await?;
        if arguments.json {
            print::line(json!(certificate));
        } else {
            print::line(page(&certificate));
        }
        history.close().await?;
        Ok(())
    })
}

/// The tags with these names; all of the plant's for none.
///
/// # Errors
/// A name that the plant does not have.
pub(in crate::commands) fn tags_of(plant: &PlantInfo, names: &[String]) -> Result<Vec<TagId>, EngineError> {
    if names.is_empty() {
        return Ok(plant.tags.iter().map(|tag| tag.id).collect());
    }
    let tag = |name: &String| {
        plant.tags.iter().find(|tag| tag.name == *name).map(|tag| tag.id).ok_or_else(|| {
            let known: Vec<&str> = plant.tags.iter().map(|tag| tag.name.as_str()).collect();
            EngineError::Usage(format!("the plant '{}' has no tag '{name}'; it has {}", plant.name, known.join(", ")))
        })
    };
    names.iter().map(tag).collect()
}

fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}

fn percent(share: f64) -> String {
    // Down, so that only what is all there is 100 %.
    format!("{:.3} %", (share * 1e5).floor() / 1e3)
}

fn length(ns: i64) -> String {
    let seconds = ns as f64 / SECOND as f64;
    match seconds {
        ..120.0 => format!("{seconds:.1} s"),
        ..7_200.0 => format!("{:.1} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

/// The certificate on one page.
fn page(certificate: &Completeness) -> String {
    let Completeness { plant, from, to, tags, evidence } = certificate;
    let mut lines = vec![
        format!("Completeness of {plant}"),
        format!("from {from} to {to} ({})", length(to.since(*from))),
        String::new(),
    ];
    let (expected, present, good) = tags.iter().fold((0, 0, 0), |(expected, present, good), tag| match tag.expected {
        Some(more) => (expected + more, present + tag.present, good + tag.good),
        None => (expected, present, good),
    });
    if expected > 0 {
        let share = |count: u64| percent(count as f64 / expected as f64);
        lines.push(format!("{present} of {expected} expected samples are there ({})", share(present)));
        lines.push(format!("{good} of them are usable ({} of what was expected)", share(good)));
    }
    let mut order: Vec<&TagCompleteness> = tags.iter().collect();
    order.sort_by(|a, b| a.good_share.total_cmp(&b.good_share));
    lines.push(String::new());
    lines.push(format!(
        "{:NAME_CHARACTERS$} {:>12} {:>12} {:>12} {:>10}  every",
        "tag", "expected", "there", "usable", "usable"
    ));
    for tag in order.iter().take(TAGS_SHOWN) {
        let name = shortened(&tag.tag, NAME_CHARACTERS);
        let expected = tag.expected.map_or_else(|| "-".to_owned(), |expected| expected.to_string());
        let every = match (tag.by_exception, tag.intervals_ns.as_slice()) {
            (true, _) => "change (share of time)".to_owned(),
            (false, intervals) => intervals.iter().map(|&ns| interval(ns)).collect::<Vec<_>>().join(", "),
        };
        lines.push(format!(
            "{name:NAME_CHARACTERS$} {expected:>12} {:>12} {:>12} {:>10}  {every}",
            tag.present,
            tag.good,
            percent(tag.good_share)
        ));
    }
    if tags.len() > TAGS_SHOWN {
        lines.push(format!("and {} more complete tags", tags.len() - TAGS_SHOWN));
    }
    lines.extend(why(tags));
    lines.push(String::new());
    lines.push(format!("journal: entry {}, {}", evidence.journal_seq, evidence.journal_hash));
    lines.push(format!(
        "read for it: {} chunks by what is stored about them, {} roll-up blocks, {} chunks and batches ({} samples) in full",
        evidence.chunks_by_header, evidence.blocks, evidence.decoded, evidence.samples_decoded
    ));
    match evidence.damaged.as_slice() {
        [] => lines.push("every checksum on the way was right".to_owned()),
        damaged => lines.extend(damaged.iter().map(|problem| format!("damaged: {problem}"))),
    }
    lines.join("\n")
}

fn interval(ns: i64) -> String {
    format!("{} s", (ns as f64 / SECOND as f64 * 1e4).round() / 1e4)
}

/// Why what is missing is missing: by reason, then the longest gaps.
fn why(tags: &[TagCompleteness]) -> Vec<String> {
    let mut sums: BTreeMap<GapReason, (u64, i64, u64)> = BTreeMap::new();
    for sum in tags.iter().flat_map(|tag| &tag.by_reason) {
        let all = sums.entry(sum.reason).or_default();
        *all = (all.0 + sum.gaps, all.1.saturating_add(sum.ns), all.2 + sum.missing);
    }
    if sums.is_empty() {
        return vec![String::new(), "no gaps".to_owned()];
    }
    let mut lines = vec![String::new(), "why (all tags together)".to_owned()];
    for (reason, (gaps, ns, missing)) in sums {
        lines.push(format!("  {:28} {gaps} gaps, {}, {missing} samples missing", reason.words(), length(ns)));
    }
    let mut gaps: Vec<_> = tags.iter().flat_map(|tag| tag.gaps.iter().map(move |gap| (tag, gap))).collect();
    let count = gaps.len() as u64 + tags.iter().map(|tag| tag.gaps_left_out).sum::<u64>();
    gaps.sort_by_key(|(_, gap)| std::cmp::Reverse(gap.to.since(gap.from)));
    gaps.truncate(GAPS_SHOWN);
    gaps.sort_by_key(|(_, gap)| gap.from);
    lines.push(String::new());
    lines.push(format!("the longest gaps ({} of {count}; all of them: --json)", gaps.len()));
    for (tag, gap) in gaps {
        let detail = if gap.detail.is_empty() { String::new() } else { format!(": {}", gap.detail) };
        lines.push(format!(
            "  {} to {}  {}  {}{}",
            gap.from,
            gap.to,
            shortened(&tag.tag, NAME_CHARACTERS),
            gap.reason.words(),
            shortened(&detail, DETAIL_CHARACTERS)
        ));
    }
    lines
}
