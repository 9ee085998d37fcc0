//! F3: one line, live.

use egui::Ui;

use crate::{
    answers::Answers,
    panels,
    view::{Command, ViewState},
};

/// Shows the screen in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &mut ViewState, commands: &mut Vec<Command>) {
    panels::show(ui, answers, view, commands);
}
