//! The chain of events and audit, built anew over the entries that can still be read.

use sightglass_protocol::UtcNanos;
use sqlx::sqlite::SqliteConnection;

use super::salvage::Salvage;
use crate::{
    events::{EntryClass, entry_hash},
    fields::Fields,
    verify::{JournalRow, Judged, Problem, head, judge},
};

/// Who says that an entry is lost, in the place of it.
pub(super) const WHO: &str = "history repair";
/// A hole of more entries than this is no loss but a number that was changed.
const HOLE_MAX: i64 = 100_000;
const SELECT: &str = "SELECT seq, time, class, subject, text, hash FROM journal";
const INSERT: &str = "INSERT INTO journal (seq, time, class, subject, text, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// What became of the chain.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Entries that were kept.
    pub(super) kept: u64,
    /// Numbers of entries that are lost; each has an entry in its place that says so.
    pub(super) lost: Vec<(i64, i64)>,
    /// Numbers of entries that are not as they were written.
    pub(super) changed: Vec<i64>,
    /// The last number and hash that the damaged file noted.
    pub(super) old_head: Option<(i64, Vec<u8>)>,
    last: (i64, i64),
    hash: Vec<u8>,
}

/// An entry that does not follow from the one before it, until the next one says which of the two was changed.
struct Doubted {
    seq: i64,
    computed: Vec<u8>,
}

impl Chain {
    /// Copies the readable entries, and chains them.
    pub(super) async fn build(
        source: &mut SqliteConnection,
        target: &mut SqliteConnection,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, sqlx::Error> {
        let mut chain = Self { hash: vec![0; 32], ..Self::default() };
        let mut salvage = Salvage::new(source, SELECT, "journal", "seq").await;
        let mut before = (0i64, vec![0u8; 32]);
        let mut doubted: Option<Doubted> = None;
        while let Some(rows) = salvage.next(source).await {
            for row in &rows {
                let mut row = match JournalRow::from_row(Fields(row)) {
                    Ok(row) => row,
                    Err(what) => {
                        let seq = Fields(row).int(0).unwrap_or(0);
                        problems.push(Problem::lost(format!("journal {seq}"), what));
                        continue;
                    }
                };
                chain.judge(&before, &row, &mut doubted, problems);
                let computed = row.hash_after(&before.1);
                if doubted.as_ref().is_some_and(|doubted| doubted.seq == row.seq) {
                    doubted = Some(Doubted { seq: row.seq, computed });
                }
                before = (row.seq, row.hash.clone());
                chain.fill_up_to(&mut row, target, problems).await?;
                chain.add(target, row.time, &row.class, &row.subject, &row.text).await?;
                chain.kept += 1;
            }
        }
        for (from, to, what) in &salvage.lost {
            problems.push(Problem::lost(super::rows_named("journal", *from, *to), what.clone()));
        }
        match head(source).await {
            Ok(Some(head)) => {
                if let Some(doubted) = doubted.take() {
                    chain.settle(&doubted, doubted.computed == head.1, problems);
                }
                if head.0 > before.0 && head.0 - before.0 <= HOLE_MAX {
                    chain.lost.push((before.0 + 1, head.0));
                    problems.push(Problem::lost(
                        super::rows_named("journal", before.0 + 1, head.0),
                        "they were cut off at the end".to_owned(),
                    ));
                } else if head != before {
                    problems.push(Problem::lost("journal_head", "it did not say where the chain ends".to_owned()));
                }
                chain.old_head = Some(head);
            }
            Ok(None) => problems.push(Problem::lost("journal_head", "it is not there".to_owned())),
            Err(what) => problems.push(Problem::lost("journal_head", what)),
        }
        if let Some(doubted) = doubted {
            chain.settle(&doubted, false, problems);
        }
        Ok(chain)
    }

    /// Notes whether `row` is as it was written, as far as its neighbours tell.
    fn judge(
        &mut self,
        before: &(i64, Vec<u8>),
        row: &JournalRow,
        doubted: &mut Option<Doubted>,
        problems: &mut Vec<Problem>,
    ) {
        if let Some(last) = doubted.take() {
            // If this one goes on from what the last one should have been, only the last one's hash was changed.
            let only_hash = row.hash_after(&last.computed) == row.hash;
            self.settle(&last, only_hash, problems);
            if only_hash {
                return;
            }
        }
        match judge((before.0, &before.1), row) {
            Judged::Whole => {}
            // Whether it was changed cannot be told without the one before it.
            Judged::AfterGap => {}
            Judged::Changed => *doubted = Some(Doubted { seq: row.seq, computed: Vec::new() }),
        }
    }

    fn settle(&mut self, doubted: &Doubted, only_hash: bool, problems: &mut Vec<Problem>) {
        let what = if only_hash {
            "its hash was changed; its text is as it was written, and kept"
        } else {
            "it was changed after it was written; it is kept as it is now"
        };
        problems.push(Problem::lost(format!("journal {}", doubted.seq), what.to_owned()));
        self.changed.push(doubted.seq);
    }

    /// Puts an entry that says so in the place of each that is lost before `row`.
    async fn fill_up_to(
        &mut self,
        row: &mut JournalRow,
        target: &mut SqliteConnection,
        problems: &mut Vec<Problem>,
    ) -> Result<(), sqlx::Error> {
        let (last, time) = self.last;
        let hole = row.seq - last - 1;
        if hole > HOLE_MAX {
            problems.push(Problem::lost(
                format!("journal {}", row.seq),
                format!("its number was changed; it is kept as {}", last + 1),
            ));
            self.changed.push(row.seq);
            return Ok(());
        }
        if hole > 0 {
            self.lost.push((last + 1, row.seq - 1));
            problems.push(Problem::lost(
                super::rows_named("journal", last + 1, row.seq - 1),
                "they cannot be read; entries that say so are in their place".to_owned(),
            ));
        }
        for seq in last + 1..row.seq {
            let text = format!("entry {seq} could not be read and is lost");
            let time = if time == 0 { row.time } else { time };
            self.add(target, time, EntryClass::Audit.word(), WHO, &text).await?;
        }
        Ok(())
    }

    async fn add(
        &mut self,
        target: &mut SqliteConnection,
        time: i64,
        class: &str,
        subject: &str,
        text: &str,
    ) -> Result<(), sqlx::Error> {
        let seq = self.last.0 + 1;
        // What was neither is nothing that the schema takes.
        let class = if class == EntryClass::Audit.word() { class } else { EntryClass::Event.word() };
        self.hash = entry_hash(&self.hash, seq, time, class, subject, text);
        sqlx::query(INSERT)
            .bind(seq)
            .bind(time)
            .bind(class)
            .bind(subject)
            .bind(text)
            .bind(&self.hash)
            .execute(&mut *target)
            .await?;
        self.last = (seq, time);
        Ok(())
    }

    /// Ends the chain with what was done to it.
    pub(super) async fn end(
        &mut self,
        target: &mut SqliteConnection,
        now: UtcNanos,
        text: &str,
    ) -> Result<(), sqlx::Error> {
        self.add(target, now.0, EntryClass::Audit.word(), WHO, text).await?;
        sqlx::query("UPDATE journal_head SET seq = ?1, hash = ?2")
            .bind(self.last.0)
            .bind(&self.hash)
            .execute(target)
            .await?;
        Ok(())
    }

    /// What the audit says of it.
    pub(super) fn told(&self) -> String {
        let ranges = |ranges: &[(i64, i64)]| {
            let listed: Vec<String> = ranges.iter().map(|&(from, to)| super::range_named(from, to)).collect();
            super::shortened(&listed)
        };
        let changed: Vec<(i64, i64)> = self.changed.iter().map(|&seq| (seq, seq)).collect();
        let head = match &self.old_head {
            Some((seq, hash)) => {
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("the former chain ended with entry {seq}, hash {hash}")
            }
            None => "where the former chain ended cannot be read".to_owned(),
        };
        format!("{} entries kept, lost: {}, changed: {}; {head}", self.kept, ranges(&self.lost), ranges(&changed))
    }
}
