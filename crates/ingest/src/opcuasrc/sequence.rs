//! The numbers of a subscription's messages: each message once, in order, none left out without a word (OPC UA part 4,
//! 5.14.1 and 7.26).

use std::ops::Range;

/// The most lost messages that are asked for again at once; of more, the latest.
pub(super) const REPUBLISH_MAX: u32 = 1000;

/// What a message is by its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The next one.
    Next,
    /// One that was there before.
    Again,
    /// One before which these are missing.
    After(Range<u32>),
}

/// The number of the next message.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: Option<u32>,
}

impl Sequence {
    /// Looks at the number of a message. A keep-alive has the number of the message that comes next, which is its first
    /// of two uses.
    pub(super) fn look(&self, number: u32) -> Seen {
        let Some(next) = self.next else { return Seen::Next };
        // Numbers go on from the highest to 1; half of them lie ahead.
        let ahead = number.wrapping_sub(next);
        if ahead == 0 || number == 0 {
            Seen::Next
        } else if ahead < u32::MAX / 2 {
            Seen::After(number - ahead.min(REPUBLISH_MAX).min(number - 1)..number)
        } else {
            Seen::Again
        }
    }

    /// Notes that everything before `number` is done with.
    pub(super) fn go_to(&mut self, number: u32) {
        self.next = Some(number.max(1));
    }

    /// Notes that the message `number` is done with.
    pub(super) fn pass(&mut self, number: u32) {
        self.go_to(number.checked_add(1).unwrap_or(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_seen_and_what_was_there_is_not_taken_twice() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.look(17), Seen::Next, "nobody knows what the first is");
        sequence.pass(17);
        assert_eq!(sequence.look(18), Seen::Next);
        assert_eq!(sequence.look(17), Seen::Again);
        assert_eq!(sequence.look(21), Seen::After(18..21));
        assert_eq!(sequence.look(5000), Seen::After(4000..5000), "not more than are asked for");
        sequence.go_to(21);
        assert_eq!(sequence.look(21), Seen::Next);
        sequence.pass(u32::MAX);
        assert_eq!(sequence.look(1), Seen::Next);
        assert_eq!(sequence.look(3), Seen::After(1..3));
        assert_eq!(sequence.look(u32::MAX), Seen::Again);
    }
}
