//! The historian: one SQLite file a plant that keeps what came in, what the model said of it, and what people did.
//!
//! Samples arrive as one compressed batch a commit ([`History::append`]); a background pass ([`History::merge`]) turns
//! batches into chunks a tag and roll-ups at powers of ten; a query at any zoom ([`History::signals`]) returns at most
//! two points a pixel from whichever of the three fits. One writer, any number of readers, each on a snapshot of its
//! own. Nothing here reads the clock: times come in. `docs/history-format.md` describes every table and byte.
//!
//! The crate knows neither where samples come from nor how predictions are made.

mod advisories;
mod backup;
mod batch;
mod birth;
mod checkpoint;
mod chunk;
mod clip_crc;
mod codec;
mod compact;
mod completeness;
mod copy;
mod correction;
mod deletion;
mod error;
mod events;
mod export;
mod fields;
mod files;
mod frames;
mod header;
mod health;
mod info;
mod load;
mod merge;
mod open;
mod outages;
mod output;
mod pins;
mod place;
mod plant;
mod predictions;
mod raw;
mod repair;
mod retention;
mod rollup;
mod rollup_build;
mod schema;
mod score_track;
mod sessions;
mod signals;
mod space;
mod steps;
mod summary;
mod upgrade;
mod verify;
mod video;
mod wal;
mod writer;

pub use backup::{BackedUp, BackupOptions, MANIFEST_NAME, Manifest, Restored, backup, restore};
pub use compact::{Compacted, compact};
pub use completeness::{CERTIFICATE_GAPS_MAX, Completeness, Evidence, Gap, GapReason, ReasonSum, TagCompleteness};
pub use error::HistoryError;
pub use events::{Entry, EntryClass};
pub use export::{DAY_NS, ExportFormat, ExportRequest, ExportStats, StoredDay, date, partition, write_wide_parquet};
pub use frames::{
    AlignedPages, ParquetFile, ResampledPages, Shifts, align, align_pages, asof_events, collect, compare_runs,
    csv_header, csv_lines, events_frame, json_lines, lazy, percentiles_by_product, percentiles_by_shift, resample,
    resample_pages, samples_frame, tags_frame,
};
pub use info::{Info, Series, Sessions, TableBytes};
pub use load::Stretch;
pub use merge::MergeStats;
pub use open::{FILE_NAME, History, LOCK_NAME};
pub use outages::{Outage, OutageId, OutageKind};
pub use pins::{PIN_AFTER_NS, PIN_BEFORE_NS, PIN_OPEN_NS_MAX};
pub use polars::prelude::{DataFrame, LazyFrame};
pub use raw::SamplePages;
pub use repair::{Repaired, repair};
pub use retention::{Budget, Keep, Removed};
pub use score_track::RecordedScore;
pub use sessions::Session;
pub use space::Space;
pub use summary::Summary;
pub use verify::{OnProgress, Problem, Progress, verify_folder};
pub use writer::{BATCH_SAMPLES_MAX, TAIL_SAMPLES_MAX};
