//! Evidence gathered about one subject.

use crate::facts::{Indicator, Rule, Verdict};

#[derive(Default)]
pub struct Case {
    pub indicators: Vec<Indicator>,
}

impl Case {
    pub fn add(&mut self, rule: &'static Rule, detail: impl Into<String>) {
        self.indicators.push(Indicator { rule, detail: detail.into() });
    }
    pub fn is_empty(&self) -> bool {
        self.indicators.is_empty()
    }
    pub fn score(&self) -> u8 {
        self.indicators.iter().map(|indicator| indicator.rule.points).sum::<i32>().clamp(0, 100) as u8
    }
    pub fn verdict(&self) -> Verdict {
        match self.score() {
            75.. => Verdict::LikelyInjected,
            30.. => Verdict::Suspicious,
            _ => Verdict::LikelyBenign,
        }
    }
}
