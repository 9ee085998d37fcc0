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

-- Counts the syncs of commits that had not synced: SQLite syncs its log with a commit that changes something only.
ALTER TABLE merge_progress ADD COLUMN syncs INTEGER NOT NULL DEFAULT 0;

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
-- How many bytes of bodies there are, so that a budget in bytes asks for one row. `what`: samples (batches and chunks),
-- rollups, predictions. Kept up to date by the triggers, whoever writes.
CREATE TABLE stored_bytes (
    what        TEXT PRIMARY KEY,
    bytes       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO stored_bytes (what, bytes) VALUES
    ('samples', (SELECT coalesce(sum(length(body)), 0) FROM chunk)
        + (SELECT coalesce(sum(length(body)), 0) FROM sample_batch)),
    ('rollups', (SELECT coalesce(sum(length(body)), 0) FROM rollup)),
    ('predictions', (SELECT coalesce(sum(length(scores) + length(bands) + length(forecasts) + length(surprises)), 0)
        FROM output));
CREATE TRIGGER sample_batch_bytes_in AFTER INSERT ON sample_batch BEGIN
    UPDATE stored_bytes SET bytes = bytes + length(new.body) WHERE what = 'samples';
END;
CREATE TRIGGER sample_batch_bytes_out AFTER DELETE ON sample_batch BEGIN
    UPDATE stored_bytes SET bytes = bytes - length(old.body) WHERE what = 'samples';
END;
CREATE TRIGGER sample_batch_bytes_changed AFTER UPDATE OF body ON sample_batch BEGIN
    UPDATE stored_bytes SET bytes = bytes - length(old.body) + length(new.body) WHERE what = 'samples';
END;
CREATE TRIGGER chunk_bytes_in AFTER INSERT ON chunk BEGIN
    UPDATE stored_bytes SET bytes = bytes + length(new.body) WHERE what = 'samples';
END;
CREATE TRIGGER chunk_bytes_out AFTER DELETE ON chunk BEGIN
    UPDATE stored_bytes SET bytes = bytes - length(old.body) WHERE what = 'samples';
END;
CREATE TRIGGER chunk_bytes_changed AFTER UPDATE OF body ON chunk BEGIN
    UPDATE stored_bytes SET bytes = bytes - length(old.body) + length(new.body) WHERE what = 'samples';
END;
CREATE TRIGGER rollup_bytes_in AFTER INSERT ON rollup BEGIN
    UPDATE stored_bytes SET bytes = bytes + length(new.body) WHERE what = 'rollups';
END;
CREATE TRIGGER rollup_bytes_out AFTER DELETE ON rollup BEGIN
    UPDATE stored_bytes SET bytes = bytes - length(old.body) WHERE what = 'rollups';
END;
CREATE TRIGGER rollup_bytes_changed AFTER UPDATE OF body ON rollup BEGIN
    UPDATE stored_bytes SET bytes = bytes - length(old.body) + length(new.body) WHERE what = 'rollups';
END;
CREATE TRIGGER output_bytes_in AFTER INSERT ON output BEGIN
    UPDATE stored_bytes SET bytes = bytes + (length(new.scores) + length(new.bands) + length(new.forecasts) + length(new.surprises)) WHERE what = 'predictions';
END;
CREATE TRIGGER output_bytes_out AFTER DELETE ON output BEGIN
    UPDATE stored_bytes SET bytes = bytes - (length(old.scores) + length(old.bands) + length(old.forecasts) + length(old.surprises)) WHERE what = 'predictions';
END;
CREATE TRIGGER output_bytes_changed AFTER UPDATE OF scores, bands, forecasts, surprises ON output BEGIN
    UPDATE stored_bytes SET bytes = bytes - (length(old.scores) + length(old.bands) + length(old.forecasts) + length(old.surprises)) + (length(new.scores) + length(new.bands) + length(new.forecasts) + length(new.surprises)) WHERE what = 'predictions';
END;
-- The end of a slot in seconds, so that the oldest roll-ups are found without looking at all.
CREATE INDEX rollup_end ON rollup ((slot + 1) * CASE level WHEN 0 THEN 1000 WHEN 1 THEN 10000 WHEN 2 THEN 100000
    WHEN 3 THEN 1000000 WHEN 4 THEN 10000000 WHEN 5 THEN 100000000 ELSE 1000000000 END);

PRAGMA user_version = 2;
