//! What the model sees of a picture: its region of interest, scaled to the model's square.

use std::sync::Arc;

use sightglass_protocol::{Roi, tick::MODEL_PIXELS};

/// An RGB picture in memory: rows of `stride` bytes, of which the first `width * 3` are pixels.
#[derive(Clone, Copy)]
pub(crate) struct RgbView<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: usize,
}

impl RgbView<'_> {
    /// The pixels without padding.
    pub(crate) fn packed(&self) -> Arc<[u8]> {
        let row_bytes = self.width as usize * 3;
        if self.stride == row_bytes {
            return Arc::from(&self.bytes[..row_bytes * self.height as usize]);
        }
        let rows = self.bytes.chunks(self.stride).take(self.height as usize);
        rows.flat_map(|row| &row[..row_bytes]).copied().collect()
    }
}

/// Crops pictures of one size to a region and scales them to [`MODEL_PIXELS`] squared, by exact area averages in integer
/// arithmetic: the same picture gives the same bytes on every machine.
pub(crate) struct Scaler {
    roi: Roi,
    columns: Vec<Span>,
    rows: Vec<Span>,
    /// One row of sums over the source rows of a target row.
    sums: Vec<u32>,
}

/// The source pixels that one target pixel covers, in units in which a source pixel is [`MODEL_PIXELS`] wide and a target
/// pixel as wide as the region has source pixels.
struct Span {
    first: usize,
    weights: Vec<u32>,
}

/// Larger regions would overflow the sums: 112 * 2^13 * 255 is below 2^32.
const ROI_PIXELS_MAX: u32 = 1 << 13;

impl Scaler {
    /// The part of `roi` that lies within a picture of this size, and whether that is all of it. The whole picture where
    /// there is no region or nothing of it lies within.
    pub(crate) fn clip(roi: Option<Roi>, width: u32, height: u32) -> (Roi, bool) {
        let whole = Roi { x: 0, y: 0, width, height };
        let Some(roi) = roi else { return (whole, true) };
        let clipped = Roi {
            x: roi.x,
            y: roi.y,
            width: roi.width.min(width.saturating_sub(roi.x)),
            height: roi.height.min(height.saturating_sub(roi.y)),
        };
        if clipped.width == 0 || clipped.height == 0 { (whole, false) } else { (clipped, clipped == roi) }
    }

    /// For a region that lies within the pictures to come. `None` where it is larger than any camera's picture.
    pub(crate) fn new(roi: Roi) -> Option<Self> {
        if roi.width > ROI_PIXELS_MAX || roi.height > ROI_PIXELS_MAX {
            return None;
        }
        let sums = vec![0; roi.width as usize * 3];
        Some(Self { roi, columns: spans(roi.width), rows: spans(roi.height), sums })
    }

    /// `MODEL_PIXELS * MODEL_PIXELS * 3` bytes, row-major RGB.
    pub(crate) fn scale(&mut self, picture: &RgbView<'_>) -> Arc<[u8]> {
        let side = MODEL_PIXELS as usize;
        let area = u64::from(self.roi.width) * u64::from(self.roi.height);
        let row_bytes = self.roi.width as usize * 3;
        let left = self.roi.x as usize * 3;
        let mut scaled = Vec::with_capacity(side * side * 3);
        for span in &self.rows {
            self.sums.fill(0);
            for (offset, weight) in span.weights.iter().enumerate() {
                let start = (self.roi.y as usize + span.first + offset) * picture.stride + left;
                let row = &picture.bytes[start..start + row_bytes];
                for (sum, pixel) in self.sums.iter_mut().zip(row) {
                    *sum += weight * u32::from(*pixel);
                }
            }
            for span in &self.columns {
                let mut rgb = [area / 2; 3];
                let (sums, _) = self.sums[span.first * 3..].as_chunks::<3>();
                for (sum, weight) in sums.iter().zip(&span.weights) {
                    for (total, channel) in rgb.iter_mut().zip(sum) {
                        *total += u64::from(*channel) * u64::from(*weight);
                    }
                }
                scaled.extend(rgb.map(|total| (total / area) as u8));
            }
        }
        scaled.into()
    }
}

fn spans(length: u32) -> Vec<Span> {
    let side = MODEL_PIXELS;
    (0..side)
        .map(|target| {
            let (start, end) = (target * length, (target + 1) * length);
            let (first, last) = (start / side, (end - 1) / side);
            let weights = (first..=last).map(|pixel| end.min((pixel + 1) * side) - start.max(pixel * side)).collect();
            Span { first: first as usize, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(width: u32, height: u32, roi: Option<Roi>, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Arc<[u8]> {
        let stride = width as usize * 3 + 5;
        let mut bytes = vec![255; stride * height as usize];
        for y in 0..height {
            for x in 0..width {
                let at = y as usize * stride + x as usize * 3;
                bytes[at..at + 3].copy_from_slice(&pixel(x, y));
            }
        }
        let (roi, _) = Scaler::clip(roi, width, height);
        Scaler::new(roi).expect("small").scale(&RgbView { bytes: &bytes, width, height, stride })
    }

    #[test]
    fn one_colour_stays_that_colour_at_any_size() {
        for (width, height) in [(640, 360), (113, 1), (7, 300), (112, 112)] {
            let picture = scaled(width, height, None, |_, _| [10, 200, 255]);
            assert_eq!(picture.len(), 112 * 112 * 3);
            assert!(picture.chunks(3).all(|rgb| rgb == [10, 200, 255]), "{width}x{height}");
        }
    }

    #[test]
    fn a_region_of_the_models_size_is_copied() {
        let roi = Roi { x: 9, y: 4, width: 112, height: 112 };
        let picture = scaled(200, 150, Some(roi), |x, y| [x as u8, y as u8, 7]);
        for y in 0..112 {
            for x in 0..112 {
                assert_eq!(picture[(y * 112 + x) * 3..][..3], [x as u8 + 9, y as u8 + 4, 7]);
            }
        }
    }

    #[test]
    fn halves_are_averages() {
        let picture = scaled(224, 224, None, |x, y| if (x + y) % 2 == 0 { [0; 3] } else { [101, 51, 1] });
        assert!(picture.chunks(3).all(|rgb| rgb == [51, 26, 1]));
    }

    #[test]
    fn a_region_beyond_the_picture_is_cut_to_it() {
        let beyond = Roi { x: 100, y: 100, width: 100, height: 10 };
        assert_eq!(Scaler::clip(Some(beyond), 150, 150), (Roi { x: 100, y: 100, width: 50, height: 10 }, false));
        let outside = Roi { x: 500, y: 0, width: 10, height: 10 };
        assert_eq!(Scaler::clip(Some(outside), 150, 150), (Roi { x: 0, y: 0, width: 150, height: 150 }, false));
        assert_eq!(Scaler::clip(Some(beyond), 300, 300), (beyond, true));
    }
}
