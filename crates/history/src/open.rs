//! Opening a data folder, and what every other part needs of an open one.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sightglass_protocol::{CameraId, LineId, PlantInfo, TagId};
use sqlx::{
    ConnectOptions, Connection, Sqlite, SqlitePool, Transaction,
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};
use tokio::sync::Mutex;

use crate::{
    birth::undo_half_made,
    checkpoint::{Checkpointer, LOG_BYTES_KEPT, LOG_PAGES_MAX},
    error::HistoryError,
    header::beside,
    place::{OpenedAt, Place},
    plant::{Ids, look_up, register},
    schema::{FileState, SCHEMA, inspect},
    sessions,
    upgrade::{Ready, make_ready, refuse_cut_off},
    video,
    writer::{Tail, WriteHalf},
};

/// The history's file within the data folder.
pub const FILE_NAME: &str = "history.sqlite";
/// The file that is locked while a writer has the folder.
pub const LOCK_NAME: &str = "history.lock";

/// Connections that read, at most; each question uses one while it is answered.
const READERS_MAX: u32 = 4;
/// How long a reader waits for SQLite's short exclusive moments (recovery, checkpoint restart).
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Larger than SQLite's default, since most rows are bodies of some kilobytes.
pub(crate) const PAGE_BYTES: u32 = 8192;

/// An open history. Cheap to clone: all clones are the same open file.
#[derive(Clone, Debug)]
pub struct History {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) plant: PlantInfo,
    pub(crate) ids: Ids,
    pub(crate) readers: SqlitePool,
    /// `None` when opened read-only.
    pub(crate) writer: Option<WriteHalf>,
    /// Held by whatever rewrites stored rows (merge, retention), so that each may read first and write later.
    pub(crate) rewriting: Mutex<()>,
    pub(crate) tail: std::sync::Mutex<Tail>,
    /// Whether files of video may have been deleted whose rows are still there.
    pub(crate) deletions_begun: AtomicBool,
    pub(crate) checkpointer: Checkpointer,
    /// See [`History::samples_decoded`].
    pub(crate) samples_decoded: AtomicU64,
    schema: i64,
    /// The session's row; 0 when opened read-only.
    pub(crate) session: i64,
    recovered: bool,
    pub(crate) place: std::sync::Mutex<Place>,
    pub(crate) opened_at: OpenedAt,
}

impl History {
    /// Opens the history in `dir` for recording `plant`; makes the folder and the file where there are none.
    ///
    /// Nothing of a former run is lost: names keep their ids, a tag whose unit changed begins a new series, segments
    /// that were being written when a former engine died are closed at the last recorded moment.
    ///
    /// # Errors
    /// [`HistoryError::InUse`], [`HistoryError::ReadOnly`], [`HistoryError::NotSqlite`], [`HistoryError::Foreign`],
    /// [`HistoryError::Newer`], [`HistoryError::CutOff`], [`HistoryError::NoRoom`] for the copy that is taken before an
    /// older file is brought up to date (each leaves the file untouched), or SQLite's own.
    pub async fn open(dir: &Path, plant: &PlantInfo) -> Result<Self, HistoryError> {
        fs::create_dir_all(dir).map_err(|source| read_only_or(dir, "make the data folder", source))?;
        let lock = lock(dir)?;
        let path = dir.join(FILE_NAME);
        if path.try_exists().map_err(|source| HistoryError::io("look at", &path, source))? {
            undo_half_made(&path, base_options(&path)).await?;
        }
        let wrap = |source| HistoryError::from_sqlx(dir, source);
        let Ready { mut connection, died } = make_ready(dir).await?;

        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
        let ids = register(&mut transaction, plant).await.map_err(wrap)?;
        let info = serde_json::to_string(plant).map_err(|error| HistoryError::BadQuery {
            what: format!("the plant's description cannot be stored: {error}"),
        })?;
        sqlx::query("INSERT INTO plant (info) VALUES (?1) ON CONFLICT DO NOTHING")
            .bind(&info)
            .execute(&mut *transaction)
            .await
            .map_err(wrap)?;
        sessions::close_dead(&mut transaction).await.map_err(wrap)?;
        let session: i64 =
            sqlx::query_scalar("INSERT INTO session (plant) SELECT id FROM plant WHERE info = ?1 RETURNING id")
                .bind(&info)
                .fetch_one(&mut *transaction)
                .await
                .map_err(wrap)?;
        let closed = video::close_dangling(&mut transaction, dir).await.map_err(wrap)?;
        let unmerged: i64 = sqlx::query_scalar("SELECT coalesce(sum(samples), 0) FROM sample_batch")
            .fetch_one(&mut *transaction)
            .await
            .map_err(wrap)?;
        transaction.commit().await.map_err(wrap)?;
        // The file itself knows of this run, and its log is never empty: so that a log that got lost is missed. And
        // nothing of an earlier run lies behind what comes.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.map_err(wrap)?;
        sqlx::query("UPDATE session SET clean = 0 WHERE id = ?1")
            .bind(session)
            .execute(&mut connection)
            .await
            .map_err(wrap)?;
        if died {
            tracing::info!(dir = %dir.display(), segments = closed, "the former run did not end cleanly; its records were kept");
        }

        let opened_at = OpenedAt::new(std::sync::Mutex::new(Instant::now()));
        let readers = pool(base_options(&path).read_only(true), &opened_at).await.map_err(wrap)?;
        let inner = Inner {
            dir: dir.to_owned(),
            plant: plant.clone(),
            ids,
            readers,
            writer: Some(WriteHalf::new(connection, unmerged)),
            rewriting: Mutex::new(()),
            tail: std::sync::Mutex::default(),
            checkpointer: Checkpointer::new(),
            deletions_begun: AtomicBool::new(true),
            samples_decoded: AtomicU64::new(0),
            schema: SCHEMA,
            session,
            recovered: died,
            place: Place::new(&path, Some(lock)),
            opened_at,
        };
        let inner = Arc::new(inner);
        inner.checkpointer.start(&inner);
        Ok(Self { inner })
    }

    /// Opens the history in `dir` for looking at it, also while an engine records into it, and also one of a newer
    /// Sightglass (see [`History::is_newer`]). Takes the plant as the last run stored it.
    ///
    /// # Errors
    /// [`HistoryError::NotFound`], [`HistoryError::NotSqlite`], [`HistoryError::Foreign`], [`HistoryError::CutOff`], or
    /// SQLite's own.
    pub async fn open_read_only(dir: &Path) -> Result<Self, HistoryError> {
        let path = dir.join(FILE_NAME);
        if !path.try_exists().map_err(|source| HistoryError::io("look at", &path, source))? {
            return Err(HistoryError::NotFound { path });
        }
        refuse_cut_off(&path, has_log(&path))?;
        let mut options = base_options(&path).read_only(true);
        let state = match inspect(&path, &options).await {
            Err(HistoryError::Sqlite { .. } | HistoryError::ReadOnly { .. }) if !has_log(&path) => {
                // On a medium that cannot be written SQLite cannot make its shared memory; without a log there is
                // nothing to share.
                options = options.immutable(true);
                inspect(&path, &options).await?
            }
            state => state?,
        };
        let FileState::History(schema) = state else { return Err(HistoryError::NotFound { path }) };
        let wrap = |source| HistoryError::from_sqlx(dir, source);
        let opened_at = OpenedAt::new(std::sync::Mutex::new(Instant::now()));
        let readers = pool(options, &opened_at).await.map_err(wrap)?;
        let mut connection = readers.acquire().await.map_err(wrap)?;
        let info: Option<String> = sqlx::query_scalar(
            "SELECT plant.info FROM session JOIN plant ON plant.id = session.plant ORDER BY session.id DESC LIMIT 1",
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(wrap)?;
        let plant: PlantInfo = match info {
            None => return Err(HistoryError::NotFound { path }),
            Some(info) => serde_json::from_str(&info).map_err(|error| HistoryError::Damaged {
                place: format!("table plant of {}", path.display()),
                reason: error.to_string(),
            })?,
        };
        let ids = look_up(&mut connection, &plant).await.map_err(wrap)?;
        drop(connection);
        let inner = Inner {
            dir: dir.to_owned(),
            plant,
            ids,
            readers,
            writer: None,
            rewriting: Mutex::new(()),
            tail: std::sync::Mutex::default(),
            checkpointer: Checkpointer::new(),
            deletions_begun: AtomicBool::new(true),
            samples_decoded: AtomicU64::new(0),
            schema,
            session: 0,
            recovered: false,
            place: Place::new(&path, None),
            opened_at,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether a newer Sightglass wrote the file: what this program does not know of, it does not show.
    pub fn is_newer(&self) -> bool {
        self.inner.schema > SCHEMA
    }

    /// The file's schema.
    pub(crate) fn schema(&self) -> i64 {
        self.inner.schema
    }

    /// Whether the former run did not close the file itself (it was killed, or the power went).
    pub fn is_recovered(&self) -> bool {
        self.inner.recovered
    }

    /// The plant: as given, or as stored when opened read-only.
    pub fn plant(&self) -> &PlantInfo {
        &self.inner.plant
    }

    /// How many merged samples have been decoded to answer with samples themselves, since this was opened: what tells
    /// whether a question reads more than it needs.
    pub fn samples_decoded(&self) -> u64 {
        self.inner.samples_decoded.load(Ordering::Relaxed)
    }

    pub(crate) fn session_id(&self) -> i64 {
        self.inner.session
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Ends all use of the file, by every clone: waits for what is being written, folds the log into the file, marks
    /// the session as cleanly closed and lets go of the folder once the last clone is gone.
    ///
    /// # Errors
    /// SQLite's own; everything acknowledged before is stored even then.
    pub async fn close(self) -> Result<(), HistoryError> {
        self.inner.readers.close().await;
        let Some(writer) = &self.inner.writer else { return Ok(()) };
        self.inner.checkpointer.stop().await;
        let Some(mut connection) = writer.take().await else { return Ok(()) };
        let wrap = |source| self.error(source);
        sqlx::query("UPDATE session SET clean = 1 WHERE id = ?1")
            .bind(self.inner.session)
            .execute(&mut connection)
            .await
            .map_err(wrap)?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.map_err(wrap)?;
        connection.close().await.map_err(wrap)
    }

    pub(crate) fn error(&self, source: sqlx::Error) -> HistoryError {
        HistoryError::from_sqlx(&self.inner.dir, source)
    }

    /// For `map_err`.
    pub(crate) fn wrap(&self) -> impl Fn(sqlx::Error) -> HistoryError + '_ {
        |source| self.error(source)
    }

    /// A view of the file as it is at the first question, unmoved by what is written meanwhile.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'static, Sqlite>, HistoryError> {
        match self.inner.readers.begin().await {
            Err(sqlx::Error::PoolClosed) => Err(HistoryError::Closed),
            other => other.map_err(self.wrap()),
        }
    }

    pub(crate) fn file_line(&self, line: LineId) -> Result<i64, HistoryError> {
        self.inner.ids.line(line).ok_or(HistoryError::Unknown { what: "line", id: line.0.into() })
    }

    pub(crate) fn file_tag(&self, tag: TagId) -> Result<i64, HistoryError> {
        self.inner.ids.tag(tag).ok_or(HistoryError::Unknown { what: "tag", id: tag.0 })
    }

    pub(crate) fn file_camera(&self, camera: CameraId) -> Result<i64, HistoryError> {
        self.inner.ids.camera(camera).ok_or(HistoryError::Unknown { what: "camera", id: camera.0.into() })
    }
}

pub(crate) fn base_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_MAX).disable_statement_logging()
}

/// The connection that writes, which syncs every commit. Makes the file where there is none.
pub(crate) async fn writing_connection(dir: &Path) -> Result<SqliteConnection, sqlx::Error> {
    writing_connection_at(&dir.join(FILE_NAME)).await
}

/// The same for a file that does not have its name yet.
pub(crate) async fn writing_connection_at(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    base_options(path)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", LOG_PAGES_MAX.to_string())
        .pragma("journal_size_limit", LOG_BYTES_KEPT.to_string())
        .connect()
        .await
}

/// A connection that may write, for folding in the log.
pub(crate) async fn plain_connection(dir: &Path) -> Result<SqliteConnection, sqlx::Error> {
    base_options(&dir.join(FILE_NAME)).connect().await
}

/// Readers of whatever was opened last: older ones are closed when they are wanted next.
async fn pool(options: SqliteConnectOptions, opened_at: &OpenedAt) -> Result<SqlitePool, sqlx::Error> {
    let opened_at = Arc::clone(opened_at);
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .before_acquire(move |_connection, reader| {
            let opened_at = *opened_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let is_present = reader.age <= opened_at.elapsed();
            Box::pin(async move { Ok(is_present) })
        })
        .connect_with(options)
        .await
}

/// Whether there is a write-ahead log with anything in it.
pub(crate) fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

pub(crate) fn lock(dir: &Path) -> Result<File, HistoryError> {
    let path = dir.join(LOCK_NAME);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| read_only_or(dir, "make the lock file", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HistoryError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(HistoryError::io("lock", &path, source)),
    }
}

fn read_only_or(dir: &Path, action: &'static str, source: io::Error) -> HistoryError {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            HistoryError::ReadOnly { dir: dir.to_owned(), reason: source.to_string() }
        }
        _ => HistoryError::io(action, dir, source),
    }
}
