//! The picture: from JPEG to a texture, and the surprise map over the camera's region of interest.

use egui::{
    Align2, Color32, ColorImage, Context, Painter, Rect, Stroke, StrokeKind, TextureHandle, TextureOptions, Vec2, pos2,
    vec2,
};
use sightglass_protocol::{CameraId, CameraInfo, PatchMap, UtcNanos, message::Picture, time::SECOND};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use crate::{
    marks,
    theme::{Palette, font, size},
    time_text,
};

/// The largest picture that the window accepts, in pixels a side.
const SIDE_PIXELS_MAX: usize = 8192;
/// A patch below this share of the limit is not drawn.
const SCORE_SHOWN_MIN: f32 = 0.5;
/// The darkest patch: the picture stays readable below it.
const ALPHA_MAX: f32 = 0.55;
/// A live picture older than this is marked as such.
const LIVE_AGE_NS_MAX: i64 = 3 * SECOND;

/// The shown picture.
#[derive(Default)]
pub(crate) struct Video {
    texture: Option<TextureHandle>,
    shown: Option<(CameraId, UtcNanos)>,
    error: Option<String>,
}

impl Video {
    /// Takes a picture in, or that there is none.
    pub(crate) fn show(&mut self, ctx: &Context, camera: CameraId, picture: Option<Picture>) {
        let Some(picture) = picture else {
            self.forget();
            return;
        };
        if self.shown == Some((camera, picture.time)) {
            return; // The very same picture.
        }
        match decode(picture.jpeg) {
            Ok(image) => {
                match &mut self.texture {
                    Some(texture) => texture.set(image, TextureOptions::LINEAR),
                    None => self.texture = Some(ctx.load_texture("camera", image, TextureOptions::LINEAR)),
                }
                self.shown = Some((camera, picture.time));
                self.error = None;
            }
            Err(reason) => {
                self.shown = None;
                self.error =
                    Some(format!("picture of {} is unreadable: {reason}", time_text::clock_millis(picture.time)));
            }
        }
    }

    pub(crate) fn forget(&mut self) {
        self.shown = None;
        self.error = None;
    }

    /// When the shown picture of `camera` was captured.
    pub(crate) fn time(&self, camera: CameraId) -> Option<UtcNanos> {
        self.shown.filter(|(of, _)| *of == camera).map(|(_, time)| time)
    }
}

fn decode(jpeg: Vec<u8>) -> Result<ColorImage, String> {
    let options = DecoderOptions::default()
        .set_max_width(SIDE_PIXELS_MAX)
        .set_max_height(SIDE_PIXELS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    if width == 0 || height == 0 || pixels.len() != width * height * 3 {
        return Err(format!("{} bytes for {width}x{height} pixels", pixels.len()));
    }
    Ok(ColorImage::from_rgb([width, height], &pixels))
}

/// What is drawn with the picture.
pub(crate) struct Frame<'a> {
    pub(crate) camera: &'a CameraInfo,
    pub(crate) map: Option<&'a PatchMap>,
    pub(crate) overlay: bool,
    /// The newest tick, while live.
    pub(crate) live_now: Option<UtcNanos>,
    pub(crate) refused: Option<&'a str>,
}

/// Draws the picture as large as it fits into `rect`, the map over it, and a line of text under it. Returns a
/// sentence for people who cannot see it.
pub(crate) fn paint(painter: &Painter, rect: Rect, video: &Video, frame: &Frame<'_>, palette: &Palette) -> String {
    const CAPTION: f32 = 22.0;
    let well = rect.with_max_y(rect.bottom() - CAPTION);
    painter.rect_filled(well, 0.0, palette.well);
    let caption = pos2(rect.left() + 4.0, rect.bottom() - CAPTION / 2.0);
    let name = &frame.camera.name;
    let write = |text: &str, colour: Color32| {
        painter.text(caption, Align2::LEFT_CENTER, text, font(size::SMALL), colour);
    };

    let (Some(time), Some(texture)) = (video.time(frame.camera.id), &video.texture) else {
        marks::paint_hatch(painter, well, 14.0, Stroke::new(1.0, palette.rule));
        let reason = video.error.as_deref().or(frame.refused).unwrap_or("no picture at this time");
        let galley = painter.layout(reason.to_owned(), font(size::BODY), palette.text, well.width() - 40.0);
        let at = Align2::CENTER_CENTER.anchor_size(well.center(), galley.size());
        painter.rect_filled(at.expand2(vec2(10.0, 6.0)), 3.0, palette.panel);
        painter.galley(at.min, galley, palette.text);
        write(name, palette.weak);
        return format!("{name}: {reason}");
    };

    let pixels = texture.size_vec2();
    let scale = (well.width() / pixels.x).min(well.height() / pixels.y);
    let picture = Rect::from_center_size(well.center(), pixels * scale);
    painter.image(texture.id(), picture, Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0)), Color32::WHITE);

    let region = frame.camera.roi.map_or(picture, |roi| {
        Rect::from_min_size(
            picture.min + vec2(roi.x as f32, roi.y as f32) * scale,
            vec2(roi.width as f32, roi.height as f32) * scale,
        )
    });
    let mut words = format!("{name} · {} UTC", time_text::clock_millis(time));
    if frame.overlay {
        paint_corners(painter, region);
        if let Some(map) = frame.map {
            let above = paint_map(painter, region, map, palette);
            if above > 0 {
                let patches = if above == 1 { "patch" } else { "patches" };
                words += &format!(" · {above} {patches}: {}", map.part.phrase());
            }
        }
    } else {
        words += " · surprise map hidden (O)";
    }
    match frame.live_now.map(|now| now.since(time)) {
        Some(age) if age > LIVE_AGE_NS_MAX => {
            let text = format!("PICTURE IS {} OLD", time_text::duration(age));
            let galley = painter.layout_no_wrap(text.clone(), font(size::LARGE), palette.on_colour);
            let at = Align2::CENTER_CENTER.anchor_size(well.center(), galley.size());
            painter.rect_filled(at.expand2(vec2(12.0, 6.0)), 3.0, palette.sensor);
            painter.galley(at.min, galley, palette.on_colour);
            words += &format!(" · {}", text.to_lowercase());
        }
        _ => {}
    }
    write(&words, palette.text);
    words
}

/// The corners of the region of interest: enough to see where the model looks.
fn paint_corners(painter: &Painter, region: Rect) {
    let length = region.width().min(region.height()) * 0.08;
    for (corner, x, y) in [
        (region.left_top(), 1.0, 1.0),
        (region.right_top(), -1.0, 1.0),
        (region.left_bottom(), 1.0, -1.0),
        (region.right_bottom(), -1.0, -1.0),
    ] {
        let path = vec![corner + vec2(x * length, 0.0), corner, corner + vec2(0.0, y * length)];
        painter.line(path.clone(), Stroke::new(3.0, Color32::from_black_alpha(140)));
        painter.line(path, Stroke::new(1.5, Color32::WHITE));
    }
}

/// Tints each patch by its score, and outlines those above the limit. Returns how many are.
fn paint_map(painter: &Painter, region: Rect, map: &PatchMap, palette: &Palette) -> usize {
    let (rows, cols) = (usize::from(map.rows), usize::from(map.cols));
    if rows == 0 || cols == 0 || map.scores.len() != rows * cols {
        return 0; // Not a map.
    }
    let cell = vec2(region.width() / cols as f32, region.height() / rows as f32);
    let mut above = 0;
    for (index, &score) in map.scores.iter().enumerate() {
        if !(score > SCORE_SHOWN_MIN) {
            continue;
        }
        let (row, col) = (index / cols, index % cols);
        let patch = Rect::from_min_size(region.min + Vec2::new(col as f32 * cell.x, row as f32 * cell.y), cell);
        let strength = ((score - SCORE_SHOWN_MIN) / 1.5).clamp(0.0, 1.0);
        painter.rect_filled(patch, 0.0, palette.process.gamma_multiply(0.12 + strength * (ALPHA_MAX - 0.12)));
        if score >= 1.0 {
            above += 1;
            painter.rect_stroke(patch.shrink(0.5), 0.0, Stroke::new(1.5, palette.process), StrokeKind::Inside);
        }
    }
    above
}
