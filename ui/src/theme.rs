//! Two grey themes after ISA-101: shapes and greys for what is normal, colour only for what is not.

use egui::{Color32, Context, CornerRadius, FontFamily, FontId, Stroke, TextStyle, Theme, Vec2, style::WidgetVisuals};

/// The colours of one theme, by what they mean.
pub(crate) struct Palette {
    /// Behind everything.
    pub(crate) background: Color32,
    /// Bars and cards.
    pub(crate) panel: Color32,
    /// Behind a picture or a trend.
    pub(crate) well: Color32,
    /// Separators and axes.
    pub(crate) rule: Color32,
    /// Text that matters.
    pub(crate) text: Color32,
    /// Text that explains.
    pub(crate) weak: Color32,
    /// A measured signal.
    pub(crate) trace: Color32,
    /// Lowest to highest sample within a pixel.
    pub(crate) envelope: Color32,
    /// What was predicted one tick ahead.
    pub(crate) band: Color32,
    /// What is predicted past now.
    pub(crate) fan: Color32,
    /// The median of a prediction.
    pub(crate) median: Color32,
    /// Hatching over values that may not be relied on.
    pub(crate) hatch: Color32,
    /// The limit of a score.
    pub(crate) limit: Color32,
    /// A selected row or button.
    pub(crate) selected: Color32,
    /// Keyboard focus.
    pub(crate) focus: Color32,
    /// An advisory about the process.
    pub(crate) process: Color32,
    /// An advisory about a sensor, and whatever does not deliver.
    pub(crate) sensor: Color32,
    /// An advisory about a camera.
    pub(crate) camera: Color32,
    /// An advisory about what the model does not know.
    pub(crate) model: Color32,
    /// Letters on one of the four colours above.
    pub(crate) on_colour: Color32,
    /// The frame of a replay.
    pub(crate) replay: Color32,
    /// Letters on the frame of a replay.
    pub(crate) on_replay: Color32,
}

const fn grey(level: u8) -> Color32 {
    Color32::from_gray(level)
}

const LIGHT: Palette = Palette {
    background: grey(0xcf),
    panel: grey(0xde),
    well: grey(0xe8),
    rule: grey(0xaa),
    text: grey(0x1c),
    weak: grey(0x50),
    trace: grey(0x22),
    envelope: grey(0x9a),
    band: Color32::from_rgb(0xb4, 0xc2, 0xce),
    fan: Color32::from_rgb(0xb4, 0xc2, 0xce),
    median: Color32::from_rgb(0x58, 0x68, 0x76),
    hatch: grey(0x80),
    limit: grey(0x60),
    selected: grey(0xf4),
    focus: Color32::from_rgb(0x20, 0x50, 0x80),
    process: Color32::from_rgb(0xb8, 0x14, 0x48),
    sensor: Color32::from_rgb(0xa8, 0x5c, 0x00),
    camera: Color32::from_rgb(0x62, 0x3c, 0xae),
    model: Color32::from_rgb(0x0b, 0x66, 0x60),
    on_colour: grey(0xff),
    replay: Color32::from_rgb(0x0f, 0x5a, 0xa8),
    on_replay: grey(0xff),
};

const DARK: Palette = Palette {
    background: grey(0x24),
    panel: grey(0x30),
    well: grey(0x1b),
    rule: grey(0x55),
    text: grey(0xe4),
    weak: grey(0xa8),
    trace: grey(0xdc),
    envelope: grey(0x68),
    band: Color32::from_rgb(0x3e, 0x50, 0x60),
    fan: Color32::from_rgb(0x3e, 0x50, 0x60),
    median: Color32::from_rgb(0x92, 0xa6, 0xb6),
    hatch: grey(0x80),
    limit: grey(0xa0),
    selected: grey(0x42),
    focus: Color32::from_rgb(0x7c, 0xb0, 0xe0),
    process: Color32::from_rgb(0xff, 0x5a, 0x8a),
    sensor: Color32::from_rgb(0xff, 0xb0, 0x3a),
    camera: Color32::from_rgb(0xb4, 0x96, 0xff),
    model: Color32::from_rgb(0x52, 0xd0, 0xc0),
    on_colour: grey(0x14),
    replay: Color32::from_rgb(0x2f, 0x86, 0xdc),
    on_replay: grey(0x08),
};

/// The palette of the theme in use.
pub(crate) fn palette(ctx: &Context) -> &'static Palette {
    of(ctx.theme())
}

const fn of(theme: Theme) -> &'static Palette {
    match theme {
        Theme::Dark => &DARK,
        Theme::Light => &LIGHT,
    }
}

/// Sizes of text, in points.
pub(crate) mod size {
    /// Axes and notes.
    pub(crate) const SMALL: f32 = 13.0;
    /// Most text.
    pub(crate) const BODY: f32 = 15.0;
    /// Values of tags and titles of advisories.
    pub(crate) const LARGE: f32 = 18.0;
    /// States and names of lines.
    pub(crate) const STATE: f32 = 22.0;
}

/// The font at a size.
pub(crate) fn font(size: f32) -> FontId {
    FontId::proportional(size)
}

/// Sets both themes up; light is the one to begin with unless the context already has a choice.
pub(crate) fn install(ctx: &Context) {
    if ctx.options(|options| options.theme_preference) == egui::ThemePreference::System {
        ctx.set_theme(Theme::Light);
    }
    ctx.options_mut(|options| options.zoom_with_keyboard = false);
    for theme in [Theme::Light, Theme::Dark] {
        let palette = of(theme);
        ctx.style_mut_of(theme, |style| {
            // Nothing on an operator's screen moves unless the line does.
            style.animation_time = 0.0;
            style.scroll_animation = egui::style::ScrollAnimation::none();
            style.interaction.selectable_labels = false;
            style.spacing.item_spacing = egui::vec2(8.0, 4.0);
            style.spacing.button_padding = egui::vec2(8.0, 3.0);
            style.spacing.scroll = egui::style::ScrollStyle::solid();
            style.spacing.scroll.fade.strength = 0.0;
            for (text, points, family) in [
                (TextStyle::Small, size::SMALL, FontFamily::Proportional),
                (TextStyle::Body, size::BODY, FontFamily::Proportional),
                (TextStyle::Button, size::BODY, FontFamily::Proportional),
                (TextStyle::Heading, size::STATE, FontFamily::Proportional),
                (TextStyle::Monospace, size::BODY, FontFamily::Monospace),
            ] {
                style.text_styles.insert(text, FontId::new(points, family));
            }
            let visuals = &mut style.visuals;
            visuals.panel_fill = palette.background;
            visuals.window_fill = palette.panel;
            visuals.window_stroke = Stroke::new(1.0, palette.rule);
            visuals.extreme_bg_color = palette.well;
            visuals.faint_bg_color = palette.panel;
            visuals.override_text_color = None;
            visuals.weak_text_color = Some(palette.weak);
            visuals.selection.bg_fill = palette.selected;
            visuals.selection.stroke = Stroke::new(1.5, palette.text);
            let widget = |fill: Color32, edge: Color32, width: f32| WidgetVisuals {
                bg_fill: fill,
                weak_bg_fill: fill,
                bg_stroke: Stroke::new(width, edge),
                corner_radius: CornerRadius::same(3),
                fg_stroke: Stroke::new(1.0, palette.text),
                expansion: 0.0,
            };
            visuals.widgets.noninteractive = widget(palette.panel, palette.rule, 1.0);
            visuals.widgets.inactive = widget(palette.panel, palette.rule, 1.0);
            visuals.widgets.hovered = widget(palette.selected, palette.weak, 1.0);
            visuals.widgets.active = widget(palette.selected, palette.focus, 2.0);
            visuals.widgets.open = widget(palette.selected, palette.weak, 1.0);
        });
    }
}

/// The zoom that makes a window of `points` (at zoom 1) read like one of 1366x768 or a little roomier: 1 up to that
/// size, 2.5 on a 3840x2160 screen.
pub fn zoom_for(points: Vec2) -> f32 {
    let zoom = (points.x / 1366.0).min(points.y / 864.0).clamp(1.0, 4.0);
    (zoom * 10.0).floor() / 10.0
}
