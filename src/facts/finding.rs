use super::cell::{Cell, ToCell};
use super::record::{record, words};
use super::{Kind, Known};
use crate::address::VirtAddr;

/// A reason to suspect or to clear something: what it means, how much it weighs, and what an analyst looks at next.
#[derive(Debug)]
pub struct Rule {
    pub id: &'static str,
    /// Added to the score of 0 to 100; below zero it speaks against.
    pub points: i32,
    pub meaning: &'static str,
    pub next: &'static str,
    /// Of MITRE ATT&CK.
    pub techniques: &'static [&'static str],
}

impl ToCell for Rule {
    const KIND: Kind = Kind::List;
    fn cell(&self) -> Cell<'_> {
        let word = |text: &'static str| Cell::Text(text.into());
        Cell::Object(vec![
            ("id", word(self.id)),
            ("points", Cell::Number(self.points.into())),
            ("techniques", Cell::List(self.techniques.iter().map(|technique| word(technique)).collect())),
            ("meaning", word(self.meaning)),
            ("next", word(self.next)),
        ])
    }
}

/// A rule that applies, with the values that it rests on.
#[derive(Clone, Debug)]
pub struct Indicator {
    pub rule: &'static Rule,
    pub detail: String,
}

impl ToCell for Indicator {
    const KIND: Kind = Kind::List;
    fn cell(&self) -> Cell<'_> {
        Cell::Object(vec![
            ("id", Cell::Text(self.rule.id.into())),
            ("points", Cell::Number(self.rule.points.into())),
            ("detail", Cell::Text(self.detail.as_str().into())),
        ])
    }
}

words! {
    Verdict {
        LikelyInjected = "likely_injected",
        #[default]
        Suspicious = "suspicious",
        LikelyBenign = "likely_benign",
    }
}

words! {
    Subject {
        #[default]
        Process = "process",
        Region = "region",
        Module = "module",
        Hook = "hook",
        Handle = "handle",
        Service = "service",
        Commands = "commands",
        Log = "log",
        File = "file",
    }
}

/// Where a finding's subject is told in full.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub table: &'static str,
    pub address: VirtAddr,
}

impl ToCell for Reference {
    const KIND: Kind = Kind::List;
    fn cell(&self) -> Cell<'_> {
        Cell::Object(vec![("table", Cell::Text(self.table.into())), ("address", self.address.cell())])
    }
}

record! {
    /// What an analyst should look at first, of any kind: the processes with the gravest findings before the others, each with all
    /// that was found about it.
    Finding = "findings" {
        /// 0 to 100.
        score: u8,
        /// process, region, module, hook, handle, service, commands or log.
        kind: Subject,
        /// Process ID.
        pid: Known<u32>,
        /// Name of the process.
        process: Known<String>,
        /// What it is about, in words.
        subject: String,
        /// Rules that apply, with their points and the values they rest on; below zero they speak against.
        indicators: Vec<Indicator>,
        /// What to look at next.
        next: &'static str,
        /// Techniques of MITRE ATT&CK.
        techniques: Vec<&'static str>,
        /// Table and address of the subject.
        reference: Reference,
        /// Address of the process object.
        process_address: Known<VirtAddr>,
    }
}
