//! How a model's training went.

use plotters::prelude::*;

use crate::canvas::{
    FAINT, FRAME, FigureError, GRID, INK, LETTER_PIXELS, PAPER, POINTS_MAX, axis_number, extent, letters, pieces,
};

const SIZE: (u32, u32) = (640, 320);

/// The loss over the epochs, on the data that was trained on and on held-back data, as SVG.
///
/// `losses` has one pair an epoch: training, held back. A value that is not finite leaves a gap. The epoch with the
/// lowest loss on held-back data is marked, since that one is kept.
///
/// # Errors
/// Without a finite loss, or beyond [`POINTS_MAX`] epochs.
pub fn training_curves(losses: &[(f32, f32)]) -> Result<String, FigureError> {
    if losses.len() > POINTS_MAX {
        let (what, count) = ("the training".to_owned(), losses.len());
        return Err(FigureError::TooMany { what, things: "epochs", count, count_max: POINTS_MAX });
    }
    let all = losses.iter().flat_map(|(train, held_back)| [f64::from(*train), f64::from(*held_back)]);
    let (low, high) = extent(all).ok_or(FigureError::Empty("no epoch has a loss"))?;
    let epochs_end = losses.len() as f64 + 0.5;

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&PAPER)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(14)
            .x_label_area_size(34)
            .y_label_area_size(56)
            .build_cartesian_2d(0.5..epochs_end, low..high)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(FRAME)
            .label_style(letters(LETTER_PIXELS, INK))
            .x_desc("epoch")
            .y_desc("loss")
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .y_label_formatter(&|loss| axis_number(*loss))
            .draw()?;
        let train = |(epoch, loss): (usize, &(f32, f32))| (epoch as f64 + 1.0, f64::from(loss.0));
        let held_back = |(epoch, loss): (usize, &(f32, f32))| (epoch as f64 + 1.0, f64::from(loss.1));
        for (name, colour, line) in [
            ("training", FAINT, pieces(losses.iter().enumerate().map(train), 1.5)),
            ("held back", INK, pieces(losses.iter().enumerate().map(held_back), 1.5)),
        ] {
            for piece in &line {
                if let [point] = piece[..] {
                    chart.draw_series([Circle::new(point, 2, colour.filled())])?;
                }
                chart.draw_series([PathElement::new(piece.clone(), colour.stroke_width(2))])?;
            }
            if let Some(last) = line.last().and_then(|piece| piece.last()) {
                let end = chart.backend_coord(last);
                let width = name.len() as i32 * 7;
                root.draw_text(name, &letters(LETTER_PIXELS, colour), (end.0 - width, end.1 - 16))?;
            }
        }
        let finite = losses.iter().enumerate().filter(|(_, loss)| loss.1.is_finite());
        if let Some((best, loss)) = finite.min_by(|a, b| a.1.1.total_cmp(&b.1.1)) {
            let at = (best as f64 + 1.0, f64::from(loss.1));
            chart.draw_series([Circle::new(at, 4, INK.stroke_width(1))])?;
            let (x, y) = chart.backend_coord(&at);
            root.draw_text(&format!("kept: {}", best + 1), &letters(LETTER_PIXELS, INK), (x - 24, y + 8))?;
        }
        root.present()?;
    }
    Ok(svg)
}
