//! From what a device answered to a value.

use sightglass_plant::{ModbusPoint, ModbusType, WordOrder};

/// What one read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of function codes 3 and 4.
    Registers(Vec<u16>),
    /// Of function codes 1 and 2.
    Bits(Vec<bool>),
}

/// The value of `point` in an answer whose first register or bit is number `start`.
///
/// # Errors
/// Why there is no value: the answer does not hold the point, or the number is not finite. Never panics, whatever the
/// device answers.
pub fn decode(point: &ModbusPoint, order: WordOrder, start: u16, answer: &Answer) -> Result<f64, String> {
    let at = point.register.checked_sub(start).map(usize::from).ok_or_else(absent)?;
    let raw = match answer {
        Answer::Bits(bits) if point.kind == ModbusType::Bool => f64::from(u8::from(*bits.get(at).ok_or_else(absent)?)),
        Answer::Registers(registers) if point.kind != ModbusType::Bool => {
            let words = registers.get(at..at + usize::from(point.kind.width())).ok_or_else(absent)?;
            // One register is as the specification has it, unless the point itself says otherwise.
            let default = if words.len() == 1 { WordOrder::Abcd } else { order };
            number(point, ordered(words, point.order.unwrap_or(default)))
        }
        _ => return Err(absent()),
    };
    let value = raw * point.scale + point.offset;
    if value.is_finite() { Ok(value) } else { Err(format!("the device gives {raw}, which is no finite number")) }
}

fn absent() -> String {
    "the device's answer does not hold it".to_owned()
}

/// The words, at most four, as one number, most significant byte first.
fn ordered(words: &[u16], order: WordOrder) -> u64 {
    let join = |number: u64, word: u16| number << 16 | u64::from(word);
    match order {
        WordOrder::Abcd => words.iter().copied().fold(0, join),
        WordOrder::Cdab => words.iter().rev().copied().fold(0, join),
        WordOrder::Badc => words.iter().map(|word| word.swap_bytes()).fold(0, join),
        WordOrder::Dcba => words.iter().rev().map(|word| word.swap_bytes()).fold(0, join),
    }
}

/// The number whose bits are the lowest of `raw`. What is cut off is 0, or is the sign's.
fn number(point: &ModbusPoint, raw: u64) -> f64 {
    if let Some((low, high)) = point.bits {
        let mask = u64::MAX >> (63 - (high - low).min(63));
        return (raw >> low.min(63) & mask) as f64;
    }
    match point.kind {
        ModbusType::Bool | ModbusType::U16 | ModbusType::U32 | ModbusType::U64 => raw as f64,
        ModbusType::I16 => f64::from(raw as u16 as i16),
        ModbusType::I32 => f64::from(raw as u32 as i32),
        ModbusType::I64 => raw as i64 as f64,
        ModbusType::F32 => f64::from(f32::from_bits(raw as u32)),
        ModbusType::F64 => f64::from_bits(raw),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(text: &str) -> ModbusPoint {
        text.parse().expect(text)
    }

    fn value(text: &str, words: &[u16]) -> Result<f64, String> {
        let point = point(text);
        decode(&point, WordOrder::Abcd, point.register, &Answer::Registers(words.to_vec()))
    }

    #[test]
    fn every_type_in_every_order_gives_its_value() {
        // 0x42F6E979 = 123.456 in single precision, 0x0123456789ABCDEF in four registers.
        for (text, words, expected) in [
            ("holding:0", &[0xFFFE_u16][..], 65_534.0),
            ("holding:0 ba", &[0xFEFF], 65_534.0),
            ("holding:0 i16", &[0xFFFE], -2.0),
            ("holding:0 i16 ba", &[0xFEFF], -2.0),
            ("holding:0 u32", &[0x89AB, 0xCDEF], 2_309_737_967.0),
            ("holding:0 u32 cdab", &[0xCDEF, 0x89AB], 2_309_737_967.0),
            ("holding:0 u32 badc", &[0xAB89, 0xEFCD], 2_309_737_967.0),
            ("holding:0 u32 dcba", &[0xEFCD, 0xAB89], 2_309_737_967.0),
            ("holding:0 i32", &[0xFFFF, 0xFFFE], -2.0),
            ("holding:0 i32 cdab", &[0xFFFE, 0xFFFF], -2.0),
            ("holding:0 i32 badc", &[0xFFFF, 0xFEFF], -2.0),
            ("holding:0 i32 dcba", &[0xFEFF, 0xFFFF], -2.0),
            ("holding:0 f32", &[0x42F6, 0xE979], f64::from(123.456_f32)),
            ("holding:0 f32 cdab", &[0xE979, 0x42F6], f64::from(123.456_f32)),
            ("holding:0 f32 badc", &[0xF642, 0x79E9], f64::from(123.456_f32)),
            ("holding:0 f32 dcba", &[0x79E9, 0xF642], f64::from(123.456_f32)),
            ("holding:0 u64", &[0x0001, 0x0203, 0x0405, 0x0607], 283_686_952_306_183.0),
            ("holding:0 u64 cdab", &[0x0607, 0x0405, 0x0203, 0x0001], 283_686_952_306_183.0),
            ("holding:0 u64 badc", &[0x0100, 0x0302, 0x0504, 0x0706], 283_686_952_306_183.0),
            ("holding:0 u64 dcba", &[0x0706, 0x0504, 0x0302, 0x0100], 283_686_952_306_183.0),
            ("holding:0 i64", &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2.0),
            ("holding:0 i64 cdab", &[0xFFFE, 0xFFFF, 0xFFFF, 0xFFFF], -2.0),
            ("holding:0 i64 badc", &[0xFFFF, 0xFFFF, 0xFFFF, 0xFEFF], -2.0),
            ("holding:0 i64 dcba", &[0xFEFF, 0xFFFF, 0xFFFF, 0xFFFF], -2.0),
            ("holding:0 u64", &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], 18_446_744_073_709_551_615.0),
            ("holding:0 f64", &[0x405E, 0xDD2F, 0x1A9F, 0xBE77], 123.456),
            ("holding:0 f64 cdab", &[0xBE77, 0x1A9F, 0xDD2F, 0x405E], 123.456),
            ("holding:0 f64 badc", &[0x5E40, 0x2FDD, 0x9F1A, 0x77BE], 123.456),
            ("holding:0 f64 dcba", &[0x77BE, 0x9F1A, 0x2FDD, 0x5E40], 123.456),
            ("holding:0 bit=0", &[0b0101], 1.0),
            ("holding:0 bit=1", &[0b0101], 0.0),
            ("holding:0 bit=15", &[0x8000], 1.0),
            ("holding:0 bits=4..7", &[0xABCD], 12.0),
            ("holding:0 u32 bits=12..19", &[0x0012, 0x3456], 0x23.into()),
            ("holding:0 u32 cdab bits=31..31", &[0, 0x8000], 1.0),
            ("holding:0 u64 bits=0..63", &[0, 0, 1, 0], 65_536.0),
            ("holding:0 i16 scale=0.1 offset=-40", &[250], -15.0),
        ] {
            assert_eq!(value(text, words), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bits_and_places_are_found_and_what_is_not_there_is_told() {
        let coil = point("coil:12 scale=2");
        let bits = Answer::Bits(vec![false, true]);
        assert_eq!(decode(&coil, WordOrder::Abcd, 11, &bits), Ok(2.0));
        assert_eq!(decode(&coil, WordOrder::Abcd, 12, &bits), Ok(0.0));
        for (start, answer) in
            [(13, bits.clone()), (10, bits), (12, Answer::Registers(vec![1])), (12, Answer::Bits(Vec::new()))]
        {
            assert!(decode(&coil, WordOrder::Abcd, start, &answer).is_err());
        }
        for nan in [[0x7FC0, 0], [0x7F80, 0], [0xFF80, 0]] {
            assert!(value("holding:0 f32", &nan).is_err_and(|why| why.contains("no finite number")));
        }
        assert!(value("holding:0 f64 scale=1e300", &[0x7FEF, 0xFFFF, 0xFFFF, 0xFFFF]).is_err());
        let wide = point("holding:5 f32");
        assert_eq!(decode(&wide, WordOrder::Cdab, 4, &Answer::Registers(vec![9, 0, 0x3F80])), Ok(1.0));
        assert!(decode(&wide, WordOrder::Cdab, 4, &Answer::Registers(vec![9, 0])).is_err());
    }

    fn any_order() -> impl Strategy<Value = (WordOrder, &'static str)> {
        prop::sample::select(vec![
            (WordOrder::Abcd, "abcd"),
            (WordOrder::Cdab, "cdab"),
            (WordOrder::Badc, "badc"),
            (WordOrder::Dcba, "dcba"),
        ])
    }

    /// The registers in which a device with this order keeps these bytes, by the letters themselves.
    fn laid_out(bytes: &[u8], order: WordOrder) -> Vec<u16> {
        let mut bytes = bytes.to_vec();
        match order {
            WordOrder::Abcd => {}
            WordOrder::Dcba => bytes.reverse(),
            WordOrder::Badc => bytes.chunks_mut(2).for_each(<[u8]>::reverse),
            WordOrder::Cdab => {
                bytes.reverse();
                bytes.chunks_mut(2).for_each(<[u8]>::reverse);
            }
        }
        bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    proptest! {
        #[test]
        fn any_number_comes_back_in_any_order(number: u64, (order, word) in any_order(), own: bool) {
            let narrow = number as u32;
            let cases: [(&str, Vec<u8>, f64); 6] = [
                ("u32", narrow.to_be_bytes().to_vec(), f64::from(narrow)),
                ("i32", narrow.to_be_bytes().to_vec(), f64::from(narrow as i32)),
                ("f32", narrow.to_be_bytes().to_vec(), f64::from(f32::from_bits(narrow))),
                ("u64", number.to_be_bytes().to_vec(), number as f64),
                ("i64", number.to_be_bytes().to_vec(), number as i64 as f64),
                ("f64", number.to_be_bytes().to_vec(), f64::from_bits(number)),
            ];
            for (kind, bytes, expected) in cases {
                let suffix = if own { word } else { "" };
                let point: ModbusPoint = format!("input:7 {kind} {suffix}").parse().unwrap();
                let answer = Answer::Registers(laid_out(&bytes, order));
                let source_order = if own { WordOrder::Abcd } else { order };
                match decode(&point, source_order, 7, &answer) {
                    Ok(value) => prop_assert_eq!(value, expected),
                    Err(_) => prop_assert!(!expected.is_finite()),
                }
            }
        }

        #[test]
        fn no_answer_makes_it_panic(
            words: Vec<u16>, bits: Vec<bool>, start: u16, register in 0_u16..65_532, (order, _) in any_order(),
            kind in prop::sample::select(vec!["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "u64 bits=3..60"]),
        ) {
            let point: ModbusPoint = format!("holding:{register} {kind}").parse().unwrap();
            let coil: ModbusPoint = format!("coil:{register}").parse().unwrap();
            for answer in [Answer::Registers(words), Answer::Bits(bits)] {
                for point in [point, coil] {
                    if let Ok(value) = decode(&point, order, start, &answer) {
                        prop_assert!(value.is_finite());
                    }
                }
            }
        }
    }
}
