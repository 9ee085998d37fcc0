//! One tag with a usual interval, from the range's beginning to its end.

use sightglass_protocol::Quality;

use super::{
    GAP_PERIODS, GapReason, Gaps, TagCompleteness,
    reasons::Reasons,
    stored::{Buckets, Head, Looks, Series, Stock},
};
use crate::{
    chunk::{Row, sort_and_join},
    error::HistoryError,
    open::History,
};

/// Neighbours to either side that say what the usual interval is at a sample.
const PACE_NEIGHBOURS: usize = 8;
/// Two intervals that differ by less than this share are one.
const SAME_PACE: f64 = 0.1;

/// What makes a sample's value of no use; `None` for a usable one. A value that is not finite counts as bad.
pub(super) fn flaw(row: &Row) -> Option<Quality> {
    let quality = row.quality();
    match quality.is_usable() {
        true if row.value.is_finite() => None,
        true => Some(Quality::Bad),
        false => Some(quality),
    }
}

/// Chunks that overlap (those of a former unit, with a clock that was set back), or one alone.
fn clusters(heads: &[Head]) -> Vec<&[Head]> {
    let mut clusters = Vec::new();
    let mut start = 0;
    let mut reach = i64::MIN;
    for (index, head) in heads.iter().enumerate() {
        if index > start && head.first > reach {
            clusters.push(&heads[start..index]);
            start = index;
            reach = i64::MIN;
        }
        reach = reach.max(head.last);
    }
    if start < heads.len() {
        clusters.push(&heads[start..]);
    }
    clusters
}

/// Everything of one tag in the stock's range.
pub(super) async fn tag(
    history: &History,
    stock: &mut Stock,
    reasons: &Reasons,
    series: &Series,
) -> Result<TagCompleteness, HistoryError> {
    let (from, to) = (stock.from, stock.to);
    let heads = stock.heads(history, series).await?;
    let near = stock.interval_near(history, series).await?;
    let mut buckets: Vec<(i64, Buckets)> = Vec::with_capacity(series.file_tags.len());
    for &tag in &series.file_tags {
        let interval = heads.iter().filter(|head| head.tag == tag && head.interval > 0).map(|head| head.interval).min();
        if let Some(interval) = interval {
            buckets.push((tag, stock.buckets(history, tag, interval).await?));
        }
    }
    let mut unmerged = stock.unmerged(series);
    unmerged.retain(|row| row.time >= from);
    let mut waiting = unmerged.as_slice();
    let mut walk = Walk::new(from, to, near.unwrap_or(series.tick_ns), Gaps::new(reasons, series));
    for cluster in clusters(&heads) {
        let first = cluster[0].first;
        let last = cluster.iter().map(|head| head.last).max().unwrap_or(first);
        let (before, rest) = waiting.split_at(waiting.partition_point(|row| row.time < first));
        let (within, after) = rest.split_at(rest.partition_point(|row| row.time <= last));
        waiting = after;
        walk.rows(before);
        if let ([head], true) = (cluster, within.is_empty() && from <= first && last < to) {
            let looks = buckets.iter().find(|(tag, _)| *tag == head.tag).map_or(Looks::Unclear, |(_, buckets)| {
                buckets.look(first, last, walk.pace_of(head).unwrap_or(head.interval))
            });
            if walk.whole(head, looks) {
                stock.evidence.chunks_by_header += 1;
                continue;
            }
        }
        let mut rows = within.to_vec();
        let mut damaged = Vec::new();
        for head in cluster {
            match stock.decode(history, head).await? {
                Some(more) => {
                    walk.learn(head, &more);
                    rows.extend(more);
                }
                None => damaged.push(*head),
            }
        }
        rows.retain(|row| (from..to).contains(&row.time));
        sort_and_join(&mut rows);
        match damaged.as_slice() {
            [] => walk.rows(&rows),
            damaged => walk.around_damage(&rows, damaged),
        }
    }
    walk.rows(waiting);
    Ok(walk.end())
}

/// The usual interval as the last decoded chunk had it, and as that chunk's row says it.
#[derive(Clone, Copy)]
struct Pace {
    exact: f64,
    header: i64,
}

/// Where a walk through one tag's time has come.
struct Walk<'a> {
    from: i64,
    to: i64,
    gaps: Gaps<'a>,
    /// The last sample.
    previous: Option<i64>,
    /// The usual interval at the last sample; at first the tag's elsewhere.
    interval: f64,
    pace: Option<Pace>,
    /// Since when samples are not usable, and why.
    bad: Option<(i64, Quality)>,
    present: u64,
    good: u64,
    missing: u64,
    /// Intervals and how many samples had each.
    intervals: Vec<(f64, u64)>,
}

impl<'a> Walk<'a> {
    const fn new(from: i64, to: i64, interval: i64, gaps: Gaps<'a>) -> Self {
        Self {
            from,
            to,
            gaps,
            previous: None,
            interval: interval as f64,
            pace: None,
            bad: None,
            present: 0,
            good: 0,
            missing: 0,
            intervals: Vec::new(),
        }
    }

    /// Remembers what a decoded chunk says of the usual interval, more exactly than its row.
    fn learn(&mut self, head: &Head, rows: &[Row]) {
        let steps: Vec<i64> = steps(rows).into_iter().filter(|&step| step > 0).collect();
        self.pace = usual(&steps).map(|exact| Pace { exact, header: head.interval });
    }

    /// The interval of a chunk that looks like the last decoded one.
    fn pace_of(&self, head: &Head) -> Option<i64> {
        let pace = self.pace.filter(|pace| is_same(pace.header as f64, head.interval as f64))?;
        Some(pace.exact.round() as i64)
    }

    /// Takes a chunk by what its row and roll-ups say, where that leaves no question.
    fn whole(&mut self, head: &Head, looks: Looks) -> bool {
        let flaw = match looks {
            Looks::Good => None,
            Looks::Bad(quality) => Some(quality),
            Looks::Unclear => return false,
        };
        let Some(pace) = self.pace.filter(|pace| is_same(pace.header as f64, head.interval as f64)) else {
            return false;
        };
        let span = head.last.saturating_sub(head.first) as f64;
        let steps = (head.samples - 1) as f64;
        if (span - steps * pace.exact).abs() > GAP_PERIODS as f64 * pace.exact {
            return false;
        }
        self.sample(head.first, flaw, pace.exact);
        let more = head.samples.unsigned_abs() - 1;
        self.present += more;
        self.good += if flaw.is_none() { more } else { 0 };
        self.missing += ((span / pace.exact).round() - steps).max(0.0) as u64;
        self.previous = Some(head.last);
        self.count_interval(pace.exact, more);
        true
    }

    /// Takes samples in time order.
    fn rows(&mut self, rows: &[Row]) {
        let steps = steps(rows);
        let mut is_known = false;
        for (index, row) in rows.iter().enumerate() {
            // As long as samples come as they did, there is nothing to find out.
            let goes_on = is_known && index > 0 && is_same(steps[index - 1] as f64, self.interval);
            let interval = if goes_on { None } else { usual_around(&steps, index) };
            is_known = goes_on || interval.is_some();
            self.sample(row.time, flaw(row), interval.unwrap_or(self.interval));
        }
    }

    /// Takes samples of a place where chunks could not be read.
    fn around_damage(&mut self, rows: &[Row], damaged: &[Head]) {
        let first = damaged.iter().map(|head| head.first).min().unwrap_or(self.to).max(self.from);
        let last = damaged.iter().map(|head| head.last).max().unwrap_or(self.from).min(self.to - 1);
        let stored: u64 = damaged.iter().map(|head| head.samples.unsigned_abs()).sum();
        self.rows(&rows[..rows.partition_point(|row| row.time < first)]);
        self.close_bad(first);
        let until = first.saturating_sub(self.interval as i64).max(self.from);
        if self.previous.is_none_or(|previous| previous < until) {
            self.sample_at_end_of_hole(first);
        }
        let others = rows.partition_point(|row| row.time < first)..rows.partition_point(|row| row.time <= last);
        let missing = stored.saturating_sub(others.len() as u64);
        self.present += others.len() as u64;
        self.good += rows[others.clone()].iter().filter(|row| flaw(row).is_none()).count() as u64;
        self.missing += missing;
        self.gaps.put(first, last + 1, GapReason::Damaged, missing, "its checksum does not match".to_owned());
        self.previous = Some(last);
        self.rows(&rows[others.end..]);
    }

    /// A hole up to `time`, at which something that cannot be read begins.
    fn sample_at_end_of_hole(&mut self, time: i64) {
        self.hole(time, self.interval);
    }

    fn count_interval(&mut self, interval: f64, samples: u64) {
        match self.intervals.iter_mut().find(|(other, _)| is_same(*other, interval)) {
            Some((_, count)) => *count += samples,
            None => self.intervals.push((interval, samples)),
        }
    }

    /// Counts what is missing between the last sample and `time`, and notes a gap where it is long enough.
    fn hole(&mut self, time: i64, interval: f64) {
        // Where the interval changes, the longer one counts: nobody knows which of the two held.
        let interval = interval.max(self.interval).max(1.0);
        let (start, missing) = match self.previous {
            Some(previous) => {
                let span = time.saturating_sub(previous) as f64;
                let missing = if span > 1.5 * interval { (span / interval).round() - 1.0 } else { 0.0 };
                (previous.saturating_add(interval as i64), missing)
            }
            // Where in its interval the tag was at the beginning is not known.
            None => (self.from, (time.saturating_sub(self.from) as f64 / interval + 0.01).floor()),
        };
        if missing >= 1.0 {
            self.missing += missing as u64;
        }
        let silent = time.saturating_sub(self.previous.unwrap_or(self.from)) as f64;
        if silent > GAP_PERIODS as f64 * interval {
            self.close_bad(start);
            self.gaps.absent(start, time, interval as i64);
        }
    }

    fn sample(&mut self, time: i64, flaw: Option<Quality>, interval: f64) {
        let was_bad = self.bad;
        self.hole(time, interval);
        self.interval = interval;
        self.previous = Some(time);
        self.present += 1;
        self.count_interval(interval, 1);
        match flaw {
            None => {
                self.good += 1;
                self.close_bad(time);
            }
            Some(quality) => {
                // A hole ended what was bad before it.
                let since = if self.bad.is_some() { was_bad } else { None };
                self.bad = Some(since.map_or((time, quality), |(since, worst)| (since, worst.max(quality))));
            }
        }
    }

    fn close_bad(&mut self, time: i64) {
        if let Some((since, quality)) = self.bad.take() {
            self.gaps.put(since, time, GapReason::BadQuality, 0, quality.word().to_owned());
        }
    }

    fn end(mut self) -> TagCompleteness {
        let interval = self.interval.max(1.0);
        let silent = self.to.saturating_sub(self.previous.unwrap_or(self.from)) as f64;
        match self.previous {
            None => {
                self.missing += (silent / interval).round().max(1.0) as u64;
                self.gaps.absent(self.from, self.to, interval as i64);
            }
            Some(previous) => {
                self.missing += ((silent - interval / 4.0) / interval).floor().max(0.0) as u64;
                if silent > GAP_PERIODS as f64 * interval {
                    let start = previous.saturating_add(interval as i64);
                    self.close_bad(start);
                    self.gaps.absent(start, self.to, interval as i64);
                }
            }
        }
        self.close_bad(self.to);
        let expected = self.present + self.missing;
        let share = |count: u64| if expected == 0 { 1.0 } else { count as f64 / expected as f64 };
        self.intervals.sort_by_key(|&(_, samples)| std::cmp::Reverse(samples));
        let series = self.gaps.series;
        TagCompleteness {
            tag: series.name.clone(),
            line: series.line.clone(),
            units: series.units.clone(),
            by_exception: false,
            // What fewer than one in a hundred samples have is the noise around a change.
            intervals_ns: self
                .intervals
                .iter()
                .filter(|(_, samples)| samples * 100 >= self.present)
                .map(|(interval, _)| interval.round() as i64)
                .collect(),
            expected: Some(expected),
            present: self.present,
            good: self.good,
            covered_ns: self.to.saturating_sub(self.from).saturating_sub(self.gaps.total_ns()),
            share: share(self.present),
            good_share: share(self.good),
            gaps_left_out: self.gaps.left_out,
            by_reason: self.gaps.sums,
            gaps: self.gaps.listed,
        }
    }
}

fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() <= SAME_PACE * one.min(other)
}

/// Times between neighbours.
fn steps(rows: &[Row]) -> Vec<i64> {
    rows.windows(2).map(|pair| pair[1].time.saturating_sub(pair[0].time)).collect()
}

/// The usual step around the sample at `index`. A few samples do not tell: a hole among them would be taken for it.
fn usual_around(steps: &[i64], index: usize) -> Option<f64> {
    let near = &steps[index.saturating_sub(PACE_NEIGHBOURS)..(index + PACE_NEIGHBOURS + 1).min(steps.len())];
    let near: Vec<i64> = near.iter().copied().filter(|&step| step > 0).collect();
    if near.len() >= PACE_NEIGHBOURS { usual(&near) } else { None }
}

/// The mean of those steps that are near the median: neither a hole nor the grid of a device's clock makes it wrong.
fn usual(steps: &[i64]) -> Option<f64> {
    if steps.is_empty() {
        return None;
    }
    let mut sorted = steps.to_vec();
    let middle = sorted.len() / 2;
    let median = *sorted.select_nth_unstable(middle).1 as f64;
    let near = steps.iter().map(|&step| step as f64).filter(|step| (0.5 * median..=1.5 * median).contains(step));
    let (sum, count) = near.fold((0.0, 0u32), |(sum, count), step| (sum + step, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_interval_is_neither_a_hole_nor_a_grid() {
        let every = |pattern: &[i64]| pattern.iter().copied().cycle().take(300).collect::<Vec<_>>();
        assert_eq!(usual(&every(&[33, 33, 34])), Some(100.0 / 3.0));
        assert_eq!(usual(&every(&[1, 1, 1, 2])), Some(1.0));
        assert_eq!(usual(&[1, 1, 1, 1, 600]), Some(1.0));
        assert_eq!(usual(&[]), None);
    }
}
