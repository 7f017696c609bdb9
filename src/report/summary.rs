//! What an analyst wants to know of an image first, on one page.

use super::text::{grid, shown};
use crate::engine::{Error, Session, find_table};
use crate::facts::text::{printable, size};
use crate::facts::{Answer, Cell, Finding, Indicator, Known, Module, Process, ProcessState, Record, Scope, Socket, State, ToCell, Watch};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

/// Rows of one kind that are shown; the tables hold them all.
const MOST: usize = 40;

/// Writes the summary. What is asked for while `watch` is cancelled is left out; the caller tells that.
pub fn write_summary(session: &Session, watch: &Arc<Watch>, to: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::new(to);
    system(session, &mut out)?;
    section(session, watch, "Findings", findings, &mut out)?;
    section(session, watch, "Processes", processes, &mut out)?;
    section(session, watch, "Sockets", sockets, &mut out)?;
    section(session, watch, "Kernel modules", modules, &mut out)?;
    let info = session.info();
    if !info.warnings.is_empty() {
        writeln!(out, "\nWarnings")?;
        for warning in &info.warnings {
            writeln!(out, "  {}", printable(warning))?;
        }
    }
    out.flush()
}

fn system(session: &Session, out: &mut impl Write) -> io::Result<()> {
    let info = session.info();
    let known = |cell: Cell<'_>| shown(&cell).into_owned();
    let passed = info.checks.iter().filter(|check| check.passed).count();
    writeln!(out, "{}: {}, {}\n", printable(session.name()), printable(&info.format), size(info.size))?;
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    let lines = [
        line("system", format!("{} {}", info.os.name(), info.architecture)),
        line("kernel", info.kernel.clone()),
        line("host", known(info.hostname.cell())),
        line("booted", known(info.boot_time.cell())),
        line("captured", known(info.capture_time.cell())),
        line("symbols", format!("{}; {passed} of {} checks passed", info.symbol_source, info.checks.len())),
    ];
    grid("", &lines, out)
}

/// The rest of a section's head line, and what is listed below it.
type Section = (String, Vec<Item>);

/// A line of columns, and lines of plain text that belong to it.
struct Item {
    columns: Vec<String>,
    reasons: Vec<String>,
}

impl From<Vec<String>> for Item {
    fn from(columns: Vec<String>) -> Self {
        Self { columns, reasons: Vec::new() }
    }
}

/// A section that cannot be had says why; the others still come.
fn section<T: Record + Clone>(
    session: &Session,
    watch: &Arc<Watch>,
    title: &str,
    tell: impl Fn(&Answer<T>) -> Section,
    out: &mut impl Write,
) -> io::Result<()> {
    use crate::facts::Rows as _;
    if watch.cancelled() {
        return Ok(());
    }
    if !session.tables().any(|entry| entry.table.name == T::TABLE.name) {
        return writeln!(out, "\n{title}: not read from {} images yet", session.info().os.name());
    }
    let answer = match ask::<T>(session, watch) {
        Ok(answer) => answer,
        Err(why) => return writeln!(out, "\n{title}: {}", printable(&why.0)),
    };
    let (head, mut items) = tell(&answer);
    writeln!(out, "\n{title}: {head}")?;
    let more = items.len().saturating_sub(MOST);
    items.truncate(MOST);
    let reason = |reason| vec![format!("      {reason}")];
    let lines = items.into_iter().flat_map(|item| std::iter::once(item.columns).chain(item.reasons.into_iter().map(reason)));
    grid("  ", &lines.collect::<Vec<_>>(), out)?;
    if more > 0 {
        writeln!(out, "  and {more} more: kioku query IMAGE {}", answer.table().name)?;
    }
    if answer.state() == State::Cut {
        writeln!(out, "  This could not be finished.")?;
    }
    answer.notes().iter().try_for_each(|note| writeln!(out, "  Note: {}", printable(note)))
}

fn ask<T: Record + Clone>(session: &Session, watch: &Arc<Watch>) -> Result<Answer<T>, Error> {
    let missing = || Error(format!("{} has no rows of this kind", T::TABLE.name));
    let rows = session.query(find_table(T::TABLE.name).ok_or_else(missing)?, Scope::Machine, watch)?;
    rows.as_any().downcast_ref::<Answer<T>>().cloned().ok_or_else(missing)
}

fn text<T: ToCell>(value: &T) -> String {
    shown(&value.cell()).into_owned()
}

/// How many there are of each kind, in the order of kinds: `12 running, 2 hidden`.
fn counts<K: Ord>(kinds: impl Iterator<Item = K>, word: impl Fn(&K) -> &'static str) -> String {
    let mut counts = BTreeMap::<K, usize>::new();
    kinds.for_each(|kind| *counts.entry(kind).or_default() += 1);
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {}", word(kind).replace('_', " "))).collect();
    if counts.is_empty() { "none found".to_owned() } else { counts.join(", ") }
}

fn processes(answer: &Answer<Process>) -> Section {
    let head = counts(answer.iter().map(|process| process.state), |state| state.word());
    let mut odd: Vec<_> = answer.iter().filter(|process| process.state != ProcessState::Running).collect();
    let rank = |state| match state {
        ProcessState::Hidden => 0,
        ProcessState::Exited => 1,
        ProcessState::Zombie | ProcessState::Running => 2,
    };
    odd.sort_by_key(|process| (rank(process.state), process.pid));
    let line = |process: &&Process| {
        let place = process.address.value().map_or_else(|| text(&process.physical_address), ToString::to_string);
        let seen = format!("seen by {}", text(&process.sources).replace('_', " "));
        vec![process.state.word().to_owned(), process.pid.to_string(), process.name.clone(), place, seen].into()
    };
    (head, odd.iter().map(line).collect())
}

fn sockets(answer: &Answer<Socket>) -> Section {
    let is = |socket: &Socket, wanted: &str| socket.state.value().is_some_and(|state| state == wanted);
    let network = |socket: &&Socket| socket.protocol.starts_with("TCP") || socket.protocol.starts_with("UDP");
    let listening = answer.iter().filter(network).filter(|socket| is(socket, "LISTEN"));
    let established = answer.iter().filter(network).filter(|socket| is(socket, "ESTABLISHED"));
    let picked: Vec<_> = established.chain(listening).collect();
    let of = |wanted| picked.iter().filter(|socket| is(socket, wanted)).count();
    let all = answer.iter().count();
    let head = format!("{} established, {} listening, {all} of all kinds", of("ESTABLISHED"), of("LISTEN"));
    let line = |socket: &&Socket| {
        let remote = if is(socket, "LISTEN") { String::new() } else { place(&socket.remote_address, &socket.remote_port) };
        let owner = format!("{} {}", text(&socket.process), text(&socket.pid));
        vec![text(&socket.state), socket.protocol.clone(), place(&socket.local_address, &socket.local_port), remote, owner].into()
    };
    (head, picked.iter().map(line).collect())
}

fn place(address: &Known<String>, port: &Known<u16>) -> String {
    let address = text(address);
    if address.contains(':') { format!("[{address}]:{}", text(port)) } else { format!("{address}:{}", text(port)) }
}

/// From here on a finding is worth a line of the page.
const WORTH: u8 = 30;

fn findings(answer: &Answer<Finding>) -> Section {
    let (shown, others): (Vec<_>, Vec<_>) = answer.iter().partition(|finding| finding.score >= WORTH);
    let head = match (shown.len(), others.len()) {
        (0, 0) => "none".to_owned(),
        (shown, 0) => format!("{shown}, the gravest first"),
        (shown, others) => format!("{shown}, the gravest first; {others} of less than {WORTH} points are left out"),
    };
    let item = |finding: &&Finding| {
        let columns = vec![finding.score.to_string(), finding.kind.word().to_owned(), finding.subject.clone()];
        let reason = |reason: &Indicator| format!("{:+} {}: {}", reason.rule.points, reason.rule.id, reason.detail);
        let next = (!finding.next.is_empty()).then(|| format!("next: {}", finding.next));
        Item { columns, reasons: finding.indicators.iter().map(reason).chain(next).collect() }
    };
    (head, shown.iter().map(item).collect())
}

fn modules(answer: &Answer<Module>) -> Section {
    let head = counts(answer.iter().map(|module| std::cmp::Reverse(module.state)), |state| state.0);
    let odd = answer.iter().filter(|module| module.state == "hidden");
    let line = |module: &Module| {
        let seen = format!("seen by {}", text(&module.sources).replace('_', " "));
        vec![module.state.to_owned(), text(&module.name), text(&module.base), text(&module.size), seen].into()
    };
    (head, odd.map(line).collect())
}
