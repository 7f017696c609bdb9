//! What follows from the cursor's place waits until the cursor rests there: a move is a few bytes and no work.

use super::App;
use std::time::{Duration, Instant};

/// Shorter than a pause of somebody who reads, longer than between two keys of one that is held, or their way over a network.
pub const REST: Duration = Duration::from_millis(100);
const REST_SLOW: Duration = Duration::from_millis(500);

impl App {
    /// On a slow link frames are gathered and nothing spins.
    pub fn set_slow(&mut self, slow: bool) {
        (self.slow, self.remote) = (slow, slow);
        self.rest = if slow { REST_SLOW } else { REST };
    }

    /// The cursor of a list has moved.
    pub(super) fn moved(&mut self) {
        self.moved = Some(Instant::now());
    }
    /// Whether a frame should rather come soon than be whole: over a network, while a list moves.
    pub fn hurries(&self) -> bool {
        self.remote && !self.settled()
    }
    pub fn settled(&self) -> bool {
        self.moved.is_none()
    }
    /// When the cursor will have rested, if it has not.
    pub fn rests_in(&self) -> Option<Duration> {
        self.moved.map(|at| self.rest.saturating_sub(at.elapsed()))
    }
    /// Lets follow what follows, if the cursor has rested.
    pub(super) fn rest(&mut self) {
        if self.rests_in().is_some_and(|left| left.is_zero()) {
            (self.moved, self.fading) = (None, None);
            self.dirty = true;
        }
    }
}
