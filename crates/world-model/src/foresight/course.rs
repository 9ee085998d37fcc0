//! A course of action: what people set over the coming ticks.

use sightglass_protocol::{Role, TagId};

use super::ForesightError;
use crate::actions::ActionCode;
use crate::residual::Snapshot;
use crate::spec::ModelSpec;

/// One thing that is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CourseStep {
    /// After how many ticks; 0 is now, so that the next tick is the first to have it.
    pub after_ticks: u32,
    /// Which setpoint or mode.
    pub tag: TagId,
    /// To what, in its unit; it holds until it is set again.
    pub value: f64,
}

/// What people set over the coming ticks; what is not set holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    steps: Vec<CourseStep>,
}

impl Course {
    /// Everything holds.
    pub fn held() -> Self {
        Self::default()
    }

    /// Sets `tag` to `value` after `after_ticks` ticks, beside what is set already.
    #[must_use]
    pub fn set(mut self, after_ticks: u32, tag: TagId, value: f64) -> Self {
        self.push(CourseStep { after_ticks, tag, value });
        self
    }

    /// The same in place.
    pub fn push(&mut self, step: CourseStep) {
        let at = self.steps.partition_point(|s| s.after_ticks <= step.after_ticks);
        self.steps.insert(at, step);
    }

    /// What is set, in the order of time.
    pub fn steps(&self) -> &[CourseStep] {
        &self.steps
    }
}

/// Where the raw value of a tag stands among a line's actions: setpoints, then modes.
pub(crate) fn position(code: &ActionCode, spec: &ModelSpec, tag: TagId) -> Result<usize, ForesightError> {
    let at = spec.tags.iter().position(|t| t.id == tag).ok_or(ForesightError::UnknownTag { tag })?;
    let setpoint = code.setpoints.iter().position(|s| s.at == at);
    let mode = code.modes.iter().position(|m| m.at == at).map(|i| code.setpoints.len() + i);
    setpoint.or(mode).ok_or_else(|| {
        let name = spec.tags[at].name.clone();
        match spec.tags[at].role {
            Role::Setpoint | Role::Mode => ForesightError::NeverSeen { name },
            Role::Measurement | Role::Output => ForesightError::NoAction { name },
        }
    })
}

/// Raw actions of the ticks ahead under a course, (ahead, actions).
pub(crate) fn raw_ahead(
    code: &ActionCode,
    spec: &ModelSpec,
    start: &Snapshot,
    course: &Course,
    ahead: usize,
) -> Result<Vec<f64>, ForesightError> {
    let mut now = start.actions.raw.clone();
    let steps: Vec<(usize, usize, f64)> = course
        .steps
        .iter()
        .map(|step| {
            if !step.value.is_finite() {
                return Err(ForesightError::NoNumber { tag: step.tag });
            }
            Ok((step.after_ticks as usize, position(code, spec, step.tag)?, step.value))
        })
        .collect::<Result<_, _>>()?;
    let mut out = Vec::with_capacity(ahead * now.len());
    let mut next = steps.iter().peekable();
    for tick in 0..ahead {
        while let Some((_, at, value)) = next.next_if(|(after, ..)| *after <= tick) {
            now[*at] = *value;
        }
        out.extend_from_slice(&now);
    }
    Ok(out)
}

/// The same as the model reads them, (ahead, action values).
pub(crate) fn coded(code: &ActionCode, raw: &[f64]) -> Vec<f32> {
    let width = code.setpoints.len() + code.modes.len();
    let mut out = Vec::with_capacity(raw.len() / width.max(1) * code.len());
    if width > 0 {
        raw.chunks_exact(width).for_each(|raw| code.encode(raw, &mut out));
    }
    out
}
