//! On connections on which each byte costs, what follows from the cursor's place waits until the cursor rests there.

use super::App;
use crate::tui::commands::Pane;
use crate::tui::wire::Speed;
use std::time::{Duration, Instant};

/// Columns of the selected row that are marked where marking all of it would cost.
const SHORT_BAR: u16 = 32;

impl App {
    pub fn set_speed(&mut self, speed: Speed) {
        self.speed = speed;
        (self.look.bar, self.look.leaps) = match speed {
            Speed::Local => (u16::MAX, false),
            Speed::Remote | Speed::Slow => (SHORT_BAR, true),
        };
    }

    /// The cursor of a list has moved.
    pub(super) fn moved(&mut self) {
        if self.speed != Speed::Local && matches!(self.pane(), Pane::Tree | Pane::Table) {
            self.moved = Some(Instant::now());
        }
    }
    pub fn settled(&self) -> bool {
        self.moved.is_none()
    }
    /// When the cursor will have rested, if it has not.
    pub fn rests_in(&self) -> Option<Duration> {
        let rest = Duration::from_millis(if self.speed == Speed::Slow { 500 } else { 120 });
        self.moved.map(|at| rest.saturating_sub(at.elapsed()))
    }
    /// Lets follow what follows, if the cursor has rested.
    pub(super) fn rest(&mut self) {
        if self.rests_in().is_some_and(|left| left.is_zero()) {
            self.moved = None;
            self.dirty = true;
        }
    }
}
