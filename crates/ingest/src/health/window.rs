//! The last few numbers.

/// A ring of fixed length; nothing is allocated after it was made.
#[derive(Clone, Debug)]
pub(super) struct Window {
    numbers: Vec<f64>,
    at: usize,
    filled: usize,
}

impl Window {
    pub(super) fn new(length: usize) -> Self {
        Self { numbers: vec![0.0; length.max(1)], at: 0, filled: 0 }
    }

    /// How many numbers cover `span_ns` at one a period, within limits.
    pub(super) fn length(span_ns: i64, period_ns: i64, least: usize, most: usize) -> usize {
        usize::try_from(span_ns / period_ns.max(1)).unwrap_or(most).clamp(least, most)
    }

    pub(super) fn push(&mut self, number: f64) {
        self.numbers[self.at] = number;
        self.at = (self.at + 1) % self.numbers.len();
        self.filled = (self.filled + 1).min(self.numbers.len());
    }

    pub(super) fn clear(&mut self) {
        (self.at, self.filled) = (0, 0);
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.numbers.len()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// All of them, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.numbers[..self.filled].iter().copied()
    }

    pub(super) fn mean(&self) -> f64 {
        self.iter().sum::<f64>() / self.filled.max(1) as f64
    }

    /// The latest `count`, latest first.
    pub(super) fn latest(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        let length = self.numbers.len();
        (1..=count.min(self.filled)).map(move |back| self.numbers[(self.at + length - back) % length])
    }
}
