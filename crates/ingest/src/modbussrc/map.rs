//! Register maps as CSV: what a controller's spreadsheet says, under names.
//!
//! A header line names the columns, in any order: `name` and `register` must be there; `table`, `type`, `order`, `bits`,
//! `scale`, `offset` and `unit_id` may be, with the words of a [`ModbusPoint`]. `register` is a number from 0 where
//! `table` says coil, discrete, holding or input, else a whole place such as `40101` or `holding:100`. Other columns are
//! left alone. Commas, semicolons or tabs separate; the header decides.

use std::{collections::HashMap, io::Read, path::Path};

use sightglass_plant::{ModbusPoint, ModbusPointText, nearest};

/// The largest map, in bytes.
pub const MAP_BYTES_MAX: u64 = 4 << 20;
/// The most rows of a map.
pub const MAP_ROWS_MAX: usize = 65_536;
/// Wrong rows that are told one by one.
const TOLD_MAX: usize = 20;

const COLUMNS: [&str; 9] = ["name", "register", "table", "type", "order", "bits", "scale", "offset", "unit_id"];

/// Points by name.
pub type RegisterMap = HashMap<String, ModbusPoint>;

/// Reads a map from a file.
///
/// # Errors
/// Why it cannot be read, or everything that is wrong with it, one line each.
pub fn read(path: &Path) -> Result<RegisterMap, String> {
    let refuse = |error: std::io::Error| format!("{error}; give the path of a CSV file that this user may read");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(refuse)?;
    file.take(MAP_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refuse)?;
    parse(&bytes).map_err(|faults| faults.join("\n"))
}

/// Reads a map from its bytes.
///
/// # Errors
/// Everything that is wrong with it, each with its line. Never panics, whatever the bytes.
pub fn parse(bytes: &[u8]) -> Result<RegisterMap, Vec<String>> {
    if bytes.len() as u64 > MAP_BYTES_MAX {
        return Err(vec![format!("the map is larger than {} MiB", MAP_BYTES_MAX >> 20)]);
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let header = bytes.split(|byte| *byte == b'\n').find(|line| !line.is_empty() && !line.starts_with(b"#"));
    let count = |separator: &u8| header.unwrap_or_default().iter().filter(|byte| *byte == separator).count();
    let separator = [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',');
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(separator)
        .trim(::csv::Trim::All)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(bytes);
    let header = reader.headers().map_err(|error| vec![error.to_string()])?.clone();
    let columns = Columns::find(&header)?;
    let (mut map, mut faults) = (RegisterMap::new(), Vec::new());
    for record in reader.records().take(MAP_ROWS_MAX + 1) {
        let row = match record {
            Ok(record) => {
                columns.row(&record, &mut map).map_err(|fault| format!("line {}: {fault}", line_of(&record, bytes)))
            }
            Err(error) => Err(error.to_string()),
        };
        faults.extend(row.err());
        if map.len() > MAP_ROWS_MAX {
            faults.push(format!("the map has more than {MAP_ROWS_MAX} rows"));
        }
        if faults.len() >= TOLD_MAX {
            faults.push("there may be more".to_owned());
            break;
        }
    }
    if faults.is_empty() { Ok(map) } else { Err(faults) }
}

/// The line on which a record begins, from 1. The reader's own count is behind where lines end with CR and LF.
fn line_of(record: &::csv::StringRecord, bytes: &[u8]) -> usize {
    let from = record.position().map_or(0, |position| position.byte() as usize).min(bytes.len());
    let ends = bytes[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes[..from + ends].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where each of [`COLUMNS`] is.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn find(header: &::csv::StringRecord) -> Result<Self, Vec<String>> {
        let mut places = [None; COLUMNS.len()];
        let mut faults = Vec::new();
        for (place, name) in header.iter().enumerate() {
            match COLUMNS.iter().position(|column| name.eq_ignore_ascii_case(column)) {
                Some(at) if places[at].is_some() => faults.push(format!("there are two columns '{name}'")),
                Some(at) => places[at] = Some(place),
                // A column under a nearly right name would be left out in silence.
                None => {
                    if let Some(near) = nearest(name, &COLUMNS).filter(|_| !name.is_empty()) {
                        faults.push(format!("the map has no column '{name}'; did you mean '{near}'?"));
                    }
                }
            }
        }
        for (at, column) in COLUMNS.iter().enumerate().take(2) {
            if places[at].is_none() {
                faults.push(format!("there is no column '{column}'; a map has {}", COLUMNS.join(", ")));
            }
        }
        if faults.is_empty() { Ok(Self(places)) } else { Err(faults) }
    }

    fn row(&self, record: &::csv::StringRecord, map: &mut RegisterMap) -> Result<(), String> {
        let cells = self.0.map(|place| place.and_then(|place| record.get(place)).filter(|cell| !cell.is_empty()));
        let [name, register, table, kind, order, bits, scale, offset, unit] = cells;
        if name.is_none() && register.is_none() {
            // A line between groups of registers.
            return Ok(());
        }
        let name = name.ok_or("there is no name")?;
        let register = register.ok_or_else(|| format!("'{name}' has no register"))?;
        let place = match table {
            Some(table) => format!("{}:{register}", table.to_ascii_lowercase()),
            None => register.to_owned(),
        };
        let [kind, order] = [kind, order].map(|word| word.map(str::to_ascii_lowercase));
        let text = ModbusPointText {
            place: &place,
            kind: kind.as_deref(),
            order: order.as_deref(),
            bits,
            scale,
            offset,
            unit,
        };
        let point = text.check().map_err(|error| format!("'{name}': {error}"))?;
        match map.insert(name.to_owned(), point) {
            None => Ok(()),
            Some(_) => Err(format!("there is already a '{name}'; give each its own name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).join("\n")
    }

    #[test]
    fn a_map_has_points_under_names() {
        let text = "\u{feff}Name;Register;Table;Type;Order;Bits;Scale;Offset;Unit_ID;Comment;Unit\r\n\
                    Level;100;holding;F32;CDAB;;0,5;;;;%\r\n";
        assert_eq!(
            faults(text),
            "line 2: 'Level': scale '0,5' is no number; write a number with a decimal point, such as 0.1"
        );
        let text = "# from the controller's manual\nname,register,table,type,order,bits,scale,offset,unit_id,comment\n\
                    Level,100,holding,f32,cdab,,0.5,-1,7,\"a, b\"\nPump on,40012,,,,3,,,,\n,,,,,,,,,Section 2\n\
                    Valve,3,Coil\n";
        let map = parse(text.as_bytes()).expect("a map");
        let expected = [
            ("Level", "holding:100 f32 cdab scale=0.5 offset=-1 unit=7"),
            ("Pump on", "holding:11 bit=3"),
            ("Valve", "coil:3"),
        ];
        assert_eq!(map.len(), expected.len());
        for (name, point) in expected {
            assert_eq!(map.get(name), Some(&point.parse().expect(point)), "{name}");
        }
    }

    #[test]
    fn the_example_of_the_page_on_sources_is_a_map() {
        let page = include_str!("../../../../docs/sources.md");
        let example = page.split("```csv\n").nth(1).and_then(|after| after.split("```").next()).expect("an example");
        let map = parse(example.as_bytes()).expect("a map");
        assert_eq!(map.get("Level"), "holding:100 f32 cdab scale=0.1".parse().ok().as_ref());
        assert_eq!(map.get("Pump on"), "40012".parse().ok().as_ref());
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line() {
        assert!(faults("").contains("no column 'name'"));
        assert!(faults("name,register,scael\n").contains("'scael'; did you mean 'scale'?"));
        assert!(faults("name,name,register\n").contains("two columns 'name'"));
        let told = faults("name,register,type\na,40001,\na,40002,\n,40003,\nb,,\nc,7,\nd,40001,f16\n");
        for said in [
            "line 3: there is already a 'a'",
            "line 4: there is no name",
            "line 5: 'b' has no register",
            "line 6: 'c': '7' is no place",
            "line 7: 'd': 'f16' is no type",
        ] {
            assert!(told.contains(said), "{said} in {told}");
        }
        assert!(faults(&format!("name,register\n{}", "x,1\n".repeat(100))).contains("there may be more"));
        assert!(parse(b"name,register\n\xff\xfe,1\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, rows: Vec<String>) {
            let _any = parse(&bytes);
            let _any = parse(format!("name,register,bits\n{}", rows.join("\n")).as_bytes());
        }
    }
}
