//! The camera: draws the line's state as a picture.

use std::sync::Arc;

use sightglass_protocol::{CameraId, Frame, Roi, UtcNanos};

use crate::{
    conveyor::{Bottle, Conveyor},
    fault::Effects,
    lens::Lens,
    noise::{Noise, Stream, Wander},
    operator::Format,
    raster::{Canvas, Size, Sprite, smoothstep},
    scenery::{self, BELT_TOP, BELT_Y, BottleArt, CAP_HEIGHT, CAP_WIDTH, Tools},
};

/// The camera's name; `CameraId(0)`.
pub const CAMERA_NAME: &str = "filler-camera";
/// Columns.
pub const CAMERA_WIDTH: u32 = 640;
/// Rows.
pub const CAMERA_HEIGHT: u32 = 360;
/// Pictures a second.
pub const CAMERA_FPS: u32 = 15;
/// What a model should see: nozzle, capper, and the bottles from before the one to behind the other. Three pixels of it
/// make one of the model's 112.
pub const CAMERA_ROI: Roi = Roi { x: 168, y: 16, width: 336, height: 336 };

const SIZE: Size = Size { width: CAMERA_WIDTH as usize, height: CAMERA_HEIGHT as usize };
/// Pixels in a metre along the belt.
pub(crate) const PX_PER_M: f64 = 960.0;

/// Sensor noise, in grey levels.
const NOISE_SIGMA: f64 = 1.8;
/// The noise is cut from one long strip at random places.
const NOISE_STRIP: usize = 1 << 17;

const CHUTE_CAPS: usize = 5;

/// Everything drawn once, and the camera's own randomness.
#[derive(Clone, Debug)]
pub(crate) struct Camera {
    noise: Noise,
    flicker: Wander,
    strip: Vec<i8>,
    background: Vec<u8>,
    belt: Sprite,
    large: BottleArt,
    small: BottleArt,
    tools: Tools,
    lens: Lens,
    last: Option<Arc<[u8]>>,
}

impl Camera {
    pub(crate) fn new(seed: u64) -> Self {
        let mut noise = Noise::new(seed, Stream::Camera as u64);
        let strip = (0..NOISE_STRIP).map(|_| (NOISE_SIGMA * noise.gauss()).round().clamp(-8.0, 8.0) as i8).collect();
        Self {
            noise,
            flicker: Wander::new(0.006, 0.15, 1.0 / f64::from(CAMERA_FPS)),
            strip,
            background: scenery::background(SIZE),
            belt: scenery::belt(SIZE.width),
            large: BottleArt::new(Format::Large),
            small: BottleArt::new(Format::Small),
            tools: Tools::new(),
            lens: Lens::new(seed, SIZE),
            last: None,
        }
    }

    /// The picture taken at `time`, `late_s` before the state.
    pub(crate) fn shoot(
        &mut self,
        time: UtcNanos,
        late_s: f64,
        conveyor: &Conveyor,
        format: Format,
        daylight: f64,
        effects: &Effects,
    ) -> Frame {
        // Drawn even while frozen, so that the camera goes on as if nothing had been.
        let flicker = self.flicker.step(&mut self.noise);
        let offsets: Vec<usize> = (0..SIZE.height).map(|_| self.noise.below(NOISE_STRIP - SIZE.width * 3)).collect();
        let frozen = if effects.camera_frozen { self.last.clone() } else { None };
        let pixels = frozen.unwrap_or_else(|| {
            let mut pixels: Arc<[u8]> = Arc::from(self.background.as_slice());
            if let Some(unshared) = Arc::get_mut(&mut pixels) {
                self.draw(unshared, late_s, conveyor, format, effects);
                self.expose(unshared, flicker, daylight, &offsets, effects.lens_dirt as f32);
            }
            pixels
        });
        self.last = Some(Arc::clone(&pixels));
        Frame { camera: CameraId(0), time, width: CAMERA_WIDTH, height: CAMERA_HEIGHT, pixels }
    }

    fn art(&self, format: Format) -> &BottleArt {
        match format {
            Format::Large => &self.large,
            Format::Small => &self.small,
        }
    }

    fn draw(&self, pixels: &mut [u8], late_s: f64, conveyor: &Conveyor, format: Format, effects: &Effects) {
        let mut canvas = Canvas { pixels, size: SIZE };
        let px = |x_m: f64, speed_m_s: f64| ((x_m - speed_m_s * late_s) * PX_PER_M) as f32;

        let plate = scenery::PLATE_PX as f64;
        let belt_px = (px(conveyor.belt_m, conveyor.speed_m_s) as f64).rem_euclid(plate) as f32;
        canvas.draw_all(&self.belt, belt_px - scenery::PLATE_PX as f32, BELT_TOP);

        for bottle in &conveyor.bottles {
            let art = self.art(bottle.format);
            canvas.draw_all(&art.shadow, px(bottle.x_m, bottle.speed_m_s) - 46.0, BELT_Y - 9);
        }
        self.draw_chute(&mut canvas, conveyor, format, effects);

        // Where the heads hang follows the bottle's height, smoothly while parts are changed.
        let (large_px, small_px) = (self.large.shape.height as f64, self.small.shape.height as f64);
        let lip_y = BELT_Y as f64 - large_px + (large_px - small_px) * conveyor.heads_for_small;
        let nozzle_px = px(conveyor.nozzle.x_m, 0.0);
        let tip_y = (lip_y - 12.0 + 34.0 * ease(conveyor.nozzle.down)).round() as i32;
        let beam = scenery::BEAM_BOTTOM;
        canvas.draw(
            &self.tools.tube,
            nozzle_px - scenery::TUBE_WIDTH / 2.0,
            tip_y - scenery::TUBE_HEIGHT,
            beam..SIZE.height as i32,
        );

        for bottle in &conveyor.bottles {
            let middle_px = px(bottle.x_m, bottle.speed_m_s);
            let pours = conveyor.dosing && (bottle.x_m - conveyor.nozzle.x_m).abs() < 0.003;
            self.draw_bottle(&mut canvas, bottle, middle_px, pours.then_some(tip_y));
        }

        canvas.draw_all(&self.tools.carriage, nozzle_px - scenery::CARRIAGE_WIDTH / 2.0, beam - 14);

        let capper_px = px(conveyor.capper.x_m, 0.0);
        let head_y = (lip_y - 30.0 + 26.0 * ease(conveyor.capper.down)).round() as i32;
        let top_y = head_y - scenery::HEAD_HEIGHT + 12;
        canvas.draw(
            &self.tools.spindle,
            capper_px - scenery::SPINDLE_WIDTH / 2.0,
            top_y - scenery::SPINDLE_HEIGHT + 4,
            beam - 8..SIZE.height as i32,
        );
        let turn = (conveyor.capper_turns * 8.0 * scenery::HEAD_TURNS as f64) as usize % scenery::HEAD_TURNS;
        canvas.draw_all(&self.tools.heads[turn], capper_px - scenery::HEAD_WIDTH / 2.0, top_y);
    }

    fn draw_chute(&self, canvas: &mut Canvas<'_>, conveyor: &Conveyor, format: Format, effects: &Effects) {
        let caps = (CHUTE_CAPS as f64 * (1.0 - effects.caps_missing)).round() as usize;
        // Caps slide on by one place while the head is down.
        let slid = ease(conveyor.capper.down) as f32;
        for place in 0..caps {
            let along = 0.93 - (place as f32 + 1.0 - slid) * 0.215;
            let (x, y) = scenery::chute_point(along);
            if along > 0.0 {
                canvas.draw_all(&self.art(format).cap, x - CAP_WIDTH / 2.0, y as i32 - CAP_HEIGHT / 2);
            }
        }
    }

    fn draw_bottle(&self, canvas: &mut Canvas<'_>, bottle: &Bottle, middle_px: f32, pours_from: Option<i32>) {
        let Bottle { format, filled_ml, capped, miscoloured, .. } = *bottle;
        let art = self.art(format);
        let left = middle_px - art.shape.middle_px();
        let top = BELT_Y - art.shape.height as i32;
        canvas.draw_all(&art.back, left, top);
        let level_px = art.shape.level_px(filled_ml);
        let surface_y = BELT_Y - level_px.round() as i32;
        if let Some(tip_y) = pours_from {
            let [r, g, b] = art.liquid_rgb;
            let jet = Sprite::new(6, 8, |x, _| [r, g, b, (2.2 - (x - 2.5).abs()).clamp(0.0, 1.0) * 0.9]);
            let mut y = tip_y;
            while y < surface_y {
                canvas.draw(&jet, middle_px - 2.5, y, y..surface_y);
                y += 8;
            }
        }
        if filled_ml > 0.5 {
            let liquid = if miscoloured { &art.liquid_miscoloured } else { &art.liquid };
            canvas.draw(liquid, left, top, surface_y..BELT_Y);
            if art.shape.is_wide_at(level_px) {
                canvas.draw_all(&art.surface, left, surface_y - 2);
            }
        }
        canvas.draw_all(&art.front, left, top);
        if capped {
            canvas.draw_all(&art.cap, middle_px - CAP_WIDTH / 2.0, top - 6);
        }
    }

    /// Light, lens and sensor: what lies between the scene and the picture.
    fn expose(&self, pixels: &mut [u8], flicker: f64, daylight: f64, offsets: &[usize], dirt: f32) {
        if dirt > 0.0 {
            self.lens.soil(pixels, dirt);
        }
        let from_to = |low: f64, high: f64| low + (high - low) * daylight;
        // Dull and warm, or bright and bluish.
        let day = [from_to(0.64, 0.86), from_to(0.60, 0.90), from_to(0.50, 0.96)];
        let row_len = SIZE.width * 3;
        let mut gains = vec![0_u16; row_len];
        for (y, row) in pixels.chunks_exact_mut(row_len).enumerate() {
            // The lamp hangs above: its flicker is felt less further down.
            let lamp = 0.26 - 0.10 * f64::from(smoothstep(0.0, 360.0, y as f32));
            let shine = lamp * (1.0 + 4.0 * flicker);
            let gain = day.map(|channel| (((channel + shine) * 128.0).round() as u16).min(257));
            for pixel in gains.chunks_exact_mut(3) {
                pixel.copy_from_slice(&gain);
            }
            let noise = &self.strip[offsets[y]..offsets[y] + row_len];
            for ((value, gain), noise) in row.iter_mut().zip(&gains).zip(noise) {
                // Within 16 bits (255 * 257 < 2^16); wrapping, so that no overflow check stands in the way of vectors.
                let lit = (u16::from(*value).wrapping_mul(*gain) >> 7).min(255) as i16;
                *value = lit.wrapping_add(i16::from(*noise)).clamp(0, 255) as u8;
            }
        }
    }
}

/// Slow at both ends.
fn ease(share: f64) -> f64 {
    share * share * (3.0 - 2.0 * share)
}
