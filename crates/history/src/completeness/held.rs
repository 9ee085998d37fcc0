//! One tag that is recorded when it changes: for how much of the range its value is known.
//!
//! A value holds from its sample on. It is not known before the first one, while the newest one is not usable, and from
//! the moment at which a change could not have been recorded (the engine stopped, the source down) until the next sample.

use sightglass_protocol::Quality;

use super::{
    GapReason, Gaps, TagCompleteness,
    reasons::Reasons,
    stored::{Head, Looks, Series, Stock},
    walk::flaw,
};
use crate::{
    chunk::{Row, sort_and_join},
    error::HistoryError,
    open::History,
};

/// A sample, or the end of one that is only known to be usable throughout: time and what makes it of no use.
type Moment = (i64, Option<Quality>);

/// What was known before the range.
enum Before {
    Nothing,
    Value(Moment),
    /// It is stored, but cannot be read.
    Damaged,
}

/// Everything of one tag in the stock's range.
pub(super) async fn tag(
    history: &History,
    stock: &mut Stock,
    reasons: &Reasons,
    series: &Series,
) -> Result<TagCompleteness, HistoryError> {
    let (from, to) = (stock.from, stock.to);
    let mut rows = stock.unmerged(series);
    let mut before = Before::Nothing;
    if let Some(head) = stock.head_before(history, series).await? {
        match stock.decode(history, &head).await? {
            None => before = Before::Damaged,
            Some(more) => rows.extend(more.into_iter().filter(|row| row.time < from)),
        }
    }
    sort_and_join(&mut rows);
    let within = rows.split_off(rows.partition_point(|row| row.time < from));
    if let Some(row) = rows.last() {
        before = Before::Value((row.time, flaw(row)));
    }
    let mut held = Held::new(from, to, before, Gaps::new(reasons, series));
    let mut waiting = within.as_slice();
    let heads = stock.heads(history, series).await?;
    let interval = heads.iter().map(|head| head.interval).filter(|&interval| interval > 0).min().unwrap_or(0);
    let mut buckets = Vec::with_capacity(series.file_tags.len());
    for &tag in &series.file_tags {
        buckets.push(stock.buckets(history, tag, interval).await?);
    }
    for (index, head) in heads.iter().enumerate() {
        let next = heads.get(index + 1).map_or(to, |next| next.first);
        let (before, rest) = waiting.split_at(waiting.partition_point(|row| row.time < head.first));
        held.rows(before);
        waiting = rest;
        let is_alone = head.last < next && waiting.first().is_none_or(|row| row.time > head.last);
        let at = series.file_tags.iter().position(|&tag| tag == head.tag).unwrap_or(0);
        let is_whole = is_alone && from <= head.first && head.last < to;
        if is_whole
            && buckets[at].look(head.first, head.last, i64::MAX) == Looks::Good
            && held.is_undisturbed(head.first, head.last)
        {
            stock.evidence.chunks_by_header += 1;
            held.whole(head);
            continue;
        }
        match stock.decode(history, head).await? {
            None => held.damaged(head),
            Some(more) => {
                let (here, later) = waiting.split_at(waiting.partition_point(|row| row.time <= head.last));
                waiting = later;
                let mut rows = here.to_vec();
                rows.extend(more.into_iter().filter(|row| (from..to).contains(&row.time)));
                sort_and_join(&mut rows);
                held.rows(&rows);
            }
        }
    }
    held.rows(waiting);
    Ok(held.end())
}

struct Held<'a> {
    range_from: i64,
    /// Where what is not accounted for begins, as long as nothing in the range is known.
    from: i64,
    to: i64,
    gaps: Gaps<'a>,
    before: Before,
    /// The newest sample in the range.
    newest: Option<Moment>,
    present: u64,
    good: u64,
}

impl<'a> Held<'a> {
    const fn new(from: i64, to: i64, before: Before, gaps: Gaps<'a>) -> Self {
        Self { range_from: from, from, to, gaps, before, newest: None, present: 0, good: 0 }
    }

    /// Whether nothing in between could have hidden a change.
    fn is_undisturbed(&self, first: i64, last: i64) -> bool {
        let pieces = self.gaps.reasons.explain(self.gaps.series, first, last.saturating_add(1));
        pieces.iter().all(|piece| piece.reason == GapReason::Unexplained)
    }

    fn whole(&mut self, head: &Head) {
        self.sample(head.first, None);
        let more = head.samples.unsigned_abs() - 1;
        self.present += more;
        self.good += more;
        self.newest = Some((head.last, None));
    }

    fn rows(&mut self, rows: &[Row]) {
        for row in rows {
            self.sample(row.time, flaw(row));
        }
    }

    fn damaged(&mut self, head: &Head) {
        let (first, last) = (head.first.max(self.from), head.last.min(self.to - 1));
        self.until(first);
        self.gaps.put(first, last + 1, GapReason::Damaged, 0, "its checksum does not match".to_owned());
        // What held at its end cannot be read either.
        self.newest = None;
        self.before = Before::Damaged;
        self.from = last + 1;
    }

    fn sample(&mut self, time: i64, flaw: Option<Quality>) {
        self.until(time);
        self.present += 1;
        self.good += u64::from(flaw.is_none());
        self.newest = Some((time, flaw));
    }

    /// Takes the time from the newest sample up to `time`.
    fn until(&mut self, time: i64) {
        let (since, flaw) = match (self.newest, &self.before) {
            (Some(newest), _) => newest,
            (None, &Before::Value(value)) => value,
            (None, Before::Damaged) => {
                let detail = "the sample before is damaged".to_owned();
                return self.gaps.put(self.from, time, GapReason::Damaged, 0, detail);
            }
            (None, Before::Nothing) => {
                for piece in self.gaps.reasons.explain(self.gaps.series, self.from, time) {
                    self.gaps.put(piece.from, piece.to, piece.reason, 0, piece.detail);
                }
                return;
            }
        };
        if let Some(quality) = flaw {
            return self.gaps.put(since.max(self.from), time, GapReason::BadQuality, 0, quality.word().to_owned());
        }
        let mut hidden: Option<GapReason> = None;
        for piece in self.gaps.reasons.explain(self.gaps.series, since, time) {
            let (reason, detail) = match (piece.reason, hidden) {
                (GapReason::Unexplained, None) => continue,
                (GapReason::Unexplained, Some(reason)) => (reason, "no value since".to_owned()),
                (reason, _) => (reason, piece.detail),
            };
            hidden = Some(reason);
            self.gaps.put(piece.from.max(self.from), piece.to, reason, 0, detail);
        }
    }

    fn end(mut self) -> TagCompleteness {
        let to = self.to;
        self.until(to);
        let series = self.gaps.series;
        let covered_ns = to.saturating_sub(self.range_from).saturating_sub(self.gaps.total_ns());
        let share = covered_ns as f64 / to.saturating_sub(self.range_from) as f64;
        TagCompleteness {
            tag: series.name.clone(),
            line: series.line.clone(),
            units: series.units.clone(),
            by_exception: true,
            intervals_ns: Vec::new(),
            expected: None,
            present: self.present,
            good: self.good,
            covered_ns,
            share,
            good_share: share,
            gaps_left_out: self.gaps.left_out,
            by_reason: self.gaps.sums,
            gaps: self.gaps.listed,
        }
    }
}
