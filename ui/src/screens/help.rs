//! F1: every key, from the one table.

use egui::{Frame, Grid, Id, Margin, Modal, RichText, Stroke, Ui};

use crate::{
    keys::{BINDINGS, Scope},
    theme::{self, size},
};

/// Shows the list over everything. Returns whether it is to be closed.
pub(crate) fn show(ui: &Ui) -> bool {
    let palette = theme::palette(ui.ctx());
    let frame = Frame::new()
        .fill(palette.panel)
        .stroke(Stroke::new(2.0, palette.weak))
        .corner_radius(4)
        .inner_margin(Margin::symmetric(24, 14));
    let modal = Modal::new(Id::unique("help")).frame(frame).show(ui.ctx(), |ui| {
        ui.label(RichText::new("Keys").size(size::STATE));
        ui.horizontal_top(|ui| {
            ui.vertical(|ui| {
                for scope in [Scope::Everywhere, Scope::Overview] {
                    list(ui, scope);
                }
            });
            ui.add_space(24.0);
            ui.vertical(|ui| list(ui, Scope::Panels));
            ui.add_space(24.0);
            ui.vertical(|ui| list(ui, Scope::Review));
        });
        ui.add_space(6.0);
        ui.label(
            RichText::new("Tab moves the focus, Enter or Space presses what has it. No key acknowledges anything.")
                .color(palette.weak),
        );
    });
    modal.should_close()
}

fn list(ui: &mut Ui, scope: Scope) {
    let palette = theme::palette(ui.ctx());
    ui.add_space(6.0);
    ui.label(RichText::new(scope.title()).size(size::LARGE));
    Grid::new(scope.title()).num_columns(2).spacing([14.0, 3.0]).show(ui, |ui| {
        for binding in BINDINGS.iter().filter(|binding| binding.scope == scope && !binding.description.is_empty()) {
            let keys: Vec<String> = BINDINGS
                .iter()
                .filter(|other| other.scope == scope && other.action == binding.action)
                .map(crate::keys::Binding::label)
                .collect();
            ui.label(RichText::new(keys.join("  ")).color(palette.text));
            ui.label(RichText::new(binding.description).color(palette.weak));
            ui.end_row();
        }
    });
}
