//! Modbus: where a device is, and where in it a value lies.
//!
//! After the MODBUS Application Protocol Specification V1.1b3 (tables, function codes 1 to 4, limits of one read).

use std::{fmt, path::PathBuf, str::FromStr};

/// The most registers of one read (section 6.3).
pub const MODBUS_REGISTERS_MAX: u16 = 125;
/// The most coils or discrete inputs of one read (section 6.1).
pub const MODBUS_BITS_MAX: u16 = 2000;
/// The port that is registered for Modbus.
pub(crate) const MODBUS_PORT: u16 = 502;

/// A Modbus server: a device, or a gateway with several behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModbusDevice {
    /// Name or address of the host.
    pub host: String,
    /// Its TCP port (default 502).
    pub port: u16,
    /// How requests travel.
    pub framing: ModbusFraming,
    /// The unit of tags that name none (default 1).
    pub unit: u8,
    /// The order of values of 32 and 64 bits that name none (default `abcd`).
    pub word_order: WordOrder,
    /// How long one answer may take, and the connection (default 1 s).
    pub timeout_ns: i64,
    /// The least rest between an answer and the next request (default none).
    pub pause_ns: i64,
    /// The most registers of one read (default and most 125).
    pub block_max: u16,
    /// How many registers that nobody wants one read may span (default 8).
    pub block_gap: u16,
    /// A CSV file of registers; tags' addresses then are its names (the parser has joined the plant file's folder).
    pub map: Option<PathBuf>,
}

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModbusFraming {
    /// Modbus TCP: MBAP header.
    #[default]
    Tcp,
    /// RTU frames with their CRC over TCP, as many serial gateways want them.
    Rtu,
}

/// One of the four tables of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModbusTable {
    /// Read with function code 1.
    Coil,
    /// Read with function code 2.
    DiscreteInput,
    /// Read with function code 3.
    HoldingRegister,
    /// Read with function code 4.
    InputRegister,
}

/// How the bytes of a value of several registers lie, most significant first: `A` is the highest byte.
///
/// For 64 bits likewise: `ABCDEFGH`, `GHEFCDAB`, `BADCFEHG`, `HGFEDCBA`. For one register, `BADC` and `DCBA` both swap
/// its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordOrder {
    /// Big-endian, as the specification has it.
    #[default]
    Abcd,
    /// The lower register first.
    Cdab,
    /// Bytes swapped within each register.
    Badc,
    /// Little-endian.
    Dcba,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModbusType {
    /// One coil or discrete input: 0 or 1.
    Bool,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits. Beyond 2^53 a tag's value has the nearest number.
    U64,
    /// Signed, 64 bits. Beyond 2^53 a tag's value has the nearest number.
    I64,
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 64 bits.
    F64,
}

impl ModbusType {
    /// Its registers, or for [`ModbusType::Bool`] its bits.
    pub const fn width(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    const fn is_unsigned(self) -> bool {
        matches!(self, Self::U16 | Self::U32 | Self::U64)
    }
}

impl ModbusTable {
    /// Whether it holds bits instead of registers.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::DiscreteInput)
    }

    /// The word of an address.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::DiscreteInput => "discrete",
            Self::HoldingRegister => "holding",
            Self::InputRegister => "input",
        }
    }
}

/// Where a value lies in a device, and what it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModbusPoint {
    /// The unit; `None` is the source's.
    pub unit: Option<u8>,
    /// The table.
    pub table: ModbusTable,
    /// The first register, as it stands in the request: from 0.
    pub register: u16,
    /// The type.
    pub kind: ModbusType,
    /// The order; `None` is the source's, and for one register as the specification has it.
    pub order: Option<WordOrder>,
    /// The lowest and the highest bit of a field, 0 being the least significant.
    pub bits: Option<(u8, u8)>,
    /// What the number is multiplied with.
    pub scale: f64,
    /// What is added then.
    pub offset: f64,
}

/// Text that names no place in a Modbus device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusPointError {
    /// What is wrong.
    pub message: String,
    /// What is allowed.
    pub advice: String,
}

impl fmt::Display for ModbusPointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.advice)
    }
}

impl std::error::Error for ModbusPointError {}

/// A [`ModbusPointError`].
fn error<T>(message: impl Into<String>, advice: impl Into<String>) -> Result<T, ModbusPointError> {
    Err(ModbusPointError { message: message.into(), advice: advice.into() })
}

const TABLES: &str = "write holding:N, input:N, coil:N or discrete:N with N from 0 to 65535, or a number such as 40001";
const TYPES: &str = "allowed are u16, i16, u32, i32, u64, i64, f32, f64 for registers, and bool for coils";
const ORDERS: &str = "allowed are abcd, cdab, badc, dcba, and for one register ab, ba";

/// A place before it is known whether its parts fit each other; the form in which maps have it.
#[derive(Clone, Debug, Default)]
pub struct ModbusPointText<'a> {
    /// `holding:100`, or `40101`.
    pub place: &'a str,
    /// A type, where given.
    pub kind: Option<&'a str>,
    /// An order, where given.
    pub order: Option<&'a str>,
    /// `3`, or `0..7`.
    pub bits: Option<&'a str>,
    /// A number, where given.
    pub scale: Option<&'a str>,
    /// A number, where given.
    pub offset: Option<&'a str>,
    /// 0 to 255, where given.
    pub unit: Option<&'a str>,
}

impl FromStr for ModbusPoint {
    type Err = ModbusPointError;

    /// Reads `holding:100 f32 badc bits=0..7 scale=0.1 offset=-40 unit=2`, of which only the first word must be there.
    fn from_str(text: &str) -> Result<Self, ModbusPointError> {
        let mut words = text.split_whitespace();
        let mut parts = ModbusPointText { place: words.next().unwrap_or(""), ..ModbusPointText::default() };
        for word in words {
            let (slot, value) = match word.split_once('=') {
                Some(("bit" | "bits", value)) => (&mut parts.bits, value),
                Some(("scale", value)) => (&mut parts.scale, value),
                Some(("offset", value)) => (&mut parts.offset, value),
                Some(("unit", value)) => (&mut parts.unit, value),
                Some(_) => {
                    return error(
                        format!("'{word}' means nothing in a Modbus address"),
                        "allowed are bit=, bits=, scale=, offset=, unit=",
                    );
                }
                None if order_of(word).is_some() => (&mut parts.order, word),
                None => (&mut parts.kind, word),
            };
            if slot.replace(value).is_some() {
                return error(format!("'{word}' says a second time what the address has said"), "say it once");
            }
        }
        parts.check()
    }
}

impl ModbusPointText<'_> {
    /// The place.
    ///
    /// # Errors
    /// What is wrong with it and what is allowed.
    pub fn check(&self) -> Result<ModbusPoint, ModbusPointError> {
        let (table, register) = place_of(self.place)?;
        let kind = match self.kind {
            Some(word) => match type_of(word) {
                Some(kind) => kind,
                None => return error(format!("'{word}' is no type of a value"), TYPES),
            },
            None if table.is_bits() => ModbusType::Bool,
            None => ModbusType::U16,
        };
        if (kind == ModbusType::Bool) != table.is_bits() {
            return error(format!("a {} cannot be read as {}", table.word(), type_word(kind)), TYPES);
        }
        if register.checked_add(kind.width() - 1).is_none() {
            return error(
                format!("{} {register} with {} registers ends beyond 65535", table.word(), kind.width()),
                TABLES,
            );
        }
        let order = match self.order {
            None => None,
            Some(word) => match order_of(word) {
                Some((order, one)) if kind != ModbusType::Bool && one == (kind.width() == 1) => Some(order),
                Some(_) => return error(format!("'{word}' is no order of a {}", type_word(kind)), ORDERS),
                None => return error(format!("'{word}' is no order of words"), ORDERS),
            },
        };
        let bits = self.bits.map(|text| bits_of(text, kind)).transpose()?;
        let scale = number_of("scale", self.scale, 1.0)?;
        if scale == 0.0 {
            return error("a scale of 0 makes every value the same", "leave it out, or write what a step is worth");
        }
        let offset = number_of("offset", self.offset, 0.0)?;
        let unit = match self.unit {
            None => None,
            Some(text) => match text.parse::<u8>() {
                Ok(unit) => Some(unit),
                Err(_) => return error(format!("'{text}' is no unit"), "allowed is a whole number from 0 to 255"),
            },
        };
        Ok(ModbusPoint { unit, table, register, kind, order, bits, scale, offset })
    }
}

/// The table and register of `holding:100`, or of the classic number `40101`, whose first digit is the table and which
/// counts from 1.
fn place_of(text: &str) -> Result<(ModbusTable, u16), ModbusPointError> {
    let wrong = || error(format!("'{text}' is no place in a Modbus device"), TABLES);
    if let Some((word, number)) = text.split_once(':') {
        let table = match word {
            "coil" => ModbusTable::Coil,
            "discrete" => ModbusTable::DiscreteInput,
            "holding" => ModbusTable::HoldingRegister,
            "input" => ModbusTable::InputRegister,
            _ => return wrong(),
        };
        return number.parse().map_or_else(|_| wrong(), |register| Ok((table, register)));
    }
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong();
    }
    let table = match text.as_bytes()[0] {
        b'0' => ModbusTable::Coil,
        b'1' => ModbusTable::DiscreteInput,
        b'3' => ModbusTable::InputRegister,
        b'4' => ModbusTable::HoldingRegister,
        _ => return wrong(),
    };
    let counted_from_1 = text[1..].parse::<u32>().ok();
    match counted_from_1.and_then(|number| number.checked_sub(1)).and_then(|register| u16::try_from(register).ok()) {
        Some(register) => Ok((table, register)),
        None => wrong(),
    }
}

const TYPE_WORDS: [(&str, ModbusType); 9] = [
    ("bool", ModbusType::Bool),
    ("u16", ModbusType::U16),
    ("i16", ModbusType::I16),
    ("u32", ModbusType::U32),
    ("i32", ModbusType::I32),
    ("u64", ModbusType::U64),
    ("i64", ModbusType::I64),
    ("f32", ModbusType::F32),
    ("f64", ModbusType::F64),
];

fn type_of(word: &str) -> Option<ModbusType> {
    TYPE_WORDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind)
}

fn type_word(kind: ModbusType) -> &'static str {
    TYPE_WORDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word)
}

/// The order of this word, and whether it is one of a single register.
fn order_of(word: &str) -> Option<(WordOrder, bool)> {
    Some(match word {
        "abcd" => (WordOrder::Abcd, false),
        "cdab" => (WordOrder::Cdab, false),
        "badc" => (WordOrder::Badc, false),
        "dcba" => (WordOrder::Dcba, false),
        "ab" => (WordOrder::Abcd, true),
        "ba" => (WordOrder::Badc, true),
        _ => return None,
    })
}

fn bits_of(text: &str, kind: ModbusType) -> Result<(u8, u8), ModbusPointError> {
    const ALLOWED: &str = "write bit=3, or bits=0..7 from the lowest to the highest bit, 0 being the least significant";
    if !kind.is_unsigned() {
        return error(format!("bits of a {} mean nothing", type_word(kind)), "bits are for u16, u32 and u64");
    }
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (low.parse::<u8>(), high.parse::<u8>()) {
        (Ok(low), Ok(high)) if low <= high && u16::from(high) < kind.width() * 16 => Ok((low, high)),
        _ => error(format!("'{text}' are no bits of a {}", type_word(kind)), ALLOWED),
    }
}

fn number_of(key: &str, text: Option<&str>, default: f64) -> Result<f64, ModbusPointError> {
    let Some(text) = text else { return Ok(default) };
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => error(format!("{key} '{text}' is no number"), "write a number with a decimal point, such as 0.1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: &str) -> ModbusPoint {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_says_table_register_type_and_meaning() {
        let plain = ModbusPoint {
            unit: None,
            table: ModbusTable::HoldingRegister,
            register: 100,
            kind: ModbusType::U16,
            order: None,
            bits: None,
            scale: 1.0,
            offset: 0.0,
        };
        assert_eq!(point("holding:100"), plain);
        assert_eq!(point("40101"), plain, "classic numbers count from 1");
        assert_eq!(point("400101"), plain);
        assert_eq!(point("holding:100 ba"), ModbusPoint { order: Some(WordOrder::Badc), ..plain });
        let all = ModbusPoint {
            unit: Some(7),
            table: ModbusTable::InputRegister,
            register: 65_534,
            kind: ModbusType::U32,
            order: Some(WordOrder::Dcba),
            bits: Some((4, 31)),
            scale: 0.1,
            offset: -40.0,
        };
        assert_eq!(point("input:65534 u32 dcba bits=4..31 scale=0.1 offset=-40 unit=7"), all);
        assert_eq!(point("coil:0").kind, ModbusType::Bool);
        assert_eq!(point("10001").table, ModbusTable::DiscreteInput);
        assert_eq!(point("00001"), point("coil:0 bool"));
        assert_eq!(point("365536").register, u16::MAX);
    }

    #[test]
    fn what_is_no_address_is_told_with_what_is_allowed() {
        for (text, said) in [
            ("", "'' is no place"),
            ("holding", "'holding' is no place"),
            ("holding:65536", "is no place"),
            ("holding:-1", "is no place"),
            ("20001", "is no place"),
            ("40000", "is no place"),
            ("465537", "is no place"),
            ("holding:65535 f32", "ends beyond 65535"),
            ("holding:1 float", "'float' is no type"),
            ("holding:1 bool", "cannot be read as bool"),
            ("coil:1 u16", "a coil cannot be read as u16"),
            ("holding:1 f32 ba", "'ba' is no order of a f32"),
            ("holding:1 u16 cdab", "'cdab' is no order of a u16"),
            ("holding:1 f32 f64", "a second time"),
            ("holding:1 scale=0", "scale of 0"),
            ("holding:1 scale=nan", "is no number"),
            ("holding:1 offset=1,5", "'1,5' is no number"),
            ("holding:1 bit=16", "'16' are no bits of a u16"),
            ("holding:1 bits=7..0", "are no bits"),
            ("holding:1 i16 bit=1", "bits of a i16 mean nothing"),
            ("holding:1 unit=256", "'256' is no unit"),
            ("holding:1 colour=red", "'colour=red' means nothing"),
        ] {
            let error = text.parse::<ModbusPoint>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
