//! Numbers out of the values of nodes.

use opcua::types::{Array, DateTime, Variant, custom::DynamicStructure};
use sightglass_plant::{JsonStep, OpcUaType};
use sightglass_protocol::UtcNanos;

/// From the beginning of OPC UA's time, 1601-01-01, to that of Unix.
const TICKS_TO_1970: i64 = 116_444_736_000_000_000;
/// Nanoseconds of one tick of its clock.
const TICK_NS: i64 = 100;
const NS_PER_MS: f64 = 1e6;

/// The moment that a server's time is; what UTC nanoseconds cannot hold becomes the nearest that they can.
pub(super) fn utc(time: &DateTime) -> UtcNanos {
    UtcNanos(time.ticks().saturating_sub(TICKS_TO_1970).saturating_mul(TICK_NS))
}

/// The number that lies in `value` at the end of `path`.
///
/// # Errors
/// What is there instead.
pub(super) fn number(value: &Variant, path: &[JsonStep], wanted: Option<OpcUaType>) -> Result<f64, String> {
    let Some(step) = path.first() else { return scalar(value, wanted) };
    match (value, step) {
        (Variant::Array(array), JsonStep::Item(_)) => {
            let (at, rest) = place(array, path)?;
            let item = array.values.get(at).ok_or_else(|| "the array is shorter than it says".to_owned())?;
            number(item, rest, wanted)
        }
        (Variant::ExtensionObject(object), JsonStep::Member(name)) => {
            let structure = object.inner_as::<DynamicStructure>();
            let structure = structure.ok_or_else(|| {
                "it is a structure whose fields the server does not describe; read a node of one of its fields"
                    .to_owned()
            })?;
            let field = structure.get_field_by_name(name);
            number(field.ok_or_else(|| format!("its structure has no field '{name}'"))?, &path[1..], wanted)
        }
        (Variant::Variant(inner), _) => number(inner, path, wanted),
        (Variant::DataValue(inner), _) => match &inner.value {
            Some(value) => number(value, path, wanted),
            None => Err("it is empty".to_owned()),
        },
        (other, JsonStep::Item(at)) => Err(format!("it is {}, which has no position {at}", named(other))),
        (other, JsonStep::Member(name)) => Err(format!("it is {}, which has no field '{name}'", named(other))),
    }
}

/// Where in an array the positions at the head of `path` lead, and what of the path follows.
fn place<'a>(array: &Array, path: &'a [JsonStep]) -> Result<(usize, &'a [JsonStep]), String> {
    let whole = [u32::try_from(array.values.len()).unwrap_or(u32::MAX)];
    let dimensions = array.dimensions.as_deref().filter(|dimensions| dimensions.len() > 1).unwrap_or(&whole);
    let mut at = 0_usize;
    for (depth, length) in dimensions.iter().enumerate() {
        let Some(JsonStep::Item(position)) = path.get(depth) else {
            return Err(format!("it is an array of {} dimensions; give a position in each", dimensions.len()));
        };
        let length = *length as usize;
        if *position >= length {
            return Err(format!("there is no position {position} in its {length} items"));
        }
        at = at.saturating_mul(length).saturating_add(*position);
    }
    Ok((at, &path[dimensions.len()..]))
}

fn scalar(value: &Variant, wanted: Option<OpcUaType>) -> Result<f64, String> {
    // Integers beyond 2^53 become the nearest number.
    let (kind, number) = match value {
        Variant::Boolean(is) => (OpcUaType::Boolean, f64::from(u8::from(*is))),
        Variant::SByte(number) => (OpcUaType::SByte, f64::from(*number)),
        Variant::Byte(number) => (OpcUaType::Byte, f64::from(*number)),
        Variant::Int16(number) => (OpcUaType::Int16, f64::from(*number)),
        Variant::UInt16(number) => (OpcUaType::UInt16, f64::from(*number)),
        Variant::Int32(number) => (OpcUaType::Int32, f64::from(*number)),
        Variant::UInt32(number) => (OpcUaType::UInt32, f64::from(*number)),
        Variant::Int64(number) => (OpcUaType::Int64, *number as f64),
        Variant::UInt64(number) => (OpcUaType::UInt64, *number as f64),
        Variant::Float(number) => (OpcUaType::Float, f64::from(*number)),
        Variant::Double(number) => (OpcUaType::Double, *number),
        Variant::DateTime(time) => (OpcUaType::DateTime, utc(time).0 as f64 / NS_PER_MS),
        Variant::Variant(inner) => return scalar(inner, wanted),
        other => return Err(format!("it is {}, which is no number", named(other))),
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != kind) {
        return Err(format!("it is {kind}, and the plant file says type={wanted}; correct the one that is wrong"));
    }
    if number.is_finite() { Ok(number) } else { Err(format!("{number} is no finite number")) }
}

/// What a value is, in words.
fn named(value: &Variant) -> &'static str {
    match value {
        Variant::Empty => "empty",
        Variant::String(_) => "a String",
        Variant::Array(_) => "an array",
        Variant::ExtensionObject(_) => "a structure",
        Variant::Guid(_) => "a Guid",
        Variant::ByteString(_) => "a ByteString",
        Variant::XmlElement(_) => "an XmlElement",
        Variant::QualifiedName(_) => "a QualifiedName",
        Variant::LocalizedText(_) => "a LocalizedText",
        Variant::NodeId(_) | Variant::ExpandedNodeId(_) => "a NodeId",
        Variant::StatusCode(_) => "a StatusCode",
        Variant::DataValue(_) => "a DataValue",
        Variant::DiagnosticInfo(_) => "a DiagnosticInfo",
        _ => "a single value",
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::VariantScalarTypeId;

    use super::*;

    fn path(text: &str) -> Vec<JsonStep> {
        text.parse::<sightglass_plant::JsonPath>().expect("a path").0
    }

    #[test]
    fn scalars_of_every_type_are_numbers() {
        let time = Variant::from(DateTime::from((2026, 11, 24, 8, 15, 0, 500_000_000)));
        for (value, kind, expected) in [
            (Variant::from(true), OpcUaType::Boolean, 1.0),
            (Variant::from(-3_i8), OpcUaType::SByte, -3.0),
            (Variant::from(200_u8), OpcUaType::Byte, 200.0),
            (Variant::from(-30_000_i16), OpcUaType::Int16, -30_000.0),
            (Variant::from(60_000_u16), OpcUaType::UInt16, 60_000.0),
            (Variant::from(i32::MIN), OpcUaType::Int32, -2_147_483_648.0),
            (Variant::from(u32::MAX), OpcUaType::UInt32, 4_294_967_295.0),
            (Variant::from(i64::MIN), OpcUaType::Int64, i64::MIN as f64),
            (Variant::from(u64::MAX), OpcUaType::UInt64, u64::MAX as f64),
            (Variant::from(0.5_f32), OpcUaType::Float, 0.5),
            (Variant::from(-1e300_f64), OpcUaType::Double, -1e300),
            (time, OpcUaType::DateTime, 1_795_508_100_500.0),
        ] {
            assert_eq!(number(&value, &[], None), Ok(expected));
            assert_eq!(number(&value, &[], Some(kind)), Ok(expected));
            let other = if kind == OpcUaType::Float { OpcUaType::Double } else { OpcUaType::Float };
            assert!(number(&value, &[], Some(other)).is_err_and(|why| why.contains("type=")));
        }
        for wrong in [Variant::Empty, Variant::from("7"), Variant::from(f64::NAN), Variant::from(f32::INFINITY)] {
            assert!(number(&wrong, &[], None).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn items_are_found_by_their_positions() {
        let row = Variant::from(vec![1.5_f64, 2.5, 3.5]);
        assert_eq!(number(&row, &path("[2]"), None), Ok(3.5));
        for wrong in ["[3]", "", "[0][0]", "x", "[0].x"] {
            assert!(number(&row, &path(wrong), None).is_err(), "{wrong}");
        }
        let values: Vec<Variant> = (0..6).map(Variant::from).collect();
        let matrix = Array::new_multi(VariantScalarTypeId::Int32, values, vec![2, 3]).expect("a matrix");
        let matrix = Variant::from(matrix);
        assert_eq!(number(&matrix, &path("[1][2]"), None), Ok(5.0));
        for wrong in ["[1]", "[2][0]", "[0][3]", "[0][0][0]"] {
            assert!(number(&matrix, &path(wrong), None).is_err(), "{wrong}");
        }
        // Dimensions that do not fit what is there.
        let liar =
            Array { value_type: VariantScalarTypeId::Int32, values: vec![], dimensions: Some(vec![9, u32::MAX]) };
        assert!(number(&Variant::from(liar), &path("[8][4000000000]"), None).is_err());
    }

    #[test]
    fn times_beyond_what_can_be_held_are_the_nearest() {
        assert_eq!(utc(&DateTime::from((1970, 1, 1, 0, 0, 1, 0))), UtcNanos(1_000_000_000));
        for ticks in [0, i64::MIN, i64::MAX] {
            let time = utc(&DateTime::from(ticks));
            assert!(time < UtcNanos(0) || time > UtcNanos(8_000_000_000_000_000_000), "{time}");
        }
    }
}
