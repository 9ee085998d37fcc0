"""What others make of the same samples: plain SQLite rows, DuckDB and Parquet files.

Run by `cargo xtask bench history`. Each command prints one JSON object as its last line. The samples come as
`history_bench` writes them: of each part its number of samples (u64), then tag (u32), time (i64), value (f64) and
quality (u8), column after column, little-endian.
"""

import json
import os
import shutil
import sqlite3
import sys
import time

import duckdb
import numpy

SCHEMA = "CREATE TABLE samples (tag UINTEGER, time BIGINT, value DOUBLE, quality UTINYINT)"


def parts(stream):
    """The samples, part by part, as columns."""
    while head := stream.read(8):
        count = int.from_bytes(head, "little")
        column = lambda kind, width: numpy.frombuffer(stream.read(count * width), kind)
        yield {
            "tag": column("<u4", 4),
            "time": column("<i8", 8),
            "value": column("<f8", 8),
            "quality": column("u1", 1),
        }


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def rows_of(part):
    return list(zip(*(part[name].tolist() for name in ("tag", "time", "value", "quality"))))


def connect_rows(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # A query for a tag and a range needs this order.
    connection.execute(
        "CREATE TABLE samples (tag INTEGER, time INTEGER, value REAL, quality INTEGER, PRIMARY KEY (tag, time)) WITHOUT ROWID"
    )
    return connection


def insert_rows(connection, rows):
    connection.execute("BEGIN")
    connection.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", rows)
    connection.execute("COMMIT")


def append(database, part):
    """One commit of columns, which DuckDB takes as they are."""
    database.execute("INSERT INTO samples SELECT tag, time, value, quality FROM part")


def write_parquet(database, part, path):
    """One commit as a file of its own, on the disk when this returns."""
    database.execute(f"COPY (SELECT * FROM part) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    with open(path, "rb+") as written:
        os.fsync(written.fileno())


def write(folder, file, seconds):
    """Samples a second of each, a commit a part, the parts again and again with later times."""
    with open(file, "rb") as stream:
        block = list(parts(stream))
    span = max(int(part["time"].max()) for part in block) - min(int(part["time"].min()) for part in block) + 100_000_000

    def run(commit):
        count, spent, round_ = 0, 0.0, 0
        while True:
            for part in block:
                part = {**part, "time": part["time"] + round_ * span}
                spent += commit(part)
                count += len(part["time"])
                if spent > seconds:
                    return count / spent
            round_ += 1

    def timed(work):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    figures = {}
    connection = connect_rows(os.path.join(fresh(folder), "rows.sqlite"))

    def sqlite_rows(part):
        # What makes Python's objects of the columns is not counted.
        rows = rows_of(part)
        return timed(lambda: insert_rows(connection, rows))

    figures["sqlite_rows_per_s"] = run(sqlite_rows)
    connection.close()

    database = duckdb.connect(os.path.join(fresh(folder), "samples.duckdb"), config={"threads": 2})
    database.execute(SCHEMA)

    figures["duckdb_per_s"] = run(lambda part: timed(lambda: append(database, part)))
    database.close()

    fresh(folder)
    memory = duckdb.connect(config={"threads": 2})
    number = 0

    def parquet(part):
        nonlocal number
        number += 1
        path = os.path.join(folder, f"{number:06}.parquet")
        return timed(lambda: write_parquet(memory, part, path))

    figures["parquet_per_s"] = run(parquet)
    shutil.rmtree(folder)
    return figures


def size(folder, file):
    """Bytes of each, with the samples in the order of tag and time, which suits all of them best."""
    with open(file, "rb") as stream:
        block = list(parts(stream))
    samples_given = {name: numpy.concatenate([part[name] for part in block]) for name in block[0]}
    fresh(folder)
    rows_path = os.path.join(folder, "rows.sqlite")
    connection = connect_rows(rows_path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    empty_rows = os.path.getsize(rows_path)
    insert_rows(connection, rows_of(samples_given))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()

    duckdb_path = os.path.join(folder, "samples.duckdb")
    database = duckdb.connect(duckdb_path)
    database.execute(SCHEMA)
    database.execute("CHECKPOINT")
    empty_duckdb = os.path.getsize(duckdb_path)
    database.execute("INSERT INTO samples SELECT tag, time, value, quality FROM samples_given ORDER BY tag, time")
    database.execute("CHECKPOINT")
    parquet = {}
    for version in ("V1", "V2"):
        path = os.path.join(folder, f"samples-{version}.parquet")
        database.execute(
            f"COPY (SELECT * FROM samples ORDER BY tag, time) TO '{path}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION {version})"
        )
        parquet[version] = os.path.getsize(path)
    count = database.execute("SELECT count(DISTINCT (tag, time)) FROM samples").fetchone()[0]
    database.close()
    figures = {
        "sqlite_rows": (os.path.getsize(rows_path) - empty_rows) / count,
        "duckdb": (os.path.getsize(duckdb_path) - empty_duckdb) / count,
        "parquet_zstd": min(parquet.values()) / count,
    }
    shutil.rmtree(folder)
    return figures


def load(path):
    """A DuckDB database of the samples on the standard input, which come tag by tag."""
    if os.path.exists(path):
        os.remove(path)
    began = time.perf_counter()
    database = duckdb.connect(path, config={"threads": 2})
    database.execute(SCHEMA)
    for part in parts(sys.stdin.buffer):
        append(database, part)
    database.execute("CHECKPOINT")
    count = database.execute("SELECT count(*) FROM samples").fetchone()[0]
    database.close()
    return {"samples": count, "seconds": time.perf_counter() - began, "bytes": os.path.getsize(path)}


def read(path, file):
    """Milliseconds for the questions that the history was asked."""
    with open(file) as text:
        questions = json.load(text)
    points = 2 * questions["pixels"]
    database = duckdb.connect(path, read_only=True, config={"threads": 2})

    def ask(question):
        step = max((question["to"] - question["from"]) // points, 1)
        tags = ",".join(str(tag) for tag in question["tags"])
        began = time.perf_counter()
        database.execute(
            f"SELECT tag, time // {step}, min(value), max(value), avg(value), last(value), count(*), max(quality)"
            f" FROM samples WHERE tag IN ({tags}) AND time BETWEEN {question['from']} AND {question['to']}"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchnumpy()
        return (time.perf_counter() - began) * 1e3

    def quantiles(list_):
        for question in list_:
            ask(question)
        times = sorted(ask(question) for question in list_)
        return {"p50": times[len(times) // 2], "p95": times[int(len(times) * 0.95)], "max": times[-1]}

    return {"warm_ms": quantiles(questions["one"]), "warm_8_tags_ms": quantiles(questions["eight"])}


def main():
    command, *arguments = sys.argv[1:]
    if command == "write":
        figures = write(arguments[0], arguments[1], float(arguments[2]))
    elif command == "size":
        figures = {file: size(arguments[0], file) for file in arguments[1:]}
    elif command == "load":
        figures = load(arguments[0])
    elif command == "read":
        figures = read(arguments[0], arguments[1])
    else:
        sys.exit(f"unknown command {command}")
    print(json.dumps(figures))


main()
