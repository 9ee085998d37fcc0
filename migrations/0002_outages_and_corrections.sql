-- What a completeness certificate needs, checksums of what had none, and the values that corrections replaced.
-- docs/history-format.md explains every table.

-- When the engine began and ended to record, by its clock; NULL where it was not told, and `ended` while it runs. After
-- a death, the next run writes the last recorded moment.
ALTER TABLE session ADD COLUMN started INTEGER;
ALTER TABLE session ADD COLUMN ended INTEGER;

-- CRC-32C over the row; NULL in rows of the first schema. `clip.crc` is that of the file.
ALTER TABLE clip ADD COLUMN row_crc INTEGER;
ALTER TABLE health ADD COLUMN crc INTEGER;
-- A row that lost its checksum is not in these, which SQLite's own check tells.
CREATE INDEX clip_unchecked ON clip (id) WHERE row_crc IS NULL;
CREATE INDEX health_unchecked ON health (id) WHERE crc IS NULL;

-- Values that a later one of the same tag and time replaced. Each row has an audit entry, too.
CREATE TABLE correction (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tag         INTEGER NOT NULL REFERENCES tag (id),
    first_time  INTEGER NOT NULL,
    last_time   INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    crc         INTEGER NOT NULL,
    -- As `chunk.body`.
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX correction_place ON correction (tag, first_time);

-- Stretches of time in which the recorder itself could not record, and why.
CREATE TABLE outage (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL CHECK (kind IN ('engine stopped', 'disk full', 'folder away')),
    from_time   INTEGER NOT NULL,
    -- NULL while it lasts.
    to_time     INTEGER,
    reason      TEXT NOT NULL,
    crc         INTEGER NOT NULL
) STRICT;
CREATE INDEX outage_time ON outage (from_time);

-- What retention has taken: nothing before `time` is kept. `what`: samples, rollups, predictions, video.
CREATE TABLE kept_from (
    what        TEXT PRIMARY KEY,
    time        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- With the interval, so that what is stored of a long range can be told without a look at the chunks themselves.
DROP INDEX chunk_place;
CREATE UNIQUE INDEX chunk_place ON chunk (tag, first_time, last_time, samples, interval_ns);

PRAGMA user_version = 2;
