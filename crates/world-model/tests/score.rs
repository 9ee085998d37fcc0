//! Scores of tables: what is found, what is not flagged, and what happens to bad input.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sightglass_protocol::Role;
use sightglass_world_model::{RowScore, ScoreColumn, ScoreError, Scorer};

type Rows = Vec<Vec<f64>>;

const FLOW: usize = 0;
const LEVEL: usize = 1;
const TEMPERATURE: usize = 2;
const SETPOINT: usize = 4;

fn columns() -> Vec<ScoreColumn> {
    ["flow", "level", "temperature", "pressure", "setpoint", "valve"]
        .iter()
        .map(|name| ScoreColumn {
            name: (*name).to_owned(),
            role: match *name {
                "setpoint" => Role::Setpoint,
                "valve" => Role::Output,
                _ => Role::Measurement,
            },
        })
        .collect()
}

fn noise(rng: &mut ChaCha8Rng) -> f64 {
    // Nearly normal, of unit variance.
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// A small plant: a valve brings a flow to its setpoint, a level and a temperature follow with their own memories. The
/// setpoint moves every `every` rows.
fn plant(n: usize, seed: u64, every: usize) -> Rows {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut setpoint, mut valve, mut flow, mut level, mut temperature) = (10.0, 50.0, 10.0, 0.0, 20.0);
    let mut rows = Vec::new();
    for t in 0..n + 100 {
        if every > 0 && t % every == every - 1 {
            setpoint = [9.0, 10.0, 11.0][rng.random_range(0..3)];
        }
        valve += 0.5 * (setpoint - flow) + 0.05 * noise(&mut rng);
        flow = 0.7 * flow + 0.3 * (valve / 5.0) + 0.1 * noise(&mut rng);
        level = 0.9 * level + 0.2 * (flow - 10.0) + 0.2 * noise(&mut rng);
        temperature = 20.0 + 0.8 * (temperature - 20.0) + 0.1 * level + 0.3 * noise(&mut rng);
        let pressure = 0.5 * flow - 0.2 * level + 0.05 * noise(&mut rng);
        if t >= 100 {
            rows.push(vec![flow, level, temperature, pressure, setpoint, valve]);
        }
    }
    rows
}

fn scores(scorer: &Scorer, rows: &Rows) -> Vec<Option<RowScore>> {
    let mut stream = scorer.start();
    rows.iter().map(|row| stream.next_row(row)).collect()
}

fn flagged(scores: &[Option<RowScore>]) -> f64 {
    let flags = scores.iter().filter(|s| s.as_ref().is_some_and(|s| s.score > 1.0)).count();
    flags as f64 / scores.len() as f64
}

fn fitted() -> Scorer {
    Scorer::fit(&columns(), &[plant(600, 1, 90)], 0.01).unwrap()
}

#[test]
fn the_wanted_rate_of_false_alarms_is_kept() {
    let rate = |seed: u64| {
        let scorer = Scorer::fit(&columns(), &[plant(600, seed, 0)], 0.01).unwrap();
        flagged(&scores(&scorer, &plant(10_000, 1_000 + seed, 0)))
    };
    let rates: Vec<f64> = (1..=12).map(rate).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    assert!((0.005..=0.015).contains(&mean), "{mean}: {rates:?}");
}

#[test]
fn a_shift_behind_the_noise_is_found_and_named() {
    let mut rows = plant(400, 5, 90);
    rows[200..].iter_mut().for_each(|row| row[TEMPERATURE] += 1.5);
    let scores = scores(&fitted(), &rows);
    assert!(flagged(&scores[..200]) < 0.05, "{}", flagged(&scores[..200]));
    let first = scores[200..].iter().position(|s| s.as_ref().is_some_and(|s| s.score > 1.0)).expect("it is found");
    assert!(first < 20, "{first}");
    assert_eq!(scores[200 + first].as_ref().unwrap().top[0], TEMPERATURE);
}

#[test]
fn a_stuck_sensor_is_found_though_its_value_is_a_usual_one() {
    let mut rows = plant(500, 6, 90);
    let stuck = rows[200][LEVEL];
    rows[200..].iter_mut().for_each(|row| row[LEVEL] = stuck);
    let scores = scores(&fitted(), &rows);
    let found: Vec<&RowScore> = scores[200..].iter().flatten().filter(|s| s.score > 1.0).collect();
    assert!(found.len() > 100, "{}", found.len());
    let named = found.iter().filter(|s| s.top.contains(&LEVEL)).count();
    assert!(named * 10 > found.len() * 9, "{named} of {}", found.len());
}

#[test]
fn a_setpoint_change_is_not_a_surprise() {
    // Of sizes that training showed: no more than otherwise.
    let rate = flagged(&scores(&fitted(), &plant(4_000, 7, 90)));
    assert!(rate < 0.02, "{rate}");
    // Where no change was ever seen, or never so far: nothing is flagged at all around it.
    let still = Scorer::fit(&columns(), &[plant(600, 2, 0)], 0.01).unwrap();
    let mut rows = plant(300, 8, 90);
    let scored = scores(&still, &rows);
    let changed = rows.windows(2).position(|w| w[0][SETPOINT] != w[1][SETPOINT]).unwrap() + 1;
    assert!(scored[changed..].iter().flatten().all(|s| s.score <= 1.0));
    assert!(scored[changed].as_ref().unwrap().unknown_ground);
    // A setpoint never is among what is blamed.
    rows[250][FLOW] += 30.0;
    assert!(scores(&fitted(), &rows).iter().flatten().all(|s| !s.top.contains(&SETPOINT)));
}

#[test]
fn missing_values_are_no_surprise_and_hide_no_fault() {
    let scorer = fitted();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut rows = plant(3_000, 9, 90);
    for row in &mut rows {
        for (i, v) in row.iter_mut().enumerate() {
            if i != SETPOINT && rng.random::<f64>() < 0.1 {
                *v = [f64::NAN, f64::INFINITY][i % 2];
            }
        }
    }
    // A tag that is away for long, and one row without anything.
    rows[500..700].iter_mut().for_each(|row| row[LEVEL] = f64::NAN);
    rows[100] = vec![f64::NAN; 6];
    rows[2_500..].iter_mut().for_each(|row| row[TEMPERATURE] += 3.0);
    let scored = scores(&scorer, &rows);
    assert_eq!(scored[100], None);
    assert!(flagged(&scored[..2_500]) < 0.02, "{}", flagged(&scored[..2_500]));
    assert!(flagged(&scored[2_500..]) > 0.4, "{}", flagged(&scored[2_500..]));
    assert!(scored[500..700].iter().flatten().all(|s| s.score.is_finite() && !s.top.contains(&LEVEL)));
    // Training may have gaps, too.
    let gappy = Scorer::fit(&columns(), &[rows[..1_000].to_vec()], 0.01).unwrap();
    let rate = flagged(&scores(&gappy, &plant(4_000, 10, 90)));
    assert!(rate < 0.03, "{rate}");
}

#[test]
fn a_score_depends_on_the_past_only_and_is_the_same_each_time() {
    let rows = plant(300, 11, 90);
    let mut changed = rows.clone();
    changed[200..].iter_mut().flatten().for_each(|v| *v *= 3.0);
    let (a, b) = (scores(&fitted(), &rows), scores(&fitted(), &changed));
    assert_eq!(a[..200], b[..200]);
    assert_ne!(a[200..], b[200..]);
}

#[test]
fn constant_and_identical_tags_break_nothing() {
    let widen = |rows: Rows| -> Rows {
        rows.into_iter()
            .map(|mut row| {
                row.extend([7.0, row[FLOW], f64::NAN]);
                row
            })
            .collect()
    };
    let mut columns = columns();
    for name in ["constant", "flow_again", "absent"] {
        columns.push(ScoreColumn { name: name.to_owned(), role: Role::Measurement });
    }
    let scorer = Scorer::fit(&columns, &[widen(plant(600, 1, 0))], 0.01).unwrap();
    assert!(scorer.notes().iter().any(|n| n.contains("constant")), "{:?}", scorer.notes());
    assert!(scorer.notes().iter().any(|n| n.contains("absent")), "{:?}", scorer.notes());
    let rate = flagged(&scores(&scorer, &widen(plant(3_000, 12, 0))));
    assert!(rate < 0.03, "{rate}");
}

#[test]
fn bad_input_is_refused_in_words() {
    let refused = |columns: &[ScoreColumn], runs: &[Rows], rate: f64| Scorer::fit(columns, runs, rate).unwrap_err();
    let columns = columns();
    assert!(matches!(refused(&columns, &[plant(3, 1, 0)], 0.01), ScoreError::TooFewRows { rows: 3 }));
    assert!(matches!(refused(&columns, &[], 0.01), ScoreError::TooFewRows { rows: 0 }));
    assert!(matches!(refused(&columns, &[vec![vec![1.0; 6]; 100]], 0.01), ScoreError::NothingToJudge));
    assert!(matches!(refused(&columns, &[vec![vec![f64::NAN; 6]; 100]], 0.01), ScoreError::NothingToJudge));
    assert!(matches!(refused(&columns, &[plant(60, 1, 0)], 0.0), ScoreError::Rate(_)));
    assert!(matches!(refused(&columns, &[plant(60, 1, 0)], f64::NAN), ScoreError::Rate(_)));
    let mut ragged = plant(60, 1, 0);
    ragged[7].pop();
    let error = refused(&columns, &[plant(60, 1, 0), ragged], 0.01);
    assert_eq!(error.to_string(), "row 7 of run 1 has 5 values where there are 6 columns");
}

#[test]
fn fifty_rows_and_huge_values_are_survived() {
    let scorer = Scorer::fit(&columns(), &[plant(50, 1, 0)], 0.01).unwrap();
    let mut rows = plant(100, 2, 0);
    rows[50][FLOW] = 1e300;
    rows[60][FLOW] = -1e90;
    let scored = scores(&scorer, &rows);
    assert!(scored.iter().flatten().all(|s| s.score.is_finite()));
    assert!(scored[60].as_ref().unwrap().score > 1.0);
}

#[test]
fn two_thousand_tags_are_scored_with_a_note() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut table = |n: usize| -> Rows { (0..n).map(|_| (0..2_000).map(|_| noise(&mut rng)).collect()).collect() };
    let columns: Vec<ScoreColumn> =
        (0..2_000).map(|i| ScoreColumn { name: format!("tag{i}"), role: Role::Measurement }).collect();
    let scorer = Scorer::fit(&columns, &[table(300)], 0.01).unwrap();
    assert!(scorer.notes().iter().any(|n| n.contains("2000 tags")), "{:?}", scorer.notes());
    let mut rows = table(230);
    rows[200..].iter_mut().for_each(|row| row[..100].iter_mut().for_each(|v| *v += 5.0));
    let scored = scores(&scorer, &rows);
    // Limits of so many tags from so few rows are rough, as the note says.
    assert!(flagged(&scored[..200]) < 0.3, "{}", flagged(&scored[..200]));
    assert!(flagged(&scored[200..]) > 0.9);
}
