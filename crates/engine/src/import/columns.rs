//! Which column of a file is what.

use std::collections::{BTreeSet, HashMap};

use sightglass_plant::{ImportMap, Plant, nearest};
use sightglass_protocol::TagId;

use super::Options;

/// What the columns of a time, and of long files, are called when nothing else is said.
const TIMES: [&str; 6] = ["time", "timestamp", "datetime", "date", "ts", "_time"];
const TAGS: [&str; 6] = ["tag", "tagname", "tag_name", "name", "sensor", "signal"];
const VALUES: [&str; 3] = ["value", "val", "_value"];
const QUALITIES: [&str; 2] = ["quality", "status"];
/// Names that a message lists.
const LISTED_MAX: usize = 40;

/// How samples stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One row a time, one column a tag.
    Wide,
    /// One row a sample.
    Long,
}

/// Where a column goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) tag: TagId,
    pub(super) scale: f64,
    pub(super) offset: f64,
}

impl Target {
    /// Whether numbers stay as they are, to the bit.
    pub(super) fn is_plain(&self) -> bool {
        self.scale == 1.0 && self.offset == 0.0
    }
}

/// What the columns of a file are.
pub(super) enum Columns {
    Wide {
        time: usize,
        /// Place, name, and where it goes.
        values: Vec<(usize, String, Target)>,
    },
    Long {
        time: usize,
        tag: usize,
        value: usize,
        quality: Option<usize>,
        names: Names,
    },
}

/// What the names in a long file are.
pub(super) struct Names {
    known: HashMap<String, Option<Target>>,
    listed: Vec<String>,
}

impl Names {
    /// Where samples of this name go; `None` for one that is ignored.
    pub(super) fn target(&self, name: &str) -> Result<Option<Target>, String> {
        self.known.get(name).cloned().ok_or_else(|| {
            let listed: Vec<&str> = self.listed.iter().map(String::as_str).collect();
            unknown(&[name], &listed)
        })
    }
}

impl Columns {
    pub(super) fn time(&self) -> usize {
        match self {
            Self::Wide { time, .. } | Self::Long { time, .. } => *time,
        }
    }

    pub(super) fn find(existing: &[String], plant: &Plant, options: &Options) -> Result<Self, String> {
        let twice: BTreeSet<&String> = existing
            .iter()
            .enumerate()
            .filter(|(at, name)| existing[..*at].contains(name))
            .map(|(_, name)| name)
            .collect();
        if let Some(name) = twice.first() {
            return Err(format!("it has two columns '{name}'"));
        }
        let any_of = |names: &[&str]| {
            existing.iter().position(|column| names.iter().any(|name| column.eq_ignore_ascii_case(name)))
        };
        let time = match &options.time_column {
            Some(name) => existing.iter().position(|column| column == name),
            None => any_of(&TIMES),
        };
        let time = time.ok_or_else(|| {
            let wanted = options.time_column.as_deref().unwrap_or("time");
            format!("it has no column '{wanted}'; name the one with the time by --time-column: {}", listed(existing))
        })?;
        let long = any_of(&TAGS).zip(any_of(&VALUES));
        match (options.layout, long) {
            (Some(Layout::Long), None) => {
                Err(format!("a long file has columns 'tag' and 'value'; this one has {}", listed(existing)))
            }
            (Some(Layout::Long) | None, Some((tag, value))) => {
                let listed = plant.tags.iter().map(|tag| tag.name.clone()).collect();
                let quality = any_of(&QUALITIES);
                Ok(Self::Long { time, tag, value, quality, names: Names { known: known(plant, &options.map), listed } })
            }
            (Some(Layout::Wide) | None, _) => Self::wide(existing, time, plant, &options.map),
        }
    }

    fn wide(existing: &[String], time: usize, plant: &Plant, map: &ImportMap) -> Result<Self, String> {
        let known = known(plant, map);
        let mut values = Vec::new();
        let mut strangers = Vec::new();
        for (at, name) in existing.iter().enumerate().filter(|(at, _)| *at != time) {
            match known.get(name) {
                Some(Some(target)) => values.push((at, name.clone(), target.clone())),
                Some(None) => {}
                None => strangers.push(name.as_str()),
            }
        }
        if !strangers.is_empty() {
            let names: Vec<&str> = plant.tags.iter().map(|tag| tag.name.as_str()).collect();
            return Err(unknown(&strangers, &names));
        }
        if values.is_empty() {
            return Err(format!("none of its columns is a tag's: {}", listed(existing)));
        }
        Ok(Self::Wide { time, values })
    }
}

/// What each name is that a file may use: the map's, the ignored ones, and tags under their own name and address.
fn known(plant: &Plant, map: &ImportMap) -> HashMap<String, Option<Target>> {
    let mut known = HashMap::new();
    for tag in &plant.tags {
        let target = Target { tag: tag.id, scale: 1.0, offset: 0.0 };
        known.entry(tag.address.clone()).or_insert(Some(target.clone()));
        known.insert(tag.name.clone(), Some(target));
    }
    for (column, mapped) in &map.columns {
        // The map was checked against this plant.
        if let Some(tag) = plant.tags.iter().find(|tag| tag.name == mapped.tag) {
            let target = Target { tag: tag.id, scale: mapped.scale, offset: mapped.offset };
            known.insert(column.clone(), Some(target));
        }
    }
    known.extend(map.ignore.iter().map(|column| (column.clone(), None)));
    known
}

fn listed(names: &[String]) -> String {
    let mut listed: Vec<String> = names.iter().take(LISTED_MAX).map(|name| format!("'{name}'")).collect();
    if names.len() > LISTED_MAX {
        listed.push(format!("and {} more", names.len() - LISTED_MAX));
    }
    listed.join(", ")
}

fn unknown(strangers: &[&str], tags: &[&str]) -> String {
    let named: Vec<String> = strangers
        .iter()
        .take(LISTED_MAX)
        .map(|name| match nearest(name, tags) {
            Some(near) => format!("'{name}' (is it '{near}'?)"),
            None => format!("'{name}'"),
        })
        .collect();
    let more = strangers.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "the plant has no tag {}{more}; say in a map (--map) which tag each is, or that it is to be ignored",
        named.join(", ")
    )
}
