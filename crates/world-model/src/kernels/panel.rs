//! Rows put beside each other, so that a tile reads them as one stream.

/// Steps that are put beside each other at once, so that what is written stays in the first-level cache.
pub(super) const PIECE: usize = 128;
/// Rows that are put beside each other at once.
const GROUP: usize = 4;
/// Stands for rows that are not there.
static ZEROS: [f32; PIECE] = [0.0; PIECE];

/// Writes rows as the columns of `panel`, whose steps have `width` values, at most [`PIECE`] of them. `row(i)` gives a row
/// of as many values as there are steps; where there is none, the column is zero.
#[inline(always)]
pub(super) fn interleave<'a>(row: impl Fn(usize) -> Option<&'a [f32]>, panel: &mut [f32], width: usize) {
    let zeros = &ZEROS[..panel.len() / width];
    let row = |i| row(i).unwrap_or(zeros);
    let mut column = 0;
    while column + GROUP <= width {
        group(std::array::from_fn(|i| row(column + i)), panel, width, column);
        column += GROUP;
    }
    for column in column..width {
        for (step, &value) in panel.chunks_exact_mut(width).zip(row(column)) {
            step[column] = value;
        }
    }
}

/// Writes four rows as columns from `column` on.
#[inline(always)]
fn group(rows: [&[f32]; GROUP], panel: &mut [f32], width: usize, column: usize) {
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<4>());
    let whole = a.0.len() * 4 * width;
    let (four, rest) = panel.split_at_mut(whole);
    for ((((out, a), b), c), d) in four.chunks_exact_mut(4 * width).zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        // Four steps of four rows, which the compiler turns in registers.
        let turned: [[f32; GROUP]; 4] = std::array::from_fn(|i| [a[i], b[i], c[i], d[i]]);
        for (step, turned) in out.chunks_exact_mut(width).zip(turned) {
            if let Some(out) = step[column..].first_chunk_mut() {
                *out = turned;
            }
        }
    }
    let rows = a.1.iter().zip(b.1).zip(c.1).zip(d.1);
    for (step, (((a, b), c), d)) in rest.chunks_exact_mut(width).zip(rows) {
        step[column..column + GROUP].copy_from_slice(&[*a, *b, *c, *d]);
    }
}
