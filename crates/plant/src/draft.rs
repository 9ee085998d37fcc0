//! A draft of a plant file, from what was found at a source.

use std::collections::HashMap;

use crate::{
    parse::{NAME_CHARS_MAX, TAGS_MAX},
    write::Text,
};

/// A tag that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftTag {
    /// What it is called at its source, from the outermost folder on; the tag's name is the shortest end that no other has.
    pub path: Vec<String>,
    /// Where the source finds it.
    pub address: String,
    /// Its unit; empty where that is not known.
    pub unit: String,
    /// The lowest and highest value, where the source says it.
    pub range: Option<(f64, f64)>,
    /// What whoever goes over the draft should know.
    pub note: String,
}

/// The text of a plant file with one line, one source with these `keys` and its `tags`, of which at most
/// [`TAGS_MAX`] are taken. All are drafted as measurements: what people set is not to be seen from outside.
pub fn draft(source: &str, keys: &[(&str, &str)], tags: &[DraftTag]) -> String {
    let tags = &tags[..tags.len().min(TAGS_MAX)];
    let mut text = Text::default();
    text.comment(
        "A draft of what was found. Take out what is not needed, and correct each role: setpoint for what people",
    );
    text.comment(
        "set, output for what a controller drives, mode for automatic, manual, stopped; measurement is for the rest.",
    );
    text.comment("`sightglass check` says what is wrong with the file.");
    text.table("[plant]");
    text.quoted("name", "plant");
    text.table("[[line]]");
    text.quoted("name", "line");
    text.table("[[source]]");
    text.quoted("name", source);
    for (key, value) in keys {
        text.quoted(key, value);
    }
    for (tag, name) in tags.iter().zip(names(tags)) {
        text.table("[[tag]]");
        if !tag.note.is_empty() {
            text.comment(&tag.note);
        }
        text.quoted("name", &name);
        text.quoted("address", &tag.address);
        if !tag.unit.trim().is_empty() {
            text.quoted("unit", tag.unit.trim());
        }
        if let Some((low, high)) = tag.range.filter(|(low, high)| low < high && low.is_finite() && high.is_finite()) {
            text.plain("range", format_args!("[{low:?}, {high:?}]"));
        }
        text.quoted("role", "measurement");
    }
    text.finish()
}

/// A name for each tag: as much of the end of its path as no other tag's has; numbered where whole paths are the same.
fn names(tags: &[DraftTag]) -> Vec<String> {
    let longest = tags.iter().map(|tag| tag.path.len()).max().unwrap_or(0).max(1);
    let mut names: Vec<Option<String>> = vec![None; tags.len()];
    let mut taken = HashMap::new();
    for parts in 1..=longest {
        let wished: Vec<String> = tags.iter().map(|tag| ending(&tag.path, parts)).collect();
        let mut wishes: HashMap<&str, usize> = HashMap::new();
        for wish in &wished {
            *wishes.entry(wish).or_default() += 1;
        }
        for (name, wish) in names.iter_mut().zip(&wished) {
            if name.is_none() && (parts == longest || wishes[wish.as_str()] == 1) {
                *name = Some(numbered(wish, &mut taken));
            }
        }
    }
    names.into_iter().flatten().collect()
}

/// `wish`, with a number behind it where it is taken.
fn numbered(wish: &str, taken: &mut HashMap<String, usize>) -> String {
    let mut name = wish.to_owned();
    while let Some(times) = taken.get_mut(&name) {
        *times += 1;
        let number = format!(" {times}");
        let room = NAME_CHARS_MAX - number.len();
        name = wish.chars().take(room).chain(number.chars()).collect();
    }
    taken.insert(name.clone(), 1);
    name
}

/// The last `parts` of a path as a name that a plant file may have.
fn ending(path: &[String], parts: usize) -> String {
    let words: Vec<String> = path[path.len().saturating_sub(parts)..]
        .iter()
        .map(|part| part.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let name = words.join(".");
    // Its end says more than its beginning.
    let excess = name.chars().count().saturating_sub(NAME_CHARS_MAX);
    let name: String = name.chars().skip(excess).collect();
    let name = name.trim();
    if name.is_empty() { "tag".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(path: &[&str]) -> DraftTag {
        DraftTag {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            address: "ns=2;s=x".to_owned(),
            ..DraftTag::default()
        }
    }

    #[test]
    fn names_are_as_short_as_they_can_be_and_differ() {
        let tags = [
            tag(&["press", "level"]),
            tag(&["filler", "level"]),
            tag(&["filler", "speed"]),
            tag(&["a", "filler", "level"]),
            tag(&["same"]),
            tag(&["same"]),
            tag(&["same"]),
            tag(&["\n"]),
            tag(&[]),
            tag(&["x", &"é".repeat(NAME_CHARS_MAX + 5)]),
        ];
        let names = names(&tags);
        let expected =
            ["press.level", "filler.level", "speed", "a.filler.level", "same", "same 2", "same 3", "tag", "tag 2"];
        assert_eq!(names[..9], expected);
        assert_eq!(names[9], "é".repeat(NAME_CHARS_MAX));
    }

    #[test]
    fn a_draft_is_a_good_plant_whatever_was_found() {
        let mut tags = vec![
            DraftTag { unit: "°C".to_owned(), range: Some((-5.0, 120.5)), ..tag(&["oven", "t\"1\"\\"]) },
            DraftTag { range: Some((1.0, 1.0)), note: "two\nlines".to_owned(), ..tag(&["oven", "flat"]) },
            DraftTag { range: Some((0.0, f64::INFINITY)), ..tag(&["oven", "#\u{7f}"]) },
        ];
        tags.extend((0..TAGS_MAX).map(|_| tag(&["many"])));
        let text = draft("press", &[("kind", "opcua"), ("address", "opc.tcp://10.0.0.8:4840")], &tags);
        let plant = crate::parse(&text, "draft.toml", std::path::Path::new(".")).expect("a good plant");
        assert_eq!(plant.tags.len(), TAGS_MAX);
        assert_eq!((plant.tags[0].name.as_str(), plant.tags[0].unit.as_str()), ("t\"1\"\\", "°C"));
        assert_eq!(plant.tags[0].range, Some((-5.0, 120.5)));
        assert_eq!((plant.tags[1].range, plant.tags[2].range), (None, None));
    }
}
