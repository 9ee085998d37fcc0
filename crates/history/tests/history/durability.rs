//! A process that writes, merges and is killed.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use sightglass_history::History;
use sightglass_protocol::{Sample, TagId, UtcNanos, time::SECOND};

use crate::{START, at, folder, plant, run, sample};

const FOLDER: &str = "SIGHTGLASS_TEST_KILLED_FOLDER";

fn commit(second: i64) -> Vec<Sample> {
    (0..20).map(|part| sample(part as u32 % 4, START + second * SECOND + part, (second * part) as f64)).collect()
}

/// Not a test by itself: the process that the test below kills. Says each commit once it is acknowledged.
#[test]
#[ignore = "run by a_killed_writer_has_lost_nothing_that_was_acknowledged"]
fn the_writer_that_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    run(async move {
        let history = History::open(dir.as_ref(), &plant()).await.unwrap();
        let first = history.range(sightglass_protocol::LineId(0)).await.unwrap();
        let mut second = first.map_or(0, |(_, last)| last.since(UtcNanos(START)) / SECOND + 1);
        let merger = history.clone();
        let (merge_to, mut merges) = tokio::sync::mpsc::channel(1);
        let merging = tokio::spawn(async move {
            while let Some(up_to) = merges.recv().await {
                merger.merge(up_to).await.unwrap();
            }
        });
        loop {
            history.append(&commit(second)).await.unwrap();
            history.put_event(at(second), "test", &second.to_string()).await.unwrap();
            println!("stored {second}");
            std::io::stdout().flush().unwrap();
            // Full means that a merge is on its way.
            let _ = merge_to.try_send(at(second));
            assert!(!merging.is_finished());
            second += 1;
        }
    });
}

#[test]
fn a_killed_writer_has_lost_nothing_that_was_acknowledged() {
    let dir = folder();
    let mut stored = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["durability::the_writer_that_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            if let Some(second) = line.split("stored ").nth(1) {
                stored = second.parse::<i64>().unwrap();
                seen += 1;
            }
            if seen > 20 + round * 17 {
                break;
            }
        }
        assert!(seen > 20, "the writer stopped by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        run(async {
            let history = History::open(dir.path(), &plant()).await.unwrap();
            assert!(history.is_recovered());
            assert_eq!(history.verify().await.unwrap(), []);
            for tag in 0..4 {
                let expected: Vec<Sample> =
                    (0..=stored).flat_map(commit).filter(|sample| sample.tag == TagId(tag)).collect();
                let found = history.raw(TagId(tag), at(0), at(stored) + (SECOND - 1)).await.unwrap();
                assert!(found == expected, "round {round}: {} of {} samples", found.len(), expected.len());
            }
            let events = history.entries(at(0), at(stored), u32::MAX).await.unwrap();
            assert_eq!(events.len() as i64, stored + 1);
            history.close().await.unwrap();
        });
    }
}

#[test]
fn a_merge_that_is_dropped_anywhere_changes_nothing_that_is_read() {
    run(async {
        let dir = folder();
        let history = History::open(dir.path(), &plant()).await.unwrap();
        let expected: Vec<Sample> = (0..3000).flat_map(commit).filter(|sample| sample.tag == TagId(0)).collect();
        for second in (0..3000).step_by(100) {
            let samples: Vec<Sample> = (second..second + 100).flat_map(commit).collect();
            history.append(&samples).await.unwrap();
        }
        // The merge is polled once more in each round, then dropped wherever it is.
        let mut polls = 1;
        loop {
            let merge = history.merge(at(10_000));
            let mut merge = std::pin::pin!(merge);
            let mut left = polls;
            let done = std::future::poll_fn(|context| {
                let poll = merge.as_mut().poll(context);
                left -= 1;
                if poll.is_ready() {
                    std::task::Poll::Ready(true)
                } else if left == 0 {
                    std::task::Poll::Ready(false)
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
            let found = history.raw(TagId(0), at(0), at(10_000)).await.unwrap();
            assert!(found == expected, "after {polls} polls: {} of {}", found.len(), expected.len());
            if done {
                break;
            }
            polls += 1;
        }
        assert!(polls > 10, "the merge ended at once");
        assert_eq!(history.merge(at(10_000)).await.unwrap(), Default::default());
        assert_eq!(history.verify().await.unwrap(), []);
    });
}
