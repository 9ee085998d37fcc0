//! What holds for every run, whatever the model says.

use std::collections::HashMap;

use crate::line::{CAMERA, FLOW, LEVEL, PUMP, Run, TEMPERATURE};
use proptest::prelude::*;
use sightglass_monitor::{MonitorOptions, OPEN_MAX};
use sightglass_protocol::{AdvisoryChange, AdvisoryId, Quality};

#[derive(Clone, Debug)]
struct Step {
    score: f32,
    position: usize,
    is_dropped: bool,
    is_bad: bool,
    gap: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let score = prop_oneof![4 => 0.0_f32..1.0, 4 => 1.0_f32..4.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)];
    let position = prop_oneof![Just(FLOW), Just(LEVEL), Just(TEMPERATURE), Just(PUMP), Just(CAMERA)];
    let gap = prop_oneof![20 => Just(0_u64), 1 => 1_u64..40];
    (score, position, prop::bool::weighted(0.1), prop::bool::weighted(0.1), gap)
        .prop_map(|(score, position, is_dropped, is_bad, gap)| Step { score, position, is_dropped, is_bad, gap })
}

fn play(run: &mut Run, step: &Step) {
    run.index += step.gap;
    run.qualities[FLOW] = step.is_bad.then_some(Quality::Bad);
    let surprise = run.surprise(step.score, &[(step.position, step.score)]);
    run.observe((!step.is_dropped).then_some(&surprise));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_advisory_opens_once_closes_at_most_once_and_says_nothing_afterwards(
        steps in prop::collection::vec(step(), 0..400),
        attribution_ticks in 0_u32..60,
    ) {
        let mut run = Run::with(None, MonitorOptions { attribution_ticks, ..MonitorOptions::default() });
        for step in &steps {
            play(&mut run, step);
            prop_assert!(run.monitor.open().len() <= OPEN_MAX);
        }
        let mut is_open: HashMap<AdvisoryId, bool> = HashMap::new();
        for change in &run.changes {
            let advisory = change.advisory();
            let before = match change {
                AdvisoryChange::Opened(_) => is_open.insert(advisory.id, true),
                AdvisoryChange::Updated(_) => is_open.get(&advisory.id).copied(),
                AdvisoryChange::Closed(_) => is_open.insert(advisory.id, false),
            };
            let expected = if matches!(change, AdvisoryChange::Opened(_)) { None } else { Some(true) };
            prop_assert_eq!(before, expected, "{:?}", change);
            prop_assert_eq!(advisory.closed.is_some(), matches!(change, AdvisoryChange::Closed(_)));
            prop_assert!(advisory.since <= advisory.opened && advisory.last_seen >= advisory.since);
            prop_assert!((0.0..=1.0).contains(&advisory.confidence), "{}", advisory.confidence);
            prop_assert!(advisory.causes.len() <= 8 && !advisory.title.is_empty());
            let shares: f32 = advisory.causes.iter().map(|cause| cause.share).sum();
            prop_assert!(advisory.causes.is_empty() || (shares - 1.0).abs() < 1e-3, "{}", shares);
            prop_assert!(advisory.causes.windows(2).all(|pair| pair[0].share >= pair[1].share));
        }
        let still_open = is_open.values().filter(|open| **open).count();
        prop_assert_eq!(still_open, run.monitor.open().len());
    }

    #[test]
    fn nothing_opens_without_enough_ticks_above_the_limit_in_the_window(scores in prop::collection::vec(0.0_f32..2.9, 0..300)) {
        let options = MonitorOptions::default();
        let mut run = Run::with(None, options.clone());
        for (index, score) in scores.iter().enumerate() {
            let opened = run.step(*score, &[(FLOW, *score)]).advisories.iter().any(|change| matches!(change, AdvisoryChange::Opened(_)));
            let window = &scores[(index + 1).saturating_sub(options.window_ticks)..=index];
            let over = window.iter().filter(|score| **score > 1.0).count();
            prop_assert!(!opened || over >= options.over_ticks, "opened at {index} on {window:?}");
        }
    }
}
