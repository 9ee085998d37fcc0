//! The smallest rasteriser that draws the line well: sprites with soft edges, blended row by row.

/// Columns and rows of a picture, RGB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Horizontal positions are drawn to a quarter of a pixel: slow bottles glide rather than hop.
const PHASES: usize = 4;

/// A colour with coverage: red, green, blue 0 to 255, alpha 0 to 1.
pub(crate) type Rgba = [f32; 4];

/// `over` painted over `under`.
pub(crate) fn over(under: Rgba, over: Rgba) -> Rgba {
    let alpha = over[3] + under[3] * (1.0 - over[3]);
    if alpha <= 0.0 {
        return [0.0; 4];
    }
    let mix = |i: usize| (over[i] * over[3] + under[i] * under[3] * (1.0 - over[3])) / alpha;
    [mix(0), mix(1), mix(2), alpha]
}

/// How much of a pixel an edge covers, from the signed distance inwards in pixels.
pub(crate) fn coverage(inside: f32) -> f32 {
    (inside + 0.5).clamp(0.0, 1.0)
}

pub(crate) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A small picture with coverage, premultiplied, once for each horizontal phase.
#[derive(Clone, Debug)]
pub(crate) struct Sprite {
    width: usize,
    height: usize,
    /// A phase's colour, `width * height * 3`.
    colour: Vec<Vec<u8>>,
    /// How much of the background stays, by channel, 0 to 255.
    keep: Vec<Vec<u8>>,
}

impl Sprite {
    /// Draws `shade(x, y)` into a sprite; x and y are pixel centres from its top left, before the phase's shift. The last
    /// column must be empty: the shift moves into it.
    pub(crate) fn new(width: usize, height: usize, shade: impl Fn(f32, f32) -> Rgba) -> Self {
        let mut sprite = Self { width, height, colour: Vec::new(), keep: Vec::new() };
        for phase in 0..PHASES {
            let shift = phase as f32 / PHASES as f32;
            let mut colour = Vec::with_capacity(width * height * 3);
            let mut keep = Vec::with_capacity(width * height * 3);
            for y in 0..height {
                for x in 0..width {
                    let [r, g, b, alpha] = shade(x as f32 + 0.5 - shift, y as f32 + 0.5);
                    let alpha = alpha.clamp(0.0, 1.0);
                    colour.extend([r, g, b].map(|c| (c * alpha).clamp(0.0, 255.0).round() as u8));
                    keep.extend([((1.0 - alpha) * 255.0).round() as u8; 3]);
                }
            }
            sprite.colour.push(colour);
            sprite.keep.push(keep);
        }
        sprite
    }
}

/// `under` shown through `keep`, with `colour` on top. Cannot overflow (255 * 256 < 2^16); said so explicitly, since
/// overflow checks would keep the loop around it from becoming vector instructions.
fn blend(under: u8, colour: u8, keep: u8) -> u8 {
    let kept = u16::from(under).wrapping_mul(u16::from(keep).wrapping_add(1)) >> 8;
    (kept as u8).saturating_add(colour)
}

/// A picture being drawn.
pub(crate) struct Canvas<'a> {
    pub(crate) pixels: &'a mut [u8],
    pub(crate) size: Size,
}

impl Canvas<'_> {
    /// Draws `sprite` with its left edge at `x` and its top at row `y`, as far as rows `rows` of the picture go.
    pub(crate) fn draw(&mut self, sprite: &Sprite, x: f32, y: i32, rows: std::ops::Range<i32>) {
        let quarters = (x * PHASES as f32).round() as i32;
        let (left, phase) = (quarters.div_euclid(PHASES as i32), quarters.rem_euclid(PHASES as i32) as usize);
        let (first, last) = (left.max(0), (left + sprite.width as i32).min(self.size.width as i32));
        if first >= last {
            return;
        }
        let span = (last - first) as usize * 3;
        let skipped = (first - left) as usize;
        let top = y.max(rows.start).max(0);
        let bottom = (y + sprite.height as i32).min(rows.end).min(self.size.height as i32);
        for row in top..bottom {
            let from = ((row - y) as usize * sprite.width + skipped) * 3;
            let to = (row as usize * self.size.width + first as usize) * 3;
            let colour = &sprite.colour[phase][from..from + span];
            let keep = &sprite.keep[phase][from..from + span];
            for ((pixel, colour), keep) in self.pixels[to..to + span].iter_mut().zip(colour).zip(keep) {
                *pixel = blend(*pixel, *colour, *keep);
            }
        }
    }

    /// Draws `sprite` whole.
    pub(crate) fn draw_all(&mut self, sprite: &Sprite, x: f32, y: i32) {
        self.draw(sprite, x, y, 0..self.size.height as i32);
    }
}

/// A whole picture from a shade a pixel.
pub(crate) fn picture(size: Size, shade: impl Fn(f32, f32) -> [f32; 3]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(size.width * size.height * 3);
    for y in 0..size.height {
        for x in 0..size.width {
            pixels.extend(shade(x as f32 + 0.5, y as f32 + 0.5).map(|c| c.clamp(0.0, 255.0).round() as u8));
        }
    }
    pixels
}

/// Value noise in `[0, 1]`, smooth over `cell` pixels, from a hash of the lattice: textures that need no random stream.
pub(crate) fn texture(x: f32, y: f32, cell: f32, salt: u32) -> f32 {
    let (gx, gy) = (x / cell, y / cell);
    let (ix, iy) = (gx.floor(), gy.floor());
    let corner = |dx: i32, dy: i32| {
        let mut h = (ix as i32 + dx) as u32 ^ ((iy as i32 + dy) as u32).wrapping_mul(0x9e37_79b9) ^ salt;
        h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
        h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
        (h ^ (h >> 16)) as f32 / u32::MAX as f32
    };
    let (fx, fy) = (smoothstep(0.0, 1.0, gx - ix), smoothstep(0.0, 1.0, gy - iy));
    let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * fx;
    let bottom = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * fx;
    top + (bottom - top) * fy
}
