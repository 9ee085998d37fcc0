//! What the camera sees that does not change its shape: the hall, the machine, bottles, caps and tools, drawn once.

use crate::{
    operator::Format,
    raster::{Rgba, Size, Sprite, coverage, over, picture, smoothstep, texture},
};

/// Where bottles stand.
pub(crate) const BELT_Y: i32 = 298;
pub(crate) const BELT_TOP: i32 = 290;
pub(crate) const BELT_BOTTOM: i32 = 322;
/// One plate of the belt's chain.
pub(crate) const PLATE_PX: usize = 32;
/// The lower edge of the machine's beam, from which the tools hang.
pub(crate) const BEAM_BOTTOM: i32 = 52;

/// A tool of brushed steel: lit from the left.
fn steel(across: f32) -> [f32; 3] {
    let light =
        96.0 + 105.0 * (-((across - 0.3) / 0.2).powi(2)).exp() + 40.0 * (-((across - 0.85) / 0.12).powi(2)).exp();
    [light * 0.97, light, light * 1.03]
}

fn mix(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// The hall and the machine's frame, without anything that moves.
pub(crate) fn background(size: Size) -> Vec<u8> {
    picture(size, |x, y| {
        // A wall of coated panels, lit by the lamp above the filler.
        let lamp = (-((x - 330.0) / 300.0).powi(2) - ((y - 60.0) / 230.0).powi(2)).exp();
        let mut colour = mix([84.0, 96.0, 104.0], [170.0, 182.0, 186.0], lamp);
        let seam = (x - 22.0).rem_euclid(149.0);
        let groove = coverage(1.2 - (seam - 74.5).abs());
        colour = mix(colour, [58.0, 68.0, 76.0], 0.65 * groove);
        colour = mix(colour, [205.0, 214.0, 216.0], 0.25 * coverage(0.9 - (seam - 76.8).abs()));
        let grain = 5.0 * (texture(x, y, 3.0, 1) - 0.5) + 6.0 * (texture(x, y, 40.0, 2) - 0.5);
        colour = colour.map(|c| c + grain);

        // Two columns with bolts, and their shadows on the wall.
        for left in [112.0, 508.0] {
            let across = (x - left) / 24.0;
            let shadow = smoothstep(left + 20.0, left + 26.0, x) * (1.0 - smoothstep(left + 26.0, left + 44.0, x));
            colour = mix(colour, [40.0, 48.0, 54.0], 0.35 * shadow);
            if (0.0..1.0).contains(&across) {
                colour = mix(steel(across), [110.0, 116.0, 120.0], 0.35);
                let bolt = ((x - left - 12.0).powi(2) + ((y - 30.0).rem_euclid(64.0) - 32.0).powi(2)).sqrt();
                colour = mix(colour, [70.0, 76.0, 80.0], coverage(4.0 - bolt));
                colour = mix(colour, [200.0, 206.0, 210.0], 0.6 * coverage(2.2 - bolt));
            }
        }
        // The beam, and its shadow.
        let shadow = 1.0 - smoothstep(52.0, 78.0, y);
        if (52.0..78.0).contains(&y) {
            colour = mix(colour, [36.0, 44.0, 50.0], 0.45 * shadow);
        }
        if (16.0..52.0).contains(&y) {
            colour = mix(steel((y - 16.0) / 36.0), [150.0, 158.0, 164.0], 0.25);
            colour = colour.map(|c| c + 7.0 * (texture(x, y * 9.0, 30.0, 3) - 0.5));
        }
        if y < 16.0 {
            colour = [52.0, 60.0, 66.0].map(|c| c + 20.0 * (y / 16.0));
        }
        // The bowl, in front of the beam.
        let across = (x - 196.0) / 116.0;
        if (0.0..1.0).contains(&across) && y < 44.0 {
            let round = coverage(44.0 - y - 10.0 * (2.0 * across - 1.0).powi(4));
            colour = mix(colour, steel(across), round);
            colour = mix(colour, [60.0, 66.0, 70.0], 0.8 * round * coverage(1.5 - (y - 26.0).abs()));
        }
        // The guide rail behind the bottles.
        let rail = coverage(3.5 - (y - 236.0).abs());
        colour = mix(colour, steel(((y - 232.5) / 7.0).clamp(0.0, 1.0)), rail);
        if (239.5..247.0).contains(&y) {
            colour = mix(colour, [40.0, 46.0, 52.0], 0.3 * (1.0 - (y - 239.5) / 7.5));
        }
        // The chute that brings caps down to the capper.
        let (along, off) = chute_at(x, y);
        if (0.0..=1.0).contains(&along) && y > 44.0 {
            colour = mix(colour, [92.0, 99.0, 104.0], coverage(11.0 - off.abs()));
            colour = mix(colour, [52.0, 58.0, 62.0], coverage(9.0 - off.abs()));
        }
        // The conveyor's side.
        if y >= 286.0 && y < BELT_TOP as f32 {
            colour = mix(colour, [30.0, 34.0, 38.0], 0.5 * (y - 286.0) / 4.0);
        }
        if y >= BELT_BOTTOM as f32 {
            let down = (y - BELT_BOTTOM as f32) / 38.0;
            colour = mix([118.0, 126.0, 132.0], [52.0, 58.0, 64.0], down.powf(0.6));
            let foot = (x - 60.0).rem_euclid(130.0);
            let bolt = ((foot - 65.0).powi(2) + (y - 342.0).powi(2)).sqrt();
            colour = mix(colour, [36.0, 40.0, 44.0], coverage(5.0 - bolt));
            colour = mix(colour, [150.0, 156.0, 160.0], 0.5 * coverage(2.5 - bolt));
        }
        colour
    })
}

/// The chute's upper and lower end.
const CHUTE: [(f32, f32); 2] = [(504.0, 62.0), (404.0, 100.0)];

/// How far down the chute (0 to 1) and how far beside its middle line a point is.
fn chute_at(x: f32, y: f32) -> (f32, f32) {
    let [(x0, y0), (x1, y1)] = CHUTE;
    let (dx, dy) = (x1 - x0, y1 - y0);
    let length = dx.hypot(dy);
    let (px, py) = (x - x0, y - y0);
    ((px * dx + py * dy) / (length * length), (px * dy - py * dx) / length)
}

/// The middle of the cap at `along` (0 to 1) of the chute.
pub(crate) fn chute_point(along: f32) -> (f32, f32) {
    let [(x0, y0), (x1, y1)] = CHUTE;
    (x0 + (x1 - x0) * along, y0 + (y1 - y0) * along)
}

/// The belt's rows over one plate more than the picture, so that any offset can be cut from it.
pub(crate) fn belt(width: usize) -> Sprite {
    let rows = (BELT_BOTTOM - BELT_TOP) as usize;
    Sprite::new(width + 2 * PLATE_PX, rows, |x, y| {
        let within = x.rem_euclid(PLATE_PX as f32);
        let joint = coverage(1.3 - (within - 1.5).abs());
        let colour = if y < 14.0 {
            let sheen =
                118.0 + 46.0 * (y / 14.0) + 10.0 * (texture(x.rem_euclid(PLATE_PX as f32 * 4.0), y, 2.5, 5) - 0.5);
            mix([sheen, sheen * 1.01, sheen * 1.02], [58.0, 62.0, 66.0], 0.75 * joint)
        } else {
            let depth = (y - 14.0) / (rows as f32 - 14.0);
            let base = mix([88.0, 92.0, 96.0], [44.0, 48.0, 52.0], depth);
            let pin = ((within - 16.0).powi(2) + (y - 23.0).powi(2)).sqrt();
            let base = mix(base, [130.0, 136.0, 140.0], 0.7 * coverage(3.2 - pin));
            mix(base, [24.0, 26.0, 30.0], 0.85 * joint)
        };
        [colour[0], colour[1], colour[2], 1.0]
    })
}

/// A bottle's shape, in pixels.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    body: f32,
    shoulder_from: f32,
    neck_from: f32,
    neck: f32,
    /// Height of the liquid above the bottom by content, in steps of `ML_STEP`.
    level_px: Vec<f32>,
}

const ML_STEP: f64 = 2.0;
const WALL_PX: f32 = 2.5;
/// Room at both sides of a bottle's sprites.
const MARGIN_PX: f32 = 4.0;

impl Shape {
    fn new(format: Format) -> Self {
        let (height, body, shoulder_from, neck_from, neck) = match format {
            Format::Large => (196, 25.5, 108.0, 154.0, 9.5),
            Format::Small => (160, 23.0, 96.0, 124.0, 10.0),
        };
        let mut shape = Self { height, body, shoulder_from, neck_from, neck, level_px: Vec::new() };
        // The usual fill stands in the middle of the shoulder, still wide enough that a few ml do not fill the neck;
        // everything else follows from the shape.
        let full_px = shape.shoulder_from + 0.55 * (shape.neck_from - shape.shoulder_from);
        let area = |up: f32| f64::from(shape.inner_px(up).powi(2));
        let slices: Vec<f64> = (0..height * 4).map(|i| area((i as f32 + 0.5) / 4.0)).collect();
        let ml_per_slice = format.fill_ml() / slices.iter().take((full_px * 4.0) as usize).sum::<f64>();
        let (mut content_ml, mut level_px) = (0.0, vec![0.0]);
        for (i, slice) in slices.iter().enumerate() {
            content_ml += slice * ml_per_slice;
            while content_ml >= level_px.len() as f64 * ML_STEP {
                level_px.push((i + 1) as f32 / 4.0);
            }
        }
        shape.level_px = level_px;
        shape
    }

    /// Half the outer width, `up` pixels above the bottom.
    fn half_width(&self, up: f32) -> f32 {
        let height = self.height as f32;
        if up < 0.0 || up > height {
            0.0
        } else if up < 7.0 {
            self.body - 5.0 + 5.0 * (1.0 - (1.0 - up / 7.0).powi(2)).sqrt()
        } else if up < self.shoulder_from {
            self.body
        } else if up < self.neck_from {
            let t = (up - self.shoulder_from) / (self.neck_from - self.shoulder_from);
            self.neck + (self.body - self.neck) * (0.5 + 0.5 * (std::f32::consts::PI * t).cos())
        } else if up < height - 8.0 {
            self.neck
        } else {
            self.neck + 1.5
        }
    }

    /// Height of the liquid above the bottom.
    pub(crate) fn level_px(&self, content_ml: f64) -> f32 {
        let at = (content_ml / ML_STEP).clamp(0.0, (self.level_px.len() - 1) as f64);
        let low = at as usize;
        let high = (low + 1).min(self.level_px.len() - 1);
        self.level_px[low] + (self.level_px[high] - self.level_px[low]) * (at - low as f64) as f32
    }

    /// Half of the sprites' width: from a sprite's left edge to the bottle's middle.
    pub(crate) fn middle_px(&self) -> f32 {
        self.body.ceil() + MARGIN_PX
    }

    /// Whether the bottle is at its full width there.
    pub(crate) fn is_wide_at(&self, up: f32) -> bool {
        (4.0..=self.shoulder_from).contains(&up)
    }

    /// Half the inner width.
    fn inner_px(&self, up: f32) -> f32 {
        (self.half_width(up) - WALL_PX).max(0.0)
    }
}

/// All that is drawn of one bottle format.
#[derive(Clone, Debug)]
pub(crate) struct BottleArt {
    pub(crate) shape: Shape,
    pub(crate) back: Sprite,
    pub(crate) liquid: Sprite,
    /// The same in a colour that is on no line.
    pub(crate) liquid_miscoloured: Sprite,
    pub(crate) surface: Sprite,
    pub(crate) front: Sprite,
    pub(crate) cap: Sprite,
    pub(crate) shadow: Sprite,
    pub(crate) liquid_rgb: [f32; 3],
}

/// A liquid that no bottle of the line holds.
const MISCOLOURED: [f32; 3] = [60.0, 140.0, 90.0];

pub(crate) const CAP_WIDTH: f32 = 28.0;
pub(crate) const CAP_HEIGHT: i32 = 17;

impl BottleArt {
    pub(crate) fn new(format: Format) -> Self {
        let (glass, liquid, cap) = match format {
            Format::Large => ([196.0, 214.0, 216.0], [236.0, 138.0, 26.0], [22.0, 84.0, 196.0]),
            Format::Small => ([120.0, 168.0, 132.0], [150.0, 30.0, 48.0], [244.0, 206.0, 60.0]),
        };
        let shape = Shape::new(format);
        let (middle, height) = (shape.middle_px(), shape.height as f32);
        let width = 2 * middle as usize + 1;
        let glass_alpha = if format == Format::Large { 0.16 } else { 0.34 };

        let back = Sprite::new(width, shape.height, |x, y| {
            let inside = shape.half_width(height - y) - (x - middle).abs();
            [glass[0] * 0.8, glass[1] * 0.8, glass[2] * 0.8, glass_alpha * coverage(inside)]
        });
        let filled = |liquid: [f32; 3]| {
            Sprite::new(width, shape.height, |x, y| {
                let up = height - y;
                let inner = shape.inner_px(up);
                let across = (x - middle) / shape.body;
                let floor = coverage(up - 4.0);
                let light = 0.72 + 0.34 * (-((across + 0.25) / 0.45).powi(2)).exp() + 0.12 * (up / height);
                let rgb = liquid.map(|c| c * light);
                [rgb[0], rgb[1], rgb[2], 0.93 * floor * coverage(inner - (x - middle).abs())]
            })
        };
        let [liquid_sprite, liquid_miscoloured] = [liquid, MISCOLOURED].map(filled);
        let surface = Sprite::new(width, 4, |x, y| {
            let inside = 1.0 - ((x - middle) / shape.body).powi(2);
            let light = liquid.map(|c: f32| (c * 1.25 + 40.0).min(255.0));
            [light[0], light[1], light[2], 0.75 * inside.clamp(0.0, 1.0) * (1.0 - (y - 2.0).abs() / 2.2)]
        });
        let front = Sprite::new(width, shape.height, |x, y| {
            let up = height - y;
            let half = shape.half_width(up);
            let inside = half - (x - middle).abs();
            let all = coverage(inside);
            let edge = (1.0 - (inside / 3.2).clamp(0.0, 1.0)) * all;
            let mut pixel: Rgba = [glass[0] * 0.30, glass[1] * 0.32, glass[2] * 0.34, 0.72 * edge];
            let across = (x - middle) / half.max(1.0);
            let ends = smoothstep(8.0, 22.0, up) * (1.0 - smoothstep(height - 14.0, height - 4.0, up));
            let gleam =
                0.62 * (-((across + 0.58) / 0.11).powi(2)).exp() + 0.22 * (-((across - 0.66) / 0.08).powi(2)).exp();
            pixel = over(pixel, [250.0, 252.0, 255.0, gleam * ends * all]);
            let lip = coverage(1.2 - (up - (height - 8.0)).abs());
            over(pixel, [60.0, 70.0, 74.0, 0.6 * lip * all])
        });
        let cap_sprite = Sprite::new(CAP_WIDTH as usize + 1, CAP_HEIGHT as usize, |x, y| {
            let across = (x - CAP_WIDTH / 2.0) / 12.5;
            let corner = if y < 4.0 { (4.0 - y).powi(2) / 8.0 } else { 0.0 };
            let inside = coverage(12.5 - corner - (x - CAP_WIDTH / 2.0).abs()) * coverage(y - 0.5);
            let ribs = 1.0
                - 0.16 * (0.5 + 0.5 * (across.clamp(-0.99, 0.99).asin() * 15.0).cos()) * f32::from(u8::from(y > 5.0));
            let light =
                (0.62 + 0.62 * (-((across + 0.35) / 0.4).powi(2)).exp()) * ribs * if y < 4.5 { 1.18 } else { 1.0 };
            let rgb = cap.map(|c| c * light + 8.0);
            [rgb[0], rgb[1], rgb[2], inside]
        });
        let shadow = Sprite::new(96, 16, |x, y| {
            let distance = ((x - 50.0) / 40.0).powi(2) + ((y - 8.0) / 7.0).powi(2);
            [10.0, 12.0, 16.0, 0.55 * (1.0 - smoothstep(0.1, 1.0, distance))]
        });
        Self {
            shape,
            back,
            liquid: liquid_sprite,
            liquid_miscoloured,
            surface,
            front,
            cap: cap_sprite,
            shadow,
            liquid_rgb: liquid,
        }
    }
}

/// The tools that move.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The nozzle's carriage on the beam.
    pub(crate) carriage: Sprite,
    /// The filling tube; its lower end is the tip.
    pub(crate) tube: Sprite,
    /// The capper's spindle; its lower end sits on the head.
    pub(crate) spindle: Sprite,
    /// The capper's head, once a turn position.
    pub(crate) heads: Vec<Sprite>,
}

pub(crate) const CARRIAGE_WIDTH: f32 = 44.0;
pub(crate) const TUBE_WIDTH: f32 = 14.0;
pub(crate) const TUBE_HEIGHT: i32 = 150;
pub(crate) const SPINDLE_WIDTH: f32 = 18.0;
pub(crate) const SPINDLE_HEIGHT: i32 = 150;
pub(crate) const HEAD_WIDTH: f32 = 42.0;
pub(crate) const HEAD_HEIGHT: i32 = 34;
/// Turn positions of the capper's head within one flute.
pub(crate) const HEAD_TURNS: usize = 6;

impl Tools {
    pub(crate) fn new() -> Self {
        let bar = |x: f32, width: f32, half: f32| {
            let inside = coverage(half - (x - width / 2.0).abs());
            (inside, steel(((x - width / 2.0) / (2.0 * half) + 0.5).clamp(0.0, 1.0)))
        };
        let carriage = Sprite::new(CARRIAGE_WIDTH as usize + 1, 26, |x, y| {
            let (inside, c) = bar(x, CARRIAGE_WIDTH, 20.0);
            let dark = if !(3.0..=23.0).contains(&y) { 0.55 } else { 0.78 };
            let screw = coverage(2.6 - ((x - 22.0).abs() - 13.0).hypot(y - 13.0));
            let c = mix(c.map(|v| v * dark), [40.0, 44.0, 48.0], 0.7 * screw);
            [c[0] * 0.86, c[1] * 0.95, c[2] * 1.08, inside]
        });
        let tube = Sprite::new(TUBE_WIDTH as usize + 1, TUBE_HEIGHT as usize, |x, y| {
            let half = if y > TUBE_HEIGHT as f32 - 26.0 { 3.6 } else { 5.5 };
            let (inside, c) = bar(x, TUBE_WIDTH, half);
            [c[0], c[1], c[2], inside]
        });
        let spindle = Sprite::new(SPINDLE_WIDTH as usize + 1, SPINDLE_HEIGHT as usize, |x, y| {
            let ring = (y - 100.0).rem_euclid(50.0) < 6.0;
            let (inside, c) = bar(x, SPINDLE_WIDTH, if ring { 8.0 } else { 6.0 });
            [c[0], c[1], c[2], inside]
        });
        let heads = (0..HEAD_TURNS)
            .map(|turn| {
                Sprite::new(HEAD_WIDTH as usize + 1, HEAD_HEIGHT as usize, move |x, y| {
                    let half = if y < 8.0 { 9.0 + y * 1.2 } else { 18.0 };
                    let (inside, c) = bar(x, HEAD_WIDTH, half);
                    let across = ((x - HEAD_WIDTH / 2.0) / half).clamp(-0.99, 0.99);
                    let flute = across.asin() * 8.0 + std::f32::consts::TAU * turn as f32 / HEAD_TURNS as f32;
                    let c = if y > 10.0 && y < 28.0 {
                        c.map(|v| v * (0.62 + 0.2 * flute.cos()))
                    } else {
                        c.map(|v| v * 0.85)
                    };
                    let band = coverage(1.6 - (y - 30.0).abs());
                    let c = mix(c, [206.0, 120.0, 34.0], 0.85 * band);
                    [c[0], c[1], c[2], inside]
                })
            })
            .collect();
        Self { carriage, tube, spindle, heads }
    }
}
