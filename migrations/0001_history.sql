-- The first schema of the history. docs/history-format.md explains every table; a migration that has left the house is
-- never edited: the next change is the next file.
--
-- Times are UTC nanoseconds since 1970 in a 64-bit integer. Every `crc` is the CRC-32C over the row's key columns and
-- its body, so that a changed key is found as well as a changed body.

PRAGMA application_id = 0x53474C53; -- "SGLS"

-- Who is in this file. Ids are the file's own and never used again; a plant description maps to them by name.
CREATE TABLE plant (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The description as it was (JSON of PlantInfo): every version that was ever run.
    info    TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE session (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    plant   INTEGER NOT NULL REFERENCES plant (id),
    -- 1 when the writer closed the file itself; 0 while it runs, and for ever when it died.
    clean   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE line (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE camera (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    line    INTEGER NOT NULL REFERENCES line (id),
    name    TEXT NOT NULL,
    UNIQUE (line, name)
) STRICT;

-- One row a tag *and unit*: values of two units are never one series.
CREATE TABLE tag (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    line        INTEGER NOT NULL REFERENCES line (id),
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    unit        TEXT NOT NULL,
    UNIQUE (line, name, version),
    UNIQUE (line, name, unit)
) STRICT;

-- Samples as they were committed: one row a commit, all tags. AUTOINCREMENT, so that `seq` keeps counting up whatever
-- the clock does and however many rows were merged away.
CREATE TABLE sample_batch (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    first_time  INTEGER NOT NULL,
    last_time   INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    crc         INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX sample_batch_time ON sample_batch (last_time, first_time, samples);

-- Samples of one tag, sorted by time. Two chunks of one tag never share a time.
CREATE TABLE chunk (
    id          INTEGER PRIMARY KEY,
    tag         INTEGER NOT NULL REFERENCES tag (id),
    first_time  INTEGER NOT NULL,
    last_time   INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    -- Median time between neighbours; 0 when there is one sample.
    interval_ns INTEGER NOT NULL,
    crc         INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX chunk_place ON chunk (tag, first_time, last_time, samples);
CREATE INDEX chunk_end ON chunk (last_time);

-- A block holds the buckets of one slot: 1000 buckets of 10^level seconds. Exact for every merged sample of its slot; a
-- slot without a block is read from the level below.
CREATE TABLE rollup (
    id          INTEGER PRIMARY KEY,
    tag         INTEGER NOT NULL REFERENCES tag (id),
    level       INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    crc         INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX rollup_place ON rollup (tag, level, slot);

-- Slots that want their block built, once all of their samples are merged (`end_time` is past `merged_until`).
CREATE TABLE rollup_due (
    level       INTEGER NOT NULL,
    end_time    INTEGER NOT NULL,
    tag         INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    PRIMARY KEY (level, end_time, tag, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE merge_progress (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    -- Every sample before this time that had come in was merged.
    merged_until INTEGER NOT NULL
) STRICT;
INSERT INTO merge_progress (id, merged_until) VALUES (1, -9223372036854775808);

-- What the model said: one row a commit, merged later into longer rows. Scores for tracks, bands for trends, forecasts
-- and surprise for the moment under the cursor, each read alone.
CREATE TABLE output (
    id          INTEGER PRIMARY KEY,
    line        INTEGER NOT NULL REFERENCES line (id),
    first_time  INTEGER NOT NULL,
    last_time   INTEGER NOT NULL,
    ticks       INTEGER NOT NULL,
    score_max   REAL,
    crc         INTEGER NOT NULL,
    scores      BLOB NOT NULL,
    bands       BLOB NOT NULL,
    forecasts   BLOB NOT NULL,
    surprises   BLOB NOT NULL
) STRICT;
CREATE INDEX output_place ON output (line, first_time, last_time, ticks, score_max);
CREATE INDEX output_end ON output (last_time);

CREATE TABLE advisory (
    id          INTEGER PRIMARY KEY,
    line        INTEGER NOT NULL REFERENCES line (id),
    kind        INTEGER NOT NULL,
    title       TEXT NOT NULL,
    since       INTEGER NOT NULL,
    opened      INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    closed      INTEGER,
    peak        REAL,
    confidence  REAL,
    crc         INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX advisory_since ON advisory (since);
CREATE INDEX advisory_open ON advisory (since) WHERE closed IS NULL;

CREATE TABLE health (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 0: a source or pipeline; 1: a tag; 2: a camera.
    subject_kind INTEGER NOT NULL,
    subject      INTEGER NOT NULL,
    source       TEXT NOT NULL,
    state        INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    reason       TEXT NOT NULL
) STRICT;
CREATE INDEX health_latest ON health (subject_kind, subject, source, since);

-- Events and audit entries in one chain: `hash` = SHA-256(previous hash, this row). Advisories and changes of health
-- leave an entry too.
CREATE TABLE journal (
    seq     INTEGER PRIMARY KEY,
    time    INTEGER NOT NULL,
    class   TEXT NOT NULL CHECK (class IN ('event', 'audit')),
    -- The kind of event, or who did it.
    subject TEXT NOT NULL,
    text    TEXT NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
CREATE INDEX journal_time ON journal (time);
-- The chain's end, so that entries cut off at its end are missed.
CREATE TABLE journal_head (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    seq     INTEGER NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
INSERT INTO journal_head (id, seq, hash) VALUES (1, 0, zeroblob(32));
CREATE VIEW event AS SELECT seq, time, subject AS kind, text FROM journal WHERE class = 'event';
CREATE VIEW audit AS SELECT seq, time, subject AS who, text AS what FROM journal WHERE class = 'audit';

-- Recorded video, one row a file.
CREATE TABLE clip (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    camera      INTEGER NOT NULL REFERENCES camera (id),
    path        TEXT NOT NULL UNIQUE,
    start_time  INTEGER NOT NULL,
    end_time    INTEGER,
    frames      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    -- 0: being written; 1: whole; 2: cut off when the engine died; 3: its file is gone.
    state       INTEGER NOT NULL,
    pinned      INTEGER NOT NULL DEFAULT 0,
    crc         INTEGER
) STRICT;
CREATE INDEX clip_place ON clip (camera, start_time);

PRAGMA user_version = 1;
