//! A line of bars, each as high as its count.

use super::put;
use crate::tui::theme::{Look, Role};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Draws a bar for each count, the highest full. By logarithm: what is rare stays in sight beside what is frequent.
pub fn bars(buffer: &mut Buffer, area: Rect, counts: &[usize], marked: Option<usize>, look: &Look) {
    let signs = look.symbols.bars;
    let scale = |count: usize| (count as f64 + 1.0).log2();
    let most = scale(counts.iter().max().copied().unwrap_or(0));
    for (index, (count, x)) in counts.iter().zip(area.left()..area.right()).enumerate() {
        let height = if *count == 0 || most <= 0.0 { 0.0 } else { scale(*count) / most * signs.len() as f64 };
        let sign = (height.ceil() as usize).checked_sub(1).and_then(|height| signs.get(height.min(signs.len() - 1)));
        let role = if marked == Some(index) { Role::Focus } else { Role::Text };
        let sign = sign.copied().unwrap_or(if marked == Some(index) { signs[0] } else { " " });
        put(buffer, x, area.y, sign, 1, look.style(role));
    }
}
