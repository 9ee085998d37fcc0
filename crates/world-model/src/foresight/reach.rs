//! How far from a roll-out the line may be: 80 % bands for every tick ahead, by conformal prediction on running that the
//! regressions did not see (split conformal, each side by itself; Romano et al. 2019).
//!
//! Errors are measured on a grid of ticks ahead, as far as the running held back reaches. Between them offsets go with
//! the logarithm of time. Beyond the last they grow with a power of time, the one by which they grew last, which is
//! at most that of a random walk (a half). How well that rule would have told the last measured ones is kept.

use crate::file::{Broken, Store};

/// Ticks ahead at which errors are measured.
pub(crate) const GRID: [usize; 18] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// A random walk's growth.
const GROWTH_MAX: f32 = 0.5;

/// Offsets from the middle to a band's ends, normalised.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reach {
    pub(crate) tags: usize,
    /// How many of [`GRID`] were measured.
    pub(crate) measured: usize,
    /// By grid point and tag, at most 0.
    pub(crate) low: Vec<f32>,
    /// By grid point and tag, at least 0.
    pub(crate) high: Vec<f32>,
    /// What the offsets are multiplied by when they tell *when* a limit is crossed.
    pub(crate) passage: f32,
}

/// An offset at any tick ahead from those on `grid` (`step` apart in `offsets`, beginning at `first`).
pub(crate) fn offset(offsets: &[f32], first: usize, step: usize, grid: &[usize], ahead: usize) -> f32 {
    let on = |point: usize| offsets[point * step + first];
    let ahead = ahead.max(1);
    let last = grid.len() - 1;
    if ahead >= grid[last] {
        let beyond = ahead as f32 / grid[last] as f32;
        // By how much it grew over about the last doubling; from one point alone, as a random walk.
        let Some(earlier) = (0..last).rfind(|&point| 2 * grid[point] <= grid[last]) else {
            return on(last) * beyond.powf(GROWTH_MAX);
        };
        let (from, to) = (on(earlier).abs(), on(last).abs());
        let doublings = (grid[last] as f32 / grid[earlier] as f32).log2();
        let growth = if to > from && from > 1e-9 { (to / from).log2() / doublings } else { 0.0 };
        return on(last) * beyond.powf(growth.min(GROWTH_MAX));
    }
    let next = grid.iter().position(|&point| point > ahead).unwrap_or(last).max(1);
    let (from, to) = (grid[next - 1] as f32, grid[next] as f32);
    let share = ((ahead as f32 / from).ln() / (to / from).ln()).clamp(0.0, 1.0);
    on(next - 1) + (on(next) - on(next - 1)) * share
}

impl Reach {
    /// Low and high offset of a tag.
    pub(crate) fn at(&self, tag: usize, ahead: usize) -> (f32, f32) {
        let of = |offsets: &[f32]| offset(offsets, tag, self.tags, &GRID[..self.measured], ahead);
        (of(&self.low), of(&self.high))
    }

    /// The ticks ahead up to which offsets were measured.
    pub(crate) fn measured_ticks(&self) -> usize {
        GRID[self.measured - 1]
    }

    pub(crate) fn store(&self, name: &str, store: &mut Store) {
        store.put_floats(&format!("foresight.{name}.low"), &self.low);
        store.put_floats(&format!("foresight.{name}.high"), &self.high);
        store.put_floats(&format!("foresight.{name}.passage"), &[self.passage]);
    }

    pub(crate) fn restore(name: &str, tags: usize, store: &Store) -> Result<Self, Broken> {
        let low = store.floats(&format!("foresight.{name}.low"))?;
        let high = store.floats(&format!("foresight.{name}.high"))?;
        let key = format!("foresight.{name}.passage");
        let passage = store.floats(&key)?;
        let measured = low.len() / tags.max(1);
        let fits = measured >= 1 && measured <= GRID.len() && low.len() == measured * tags && high.len() == low.len();
        match passage.as_slice() {
            [passage] if fits => Ok(Self { tags, measured, low, high, passage: *passage }),
            _ => Err(Broken::new(&key, "does not fit the tags")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_with_the_logarithm_between_and_with_a_bounded_power_beyond() {
        let (grown, grid) = ([1.0, 1.2, 1.4], [1, 2, 4]);
        assert_eq!(offset(&grown, 0, 1, &grid, 2), 1.2);
        let between = offset(&grown, 0, 1, &grid, 3);
        assert!(between > 1.3 && between < 1.35, "{between}");
        let beyond = offset(&grown, 0, 1, &grid, 16);
        assert!(beyond > 1.8 && beyond < 2.0, "{beyond}");
        assert_eq!(offset(&[1.0, 3.0], 0, 1, &[1, 2], 8), 6.0, "a random walk's at most");
        assert_eq!(offset(&[-1.0, -0.5], 0, 1, &[1, 2], 8), -0.5, "what shrank stays");
    }
}
