//! One tick's surprise, told apart by tag and camera.

use std::collections::HashMap;

use sightglass_protocol::{LineInfo, PatchMap, Subject, Surprise, TagId};

use crate::delivery::Trust;

/// One tick counts at most this much for one tag or camera, so that a single wild tick does not decide the causes.
const EVIDENCE_MAX: f32 = 9.0;
/// Where nothing is above its own limit, the leading ones share this much between them.
const FAINT_EVIDENCE: f32 = 0.1;
/// … leading being those with at least this share of the highest score.
const FAINT_SHARE: f32 = 0.5;
/// A camera's score is the mean of its highest patches: one in this many.
const PATCHES_PER_TOP: usize = 32;

/// The tags and cameras of a line as positions: first the tags, then the cameras, each in the line's order.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    subjects: Vec<Subject>,
    tag_positions: HashMap<TagId, usize>,
    tag_count: usize,
}

impl Positions {
    pub(crate) fn new(line: &LineInfo) -> Self {
        let tags = line.tags.iter().copied().map(Subject::Tag);
        let cameras = line.cameras.iter().copied().map(Subject::Camera);
        Self {
            subjects: tags.chain(cameras).collect(),
            tag_positions: line.tags.iter().enumerate().map(|(position, tag)| (*tag, position)).collect(),
            tag_count: line.tags.len(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.subjects.len()
    }

    pub(crate) fn subject(&self, position: usize) -> Subject {
        self.subjects[position]
    }

    pub(crate) fn is_camera(&self, position: usize) -> bool {
        position >= self.tag_count
    }

    pub(crate) fn of_tag(&self, tag: TagId) -> Option<usize> {
        self.tag_positions.get(&tag).copied()
    }

    fn of_map(&self, map: &PatchMap) -> Option<usize> {
        let cameras = &self.subjects[self.tag_count..];
        cameras.iter().position(|camera| *camera == Subject::Camera(map.camera)).map(|index| self.tag_count + index)
    }
}

/// What one tick says against each tag and camera.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// 0 upwards, by position; 0 for what cannot be trusted.
    pub(crate) weights: Vec<f32>,
    /// The scores as they are, by position; 0 for what cannot be trusted.
    pub(crate) scores: Vec<f32>,
    /// Whether the strongest evidence is against something that cannot be trusted.
    pub(crate) is_led_by_untrusted: bool,
    /// The largest share of a camera's patches above the limit.
    pub(crate) spread: f32,
}

impl Evidence {
    pub(crate) fn of(surprise: &Surprise, positions: &Positions, trust: &[Trust]) -> Self {
        let mut scores = vec![0.0_f32; positions.len()];
        for tag in &surprise.tags {
            if let Some(position) = positions.of_tag(tag.tag) {
                scores[position] = finite(tag.score);
            }
        }
        let mut spread = 0.0_f32;
        for map in &surprise.patches {
            if let Some(position) = positions.of_map(map) {
                scores[position] = camera_score(map);
                if trust[position] == Trust::Trusted {
                    spread = spread.max(share_above(map));
                }
            }
        }
        let highest = |wanted: fn(Trust) -> bool| {
            let of_kind = scores.iter().zip(trust).filter(|(_, trust)| wanted(**trust));
            of_kind.map(|(score, _)| *score).fold(0.0_f32, f32::max)
        };
        let trusted_highest = highest(|trust| trust == Trust::Trusted);
        let is_led_by_untrusted = highest(|trust| trust != Trust::Trusted) > trusted_highest;
        for (score, trust) in scores.iter_mut().zip(trust) {
            if *trust != Trust::Trusted {
                *score = 0.0;
            }
        }
        let weights = if trusted_highest > 1.0 {
            scores.iter().map(|score| (score - 1.0).clamp(0.0, EVIDENCE_MAX)).collect()
        } else {
            let faint =
                |score: &f32| if *score > 0.0 && *score >= FAINT_SHARE * trusted_highest { *score } else { 0.0 };
            let sum: f32 = scores.iter().map(faint).sum();
            scores.iter().map(|score| if sum > 0.0 { FAINT_EVIDENCE * faint(score) / sum } else { 0.0 }).collect()
        };
        Self { weights, scores, is_led_by_untrusted, spread }
    }
}

/// A score that can be compared: a model that gives NaN says nothing.
fn finite(score: f32) -> f32 {
    if score.is_nan() { 0.0 } else { score.max(0.0) }
}

/// The mean of a map's highest patches.
fn camera_score(map: &PatchMap) -> f32 {
    let mut scores: Vec<f32> = map.scores.iter().map(|score| finite(*score)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let top = &scores[..(scores.len() / PATCHES_PER_TOP).max(1).min(scores.len())];
    if top.is_empty() { 0.0 } else { top.iter().sum::<f32>() / top.len() as f32 }
}

/// The share of a map's patches above the limit.
fn share_above(map: &PatchMap) -> f32 {
    map.scores.iter().filter(|score| **score > 1.0).count() as f32 / map.scores.len().max(1) as f32
}
