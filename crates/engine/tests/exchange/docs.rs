//! The queries of the page on DuckDB and Spark, as DuckDB runs them.

use std::path::Path;

use crate::{asked, days, python, ran, record, sightglass, well};

const RUN_ALL: &str = r#"
import duckdb, json, re, sys
page = open(sys.argv[1], encoding="utf-8").read()
blocks = re.findall(r"```sql\n(.*?)```", page, re.S)
connection = duckdb.connect()
connection.execute("SET TimeZone = 'America/New_York'")
answers = []
for block in blocks:
    try:
        rows = connection.execute(block).fetchall()
    except Exception as error:
        raise SystemExit(f"{error}\nin\n{block}")
    answers.append([[str(value) for value in row] for row in rows])
print(json.dumps(answers))
"#;

#[test]
fn every_query_of_the_page_gives_what_it_says() {
    let Some(python) = python() else { return };
    let site = tempfile::tempdir().expect("a folder");
    for name in ["Works 1", "Works 2"] {
        let data = tempfile::tempdir().expect("a folder");
        record(data.path(), name, &days());
        well(&ran(sightglass()
            .arg("export")
            .arg(data.path())
            .args(["--from", "2026-01-01", "--to", "2027-01-01", "--out"])
            .arg(site.path().join("history"))));
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/query-with-duckdb-and-spark.md");
    let answers = asked(&python, site.path(), RUN_ALL, &[page.to_str().expect("text")]);
    let answers: Vec<Vec<Vec<String>>> = serde_json::from_value(answers).expect("rows of text");
    let [_view, there, hours, axis, shifts, doubtful] = &answers[..] else { panic!("six blocks: {}", answers.len()) };
    assert_eq!(there.len(), 4, "two lines at two plants: {there:?}");
    assert_eq!(there[0][..4], ["Works 1", "Filling", "2", "5760"].map(str::to_owned), "{there:?}");
    // From 08:00 on the first day to midnight after the second: 40 hours at each plant.
    assert_eq!(hours.len(), 80, "{hours:?}");
    assert_eq!(axis.len(), 61);
    // At 08:10, pressure of 08:09 + 2 ns has come, that of 08:10 + 3 ns has not; level is of 08:10.
    assert_eq!(axis[10][1..], ["2.25", "5.0"].map(str::to_owned), "{:?}", axis[10]);
    // Of the 36 h to midnight UTC of the first and second day, all three shifts are seen at both plants.
    assert_eq!(shifts.len(), 6, "{shifts:?}");
    assert_eq!(doubtful[0][..4], ["Works 1", "Filling", "level", "bad"].map(str::to_owned), "{doubtful:?}");
}
