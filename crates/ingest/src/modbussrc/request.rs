//! Which reads fetch the wanted points: near ones in one read.

use std::time::Duration;

use sightglass_plant::{MODBUS_BITS_MAX, ModbusPoint, ModbusTable};

/// Bits for each register, where a limit is given in registers.
const BITS_PER_REGISTER: u16 = 16;

/// A point that is to be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) unit: u8,
    pub(crate) point: ModbusPoint,
    pub(crate) period: Duration,
}

/// The limits of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most registers.
    pub(crate) registers_max: u16,
    /// The most registers in a row that nobody wants.
    pub(crate) gap_max: u16,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) unit: u8,
    pub(crate) table: ModbusTable,
    pub(crate) start: u16,
    pub(crate) count: u16,
    pub(crate) period: Duration,
    /// Positions of the points that it fetches, in the order of their registers.
    pub(crate) points: Vec<usize>,
}

impl Block {
    /// What it reads, for people.
    pub(crate) fn place(&self) -> String {
        let (table, first, unit) = (self.table.word(), self.start, self.unit);
        match self.count {
            1 => format!("{table} {first} of unit {unit}"),
            count => format!("{table} {first} to {} of unit {unit}", first.saturating_add(count - 1)),
        }
    }

    /// Two reads of half of its points each; `None` where it fetches only one.
    pub(crate) fn halves(&self, wanted: &[Wanted]) -> Option<[Self; 2]> {
        if self.points.len() < 2 {
            return None;
        }
        let (first, second) = self.points.split_at(self.points.len() / 2);
        Some([first, second].map(|points| Self::of(points.to_vec(), wanted)))
    }

    /// The read that fetches these points, which are of one unit, table and period and in the order of their registers.
    fn of(points: Vec<usize>, wanted: &[Wanted]) -> Self {
        let first = &wanted[points[0]];
        let start = first.point.register;
        let end = points.iter().map(|at| end_of(&wanted[*at])).max().unwrap_or(0);
        let count = (end - u32::from(start)) as u16;
        Self { unit: first.unit, table: first.point.table, start, count, period: first.period, points }
    }
}

/// The register after the last one of a point: at most 65,536.
fn end_of(wanted: &Wanted) -> u32 {
    u32::from(wanted.point.register) + u32::from(wanted.point.kind.width())
}

/// The reads that fetch every point.
pub(crate) fn plan(wanted: &[Wanted], limits: Limits) -> Vec<Block> {
    let group = |at: usize| (wanted[at].unit, wanted[at].point.table, wanted[at].period);
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|at| (group(*at), wanted[*at].point.register, end_of(&wanted[*at])));
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut end = 0;
    for at in order {
        let register = u32::from(wanted[at].point.register);
        let (most, gap) = if wanted[at].point.table.is_bits() {
            (MODBUS_BITS_MAX, limits.gap_max.saturating_mul(BITS_PER_REGISTER))
        } else {
            (limits.registers_max, limits.gap_max)
        };
        let joins = blocks.last().is_some_and(|block| {
            let start = u32::from(wanted[block[0]].point.register);
            group(block[0]) == group(at)
                && register <= end + u32::from(gap)
                && end.max(end_of(&wanted[at])) - start <= u32::from(most)
        });
        match blocks.last_mut() {
            Some(block) if joins => {
                block.push(at);
                end = end.max(end_of(&wanted[at]));
            }
            _ => {
                blocks.push(vec![at]);
                end = end_of(&wanted[at]);
            }
        }
    }
    blocks.into_iter().map(|points| Block::of(points, wanted)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(text: &str, unit: u8, seconds: u64) -> Wanted {
        Wanted { unit, point: text.parse().expect(text), period: Duration::from_secs(seconds) }
    }

    fn shape(wanted: &[Wanted], registers_max: u16, gap_max: u16) -> Vec<(u16, u16, Vec<usize>)> {
        let blocks = plan(wanted, Limits { registers_max, gap_max });
        blocks.into_iter().map(|block| (block.start, block.count, block.points)).collect()
    }

    #[test]
    fn near_points_share_a_read_and_others_do_not() {
        let points = [
            wanted("holding:108 f32", 1, 1),
            wanted("holding:100", 1, 1),
            wanted("holding:100 bit=3", 1, 1),
            wanted("holding:120 f64", 1, 1),
            wanted("holding:101", 1, 5),
            wanted("input:100", 1, 1),
            wanted("holding:102", 2, 1),
            wanted("coil:5", 1, 1),
            wanted("coil:100", 1, 1),
        ];
        let joined = [
            (5, 96, vec![7, 8]),
            (100, 10, vec![1, 2, 0]),
            (120, 4, vec![3]),
            (101, 1, vec![4]),
            (100, 1, vec![5]),
            (102, 1, vec![6]),
        ];
        let mut got = shape(&points, 125, 7);
        got.sort_by_key(|(_, _, points)| joined.iter().position(|expected| expected.2 == *points));
        assert_eq!(got, joined);
        assert_eq!(shape(&points[..4], 125, 10), [(100, 24, vec![1, 2, 0, 3])], "10 unwanted ones may be spanned");
        assert_eq!(shape(&points[..4], 10, 10), [(100, 10, vec![1, 2, 0]), (120, 4, vec![3])]);
        assert_eq!(shape(&points[..4], 125, 0).len(), 3);
        let last = [wanted("holding:65535", 1, 1), wanted("holding:65534", 1, 1)];
        assert_eq!(shape(&last, 125, 0), [(65_534, 2, vec![1, 0])]);
    }

    #[test]
    fn a_read_is_halved_until_one_point_is_left() {
        let points: Vec<_> = (0..5).map(|at| wanted(&format!("holding:{}", at * 2), 1, 1)).collect();
        let [block] = &plan(&points, Limits { registers_max: 125, gap_max: 8 })[..] else { panic!("one read") };
        let [first, second] = block.halves(&points).expect("halves");
        assert_eq!((first.start, first.count, second.start, second.count), (0, 3, 4, 5));
        let [one, _] = first.halves(&points).expect("halves");
        assert_eq!(one.halves(&points), None);
        assert_eq!((one.place(), second.place()), ("holding 0 of unit 1".into(), "holding 4 to 8 of unit 1".into()));
    }

    proptest! {
        #[test]
        fn every_point_is_fetched_once_by_a_read_within_the_limits(
            places in prop::collection::vec((0_u16..400, 0_usize..4, 0_u8..3, 1_u64..3), 0..120),
            registers_max in 4_u16..=125, gap_max in 0_u16..20,
        ) {
            let kinds = ["holding:N", "holding:N f32", "input:N f64", "coil:N"];
            let points: Vec<_> = places.iter().map(|(register, kind, unit, seconds)| {
                wanted(&kinds[*kind].replace('N', &register.to_string()), *unit, *seconds)
            }).collect();
            let blocks = plan(&points, Limits { registers_max, gap_max });
            let mut fetched = vec![0; points.len()];
            for block in &blocks {
                prop_assert!(block.count >= 1);
                let most = if block.table.is_bits() { MODBUS_BITS_MAX } else { registers_max };
                prop_assert!(block.count <= most);
                for at in &block.points {
                    let point = &points[*at];
                    fetched[*at] += 1;
                    prop_assert_eq!((block.unit, block.table, block.period), (point.unit, point.point.table, point.period));
                    prop_assert!(block.start <= point.point.register);
                    prop_assert!(end_of(point) <= u32::from(block.start) + u32::from(block.count));
                }
            }
            prop_assert!(fetched.iter().all(|times| *times == 1));
        }
    }
}
