//! A picture of the real window, taken from the X server.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::outcome::{Doing, Outcome};

/// A window that shows anything has more colours than this: text alone, with its soft edges, has dozens.
const COLOURS_MIN: usize = 64;
/// The most common colour covers less than this share of a window that shows anything.
const BACKGROUND_SHARE_MAX: f64 = 0.97;

/// Writes what the window with the title `title` on the X server `display` shows to `png`; the whole screen where no
/// window has that title.
///
/// # Errors
/// When no picture can be taken, or it is blank.
pub(crate) fn take(display: &str, title: &str, png: &Path) -> Outcome {
    let raw = png.with_extension("rgb");
    let mut command = Command::new("gst-launch-1.0");
    command.args(["--quiet", "ximagesrc", "num-buffers=1", "use-damage=false", "show-pointer=false"]);
    command.arg(format!("display-name={display}")).arg(format!("xname={title}"));
    command.args(["!", "videoconvert", "!", "video/x-raw,format=RGB", "!", "tee", "name=both"]);
    command.args(["both.", "!", "queue", "!", "pngenc", "!", "filesink"]).arg(location(png)?);
    command.args(["both.", "!", "queue", "!", "filesink"]).arg(location(&raw)?);
    let output = command.stdin(Stdio::null()).output().could_not("run gst-launch-1.0")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("could not take a picture of the window {title}: {}", reason.trim()));
    }
    let pixels = std::fs::read(&raw).could_not(format_args!("read {}", raw.display()))?;
    std::fs::remove_file(&raw).could_not(format_args!("remove {}", raw.display()))?;
    match blank_reason(&pixels) {
        None => Ok(()),
        Some(reason) => Err(format!("the picture of the window {title} is blank: {reason}")),
    }
}

fn location(file: &Path) -> Outcome<String> {
    let text = file.to_str().ok_or_else(|| format!("{} is no text that a pipeline can hold", file.display()))?;
    Ok(format!("location={text}"))
}

/// Why the picture of `pixels` (3 bytes each) shows nothing, if so.
fn blank_reason(pixels: &[u8]) -> Option<String> {
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    for pixel in pixels.chunks_exact(3) {
        *counts.entry(pixel).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0) as f64 / (pixels.len() / 3).max(1) as f64;
    if counts.len() < COLOURS_MIN {
        Some(format!("it has {} colours", counts.len()))
    } else if most > BACKGROUND_SHARE_MAX {
        Some(format!("one colour covers {:.1} % of it", most * 100.0))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_one_colour_is_blank() {
        assert!(blank_reason(&[200; 3000]).unwrap().contains("1 colours"));
        assert!(blank_reason(&[]).is_some());
    }

    #[test]
    fn a_few_specks_on_a_background_are_blank() {
        let mut pixels = vec![200; 300_000];
        for (speck, pixel) in pixels.chunks_exact_mut(3).take(100).enumerate() {
            pixel[0] = u8::try_from(speck).unwrap();
        }
        assert!(blank_reason(&pixels).unwrap().contains("99."));
    }

    #[test]
    fn a_picture_with_something_in_it_is_not_blank() {
        let pixels: Vec<u8> = (0..30_000_u32).map(|index| (index / 3 % 251) as u8).collect();
        assert_eq!(blank_reason(&pixels), None);
    }
}
