//! `sightglass score`: fit on tables of normal rows, then score another table, row by row.

use std::path::{Path, PathBuf};

use serde_json::json;
use sightglass_protocol::Role;
use sightglass_world_model::{ScoreColumn, Scorer};

use super::print;
use crate::score_table::ScoreTable;
use crate::{EngineError, card};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// CSV files of normal running; each is a run of its own.
    #[arg(long, required = true, num_args = 1..)]
    train: Vec<PathBuf>,
    /// The CSV file to score.
    #[arg(long)]
    input: PathBuf,
    /// Where the scores go: time, score (1 is the limit), flag, and the tags most responsible.
    #[arg(long)]
    out: PathBuf,
    /// Columns that people set: they explain, and never are a surprise.
    #[arg(long, value_delimiter = ',')]
    setpoints: Vec<String>,
    /// Columns that controllers set: they explain, and are foreseen, too.
    #[arg(long, value_delimiter = ',')]
    outputs: Vec<String>,
    /// The wanted share of normal rows that are flagged.
    #[arg(long, default_value_t = 0.01)]
    false_alarm_rate: f64,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    for path in arguments.train.iter().chain([&arguments.input]) {
        if is_same(path, &arguments.out) {
            return Err(EngineError::Usage(format!("--out {} would overwrite what is read", arguments.out.display())));
        }
    }
    let read = |path: &PathBuf| ScoreTable::read(path).map_err(EngineError::Usage);
    let training: Vec<ScoreTable> = arguments.train.iter().map(read).collect::<Result<_, _>>()?;
    let input = read(&arguments.input)?;
    let mut notes: Vec<String> = Vec::new();
    let left_out = training.iter().chain([&input]).flat_map(|table| &table.left_out);
    for note in left_out.map(|what| format!("not used: {what}")) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let columns = columns(arguments, &training, &mut notes)?;
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let select = |table: &ScoreTable, path: &Path| {
        table.select(&names).map_err(|lacking| {
            EngineError::Usage(format!(
                "{}: there is no column {}, which {} has",
                path.display(),
                lacking.join(", "),
                arguments.train[0].display()
            ))
        })
    };
    let runs: Vec<_> =
        training.iter().zip(&arguments.train).map(|(table, path)| select(table, path)).collect::<Result<_, _>>()?;
    let rows = select(&input, &arguments.input)?;
    let more: Vec<&str> = input.names.iter().filter(|n| !training[0].names.contains(n)).map(String::as_str).collect();
    if !more.is_empty() {
        notes.push(format!("not used, since training does not have it: {}", more.join(", ")));
    }
    let spinner = card::spinner("fitting");
    let scorer = Scorer::fit(&columns, &runs, arguments.false_alarm_rate)
        .map_err(|error| EngineError::Usage(format!("fitting on {}: {error}", listed(&arguments.train))))?;
    spinner.finish_and_clear();
    notes.extend(scorer.notes().iter().cloned());
    let mut stream = scorer.start();
    let (mut flagged, mut unknown, mut empty) = (0, 0, 0);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: std::io::Error| EngineError::io("writing", &arguments.out)(error);
    let mut write = |fields: [&str; 4]| writer.write_record(fields).map_err(|error| failed(error.into()));
    write(["time", "score", "flag", "top_tags"])?;
    for (time, row) in input.times.iter().zip(&rows) {
        let Some(scored) = stream.next_row(row) else {
            empty += 1;
            write([time, "", "0", ""])?;
            continue;
        };
        let is_flagged = scored.score > 1.0;
        flagged += usize::from(is_flagged);
        unknown += usize::from(scored.unknown_ground);
        let top: Vec<&str> = scored.top.iter().map(|&column| names[column].as_str()).collect();
        write([time, &scored.score.to_string(), if is_flagged { "1" } else { "0" }, &top.join(";")])?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    std::fs::write(&arguments.out, bytes).map_err(failed)?;
    if unknown > 0 {
        notes.push(format!(
            "{unknown} rows are on or just after setpoints that training never showed; none of them is flagged"
        ));
    }
    if empty > 0 {
        notes.push(format!("{empty} rows have no value of any judged tag, and no score"));
    }
    tell(arguments, rows.len(), flagged, &notes);
    Ok(())
}

/// Whether two paths lead to one file that exists.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The columns of training with their roles, the same in all files.
fn columns(
    arguments: &Arguments,
    training: &[ScoreTable],
    notes: &mut Vec<String>,
) -> Result<Vec<ScoreColumn>, EngineError> {
    let first = &training[0];
    for (table, path) in training.iter().zip(&arguments.train) {
        let strangers: Vec<&str> =
            table.names.iter().filter(|n| !first.names.contains(n)).map(String::as_str).collect();
        if !strangers.is_empty() {
            return Err(EngineError::Usage(format!(
                "{}: there is a column {}, which {} does not have; training files need the same columns",
                path.display(),
                strangers.join(", "),
                arguments.train[0].display()
            )));
        }
    }
    for (option, names) in [("--setpoints", &arguments.setpoints), ("--outputs", &arguments.outputs)] {
        if let Some(name) = names.iter().find(|name| !first.names.contains(name)) {
            return Err(EngineError::Usage(format!(
                "{option} {name}: {} has no such column; it has {}",
                arguments.train[0].display(),
                first.names.join(", ")
            )));
        }
    }
    if let Some(name) = arguments.setpoints.iter().find(|name| arguments.outputs.contains(name)) {
        return Err(EngineError::Usage(format!(
            "{name} is given as a setpoint and as an output; it can be one of them"
        )));
    }
    let mut columns = Vec::new();
    for name in &first.names {
        let role = if arguments.setpoints.contains(name) {
            Role::Setpoint
        } else if arguments.outputs.contains(name) {
            Role::Output
        } else {
            Role::Measurement
        };
        if role == Role::Measurement && training.iter().all(|table| table.counts(name)) {
            notes.push(format!("not used: {name}, which only counts the rows"));
        } else {
            columns.push(ScoreColumn { name: name.clone(), role });
        }
    }
    Ok(columns)
}

fn tell(arguments: &Arguments, rows: usize, flagged: usize, notes: &[String]) {
    if arguments.json {
        print::line(json!({ "rows": rows, "flagged": flagged, "out": arguments.out, "notes": notes }));
        return;
    }
    print::line(format_args!("{rows} rows scored, {flagged} of them flagged; written to {}", arguments.out.display()));
    notes.iter().for_each(|note| print::line(format_args!("note: {note}")));
}
