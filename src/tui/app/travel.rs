//! Going from one thing to another and back: links, addresses, names, and the places that one came by.

use super::{App, Choice, Effect, Focus, Seek};
use crate::address::VirtAddr;
use crate::engine::{Hit, Space, Stretch};
use crate::facts::{Located, Scope, TreeProcess};
use crate::tui::commands::Pane;
use crate::tui::panes::bytes::{Base, BytesView, Fields, Mode, Target, could_be_pointer};
use crate::tui::panes::link::{self, FOREMOST, Link, Named, Place, Reads, Where};
use crate::tui::panes::process_tree::Id;
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;

/// Where one was: enough to be there again.
#[derive(Clone)]
struct Stop {
    focus: Focus,
    process: Vec<Id>,
    all: bool,
    unchosen: bool,
    table: usize,
    row: Option<usize>,
    bytes: Option<BytesView>,
    /// The trail that led there, for the list of places.
    crumbs: String,
}

#[derive(Default)]
pub struct Travels {
    back: Vec<Stop>,
    forward: Vec<Stop>,
    /// One has come here by changing the view, not by a link: the next change of view is part of the same step.
    browsing: bool,
}

/// Steps that are remembered.
const MOST_STOPS: usize = 100;

impl App {
    fn here(&self) -> Stop {
        Stop {
            focus: self.focus,
            process: self.tree.state.selected().to_vec(),
            all: self.all,
            unchosen: self.unchosen,
            table: self.active,
            row: self.tables.get(self.active).and_then(|view| view.selected()),
            bytes: self.bytes.clone(),
            crumbs: self.crumbs().get(1..).unwrap_or_default().join(self.look.symbols.crumb),
        }
    }

    /// To be called before a link is followed.
    pub(super) fn leave(&mut self) {
        let here = self.here();
        self.travels.forward.clear();
        self.travels.back.push(here);
        if self.travels.back.len() > MOST_STOPS {
            self.travels.back.remove(0);
        }
        self.travels.browsing = false;
    }
    /// To be called before the view is changed. Many changes in a row are one step, and going back to where it began undoes it.
    pub(super) fn browse(&mut self, to: Focus, table: usize) {
        let stays = |stop: &Stop| stop.focus == to && stop.bytes.is_none() && (to == Focus::Tree || stop.table == table);
        if self.travels.browsing && self.travels.back.last().is_some_and(stays) {
            self.travels.back.pop();
            self.travels.browsing = false;
        } else if !self.travels.browsing {
            self.leave();
            self.travels.browsing = true;
        }
    }

    /// Goes back (negative) or forward through the places that one has been at.
    pub fn travel(&mut self, steps: isize) {
        self.travels.browsing = false;
        for step in 0..steps.unsigned_abs() {
            let here = self.here();
            let Travels { back, forward, .. } = &mut self.travels;
            let (from, to) = if steps < 0 { (back, forward) } else { (forward, back) };
            match from.pop() {
                Some(stop) => {
                    to.push(here);
                    self.restore(stop);
                }
                None if step == 0 => {
                    let text = if steps < 0 { "this is where you began" } else { "you have not been further" };
                    return self.notice = Some((Role::Dim, text.to_owned()));
                }
                None => return,
            }
        }
    }
    pub(super) fn may_go_back(&self) -> bool {
        !self.travels.back.is_empty()
    }

    fn restore(&mut self, stop: Stop) {
        self.stop_finding();
        self.focus = stop.focus;
        (self.all, self.unchosen) = (stop.all, stop.unchosen);
        self.active = stop.table;
        self.tree.select(stop.process, &self.look);
        self.bytes = stop.bytes;
        if let Some(view) = &mut self.bytes {
            view.resume();
        }
        let scope = self.scope();
        if let Some(view) = self.table() {
            let same = view.machine_only || view.asked == Some(scope);
            match (stop.row, same) {
                (Some(row), true) => view.select(row),
                (row, _) => view.wanted = row,
            }
        }
    }

    /// The places that one has been at, to choose from.
    pub fn ask_travel(&mut self) {
        let (back, forward) = (&self.travels.back, &self.travels.forward);
        let mut all: Vec<(Item, Choice)> = Vec::new();
        let mut add = |crumbs: &str, steps: isize| {
            let keys = match steps {
                0 => "here".to_owned(),
                steps => format!("{steps:+}"),
            };
            all.push((Item { name: crumbs.to_owned(), keys, help: String::new() }, Choice::Travel(steps)));
        };
        for (index, stop) in back.iter().enumerate() {
            add(&stop.crumbs, index as isize - back.len() as isize);
        }
        add(&self.here().crumbs, 0);
        for (index, stop) in forward.iter().rev().enumerate() {
            add(&stop.crumbs, index as isize + 1);
        }
        let here = back.len();
        self.choose("places:", all, here);
    }

    // Links.

    pub(super) fn os(&self) -> crate::facts::Origin {
        self.info.as_ref().map_or(crate::facts::Origin::Linux, |info| info.os)
    }
    fn links(&self) -> Vec<Named> {
        match self.pane() {
            Pane::Tree => {
                let mut tables: Vec<&'static str> =
                    self.tables.iter().filter(|view| !view.machine_only).map(|view| view.entry.table.name).collect();
                foremost(&mut tables);
                let of = |process| link::of_process(process, &self.tree.kin(process), &tables, self.os());
                self.tree.current().map(of).unwrap_or_default()
            }
            _ => {
                let mut links = self.tables.get(self.active).map(|view| view.links()).unwrap_or_default();
                self.find_parent(&mut links);
                links
            }
        }
    }
    /// A PID alone may be another process by now: the tree knows who the parent was, or that it is gone.
    fn find_parent(&self, links: &mut Vec<Named>) {
        let process = links.iter().find_map(|named| match named.link {
            Link::Process { address, pid } if named.name == "process" => self.tree.find(address, pid),
            _ => None,
        });
        let Some(process) = process else { return };
        let parent = self.tree.kin(process).parent;
        links.retain_mut(|named| {
            let Some(parent) = parent.filter(|_| named.name == "parent") else { return named.name != "parent" };
            named.says = format!("{} {}", parent.name, parent.pid);
            named.link = Link::Process { address: parent.address.value().copied(), pid: Some(parent.pid) };
            true
        });
    }
    /// The tables of the process that a row belongs to; that of the row itself shows it already.
    fn links_of_owner(&self) -> Vec<Named> {
        let of = self.links().into_iter().find_map(|named| match named.link {
            Link::Process { address, pid } if named.name == "process" => Some((address, pid)),
            _ => None,
        });
        let Some((process, (address, pid))) = of.and_then(|of| Some((self.tree.find(of.0, of.1)?, of))) else { return Vec::new() };
        let says = format!("of {} {}", process.name, process.pid);
        let mut tables: Vec<&'static str> =
            self.tables.iter().filter(|view| !view.machine_only && view.hunt.is_none()).map(|view| view.entry.table.name).collect();
        foremost(&mut tables);
        let to = |table: &'static str| Link::Row { table, seek: Seek::Address(0), process: Some((address, pid)) };
        tables
            .into_iter()
            .map(|table| Named { name: table.replace('_', " "), says: says.clone(), link: to(table), object: false })
            .collect()
    }
    /// All that the row leads to, to choose from.
    pub fn ask_links(&mut self) {
        let mut links = self.links();
        if self.pane() == Pane::Table {
            links.extend(self.links_of_owner());
        }
        if links.is_empty() {
            return self.no_link();
        }
        let item = |link: &Named| Item { name: link.name.clone(), keys: String::new(), help: self.look.clean(&link.says) };
        let choices = links.iter().map(|link| (item(link), Choice::Link(link.link.clone()))).collect();
        self.choose("open:", choices, 0);
    }
    fn no_link(&mut self) {
        let empty = self.pane() == Pane::Table && self.tables.get(self.active).is_none_or(|view| view.selected().is_none());
        let text = if empty { "no row is selected" } else { "this row has no address to go to; v shows all of it" };
        self.notice = Some((Role::Dim, text.to_owned()));
    }

    pub fn enter(&mut self) {
        match self.pane() {
            Pane::Tree => {
                self.leave();
                self.choose_process();
                self.focus = Focus::Tables;
            }
            Pane::Table => match self.links().into_iter().next() {
                Some(named) => self.follow(named.link),
                None => self.no_link(),
            },
            Pane::Bytes => self.follow_pointer(),
            Pane::Overlay => self.overlay = None,
        }
    }
    /// The kernel's object behind the row.
    pub fn object(&mut self) {
        match self.links().into_iter().find(|link| link.object) {
            Some(named) => self.follow(named.link),
            None if self.pane() == Pane::Tree => self.warn("this process object has no virtual address".to_owned()),
            None => self.no_link(),
        }
    }
    pub fn go_to_process(&mut self) {
        if let Some(view) = self.bytes.as_ref().filter(|_| self.pane() == Pane::Bytes) {
            return match view.space {
                Space::Process(address) => self.follow(Link::Process { address: Some(address), pid: None }),
                Space::Kernel | Space::Physical => self.notice = Some((Role::Dim, "this memory belongs to no process".to_owned())),
            };
        }
        match self.links().into_iter().find(|named| matches!(named.link, Link::Process { .. })) {
            Some(named) => self.follow(named.link),
            None => self.notice = Some((Role::Dim, "this row belongs to no process".to_owned())),
        }
    }

    pub(super) fn follow(&mut self, link: Link) {
        match link {
            Link::Process { address, pid } => match self.tree.find(address, pid).is_some() {
                true => {
                    self.leave();
                    self.tree.reveal(address, pid, &self.look);
                    self.focus = Focus::Tree;
                    self.bytes = None;
                }
                false => self.warn("that process is not in the tree".to_owned()),
            },
            Link::Table(name) => {
                if let Some(table) = self.tables.iter().position(|view| view.entry.table.name == name) {
                    self.leave();
                    self.all = false;
                    self.show_table(table);
                }
            }
            Link::Row { table, seek, process } => self.seek(table, Some(seek).filter(|seek| *seek != Seek::Address(0)), process),
            Link::Bytes(place) => self.open(place),
            Link::File(object) => self.ask_file_folder(object),
        }
    }

    pub(super) fn open(&mut self, place: Place) {
        let Some(space) = self.space_of(place.space) else { return self.warn("the row's process is not in the tree".to_owned()) };
        self.leave();
        // The upper half is the kernel's, whoever looks.
        let last = if matches!(space, Space::Process(_)) { place.last.min(u64::MAX >> 8) } else { place.last };
        let inspects = self.bytes.as_ref().is_some_and(|view| view.inspects);
        let mut view = BytesView::new(space, self.look.clean(&place.what), self.owner(space), place.first, last, place.at);
        view.inspects = inspects;
        match place.reads {
            Reads::Bytes => (),
            Reads::Found(length) => view.found = Some((place.at, length)),
            Reads::Code => view.toggle(Mode::Code),
            Reads::Structure(name) => view.overlay(name),
        }
        self.bytes = Some(view);
        self.focus = Focus::Tables;
    }
    fn space_of(&self, place: Where) -> Option<Space> {
        match place {
            Where::Space(space) => Some(space),
            Where::OfPid(pid) => self.tree.find(None, Some(pid))?.address.value().map(|address| Space::Process(*address)),
        }
    }
    fn owner(&self, space: Space) -> String {
        match space {
            Space::Process(address) => self
                .tree
                .find(Some(address), None)
                .map_or(address.to_string(), |process| format!("{} {}", self.look.clean(&process.name), process.pid)),
            Space::Kernel | Space::Physical => String::new(),
        }
    }

    fn follow_pointer(&mut self) {
        let Some(view) = &mut self.bytes else { return };
        if view.mode == Mode::Fields && view.fields.as_mut().is_some_and(Fields::toggle) {
            return;
        }
        let structure = view.pointee();
        match view.pointer() {
            Some(0) => self.notice = Some((Role::Dim, "this pointer is null".to_owned())),
            Some(at) if !could_be_pointer(at) => self.notice = Some((Role::Dim, format!("{at:#x} is no address that could be followed"))),
            Some(at) => {
                let reads = match structure {
                    Some(name) => Reads::Structure(name),
                    None if view.leads_to_code() => Reads::Code,
                    None => Reads::Bytes,
                };
                self.go_to_address(at, reads);
            }
            None if view.mode == Mode::Code => {
                self.notice = Some((Role::Dim, "this instruction names no address; Enter follows jumps, calls and [address]".to_owned()))
            }
            None => self.warn("no whole pointer here: bytes are missing".to_owned()),
        }
    }

    // Addresses and names.

    pub(super) fn go_to(&mut self, target: Target, typed: &str) {
        let offset = |at: u64| u64::try_from(i128::from(at) + target.plus).ok();
        let outside = "that is outside of the address space".to_owned();
        match target.base {
            Base::Here => match self.bytes.as_ref().map(|view| (view.space, offset(view.cursor))) {
                Some((space, Some(at))) => self.go_to_place(space, at, Reads::Bytes),
                Some((_, None)) => self.warn(outside),
                None => self.warn("+ and - count from the cursor of the bytes; open some first".to_owned()),
            },
            Base::Physical(at) => match offset(at) {
                Some(at) => self.go_to_place(Space::Physical, at, Reads::Bytes),
                None => self.warn(outside),
            },
            Base::Virtual(at) => match offset(at) {
                Some(at) => self.go_to_address(at, Reads::Bytes),
                None => self.warn(outside),
            },
            Base::Number { decimal, address } => match (decimal.filter(|_| target.plus == 0), address.and_then(offset)) {
                (Some(pid), _) if self.tree.find(None, Some(pid)).is_some_and(|process| process.pid == pid) => {
                    self.follow(Link::Process { address: None, pid: Some(pid) })
                }
                (_, Some(at)) => {
                    self.go_to_address(at, Reads::Bytes);
                    self.notice = Some((Role::Text, format!("no process has the ID {typed}: taken for the address {at:#x}")));
                }
                (_, None) => self.warn(format!("{typed} is neither the ID of a process nor an address")),
            },
            Base::Name(name) => {
                if target.plus == 0
                    && let Some(address) = self.tree.named(&name, true)
                {
                    return self.follow(address);
                }
                self.serial = self.serial.wrapping_add(1);
                self.locating = Some((self.serial, name.clone(), target.plus));
                let process = match self.scope() {
                    Scope::Process(address) => Some(address),
                    _ => None,
                };
                self.effects.push(Effect::Locate { serial: self.serial, name, process });
            }
        }
    }

    pub(super) fn located(&mut self, serial: u32, found: Option<Located>) {
        let Some((_, name, plus)) = self.locating.take_if(|(awaited, ..)| *awaited == serial) else { return };
        match found {
            Some(located) => {
                let Some(at) = u64::try_from(i128::from(located.address.0) + plus).ok() else { return };
                let space = match (located.kernel, self.scope()) {
                    (false, Scope::Process(process)) => Space::Process(process),
                    _ => Space::Kernel,
                };
                let what = if plus == 0 { located.name } else { format!("{}{plus:+#x}", located.name) };
                self.open(Place { space: Where::Space(space), first: 0, last: u64::MAX, at, what, reads: Reads::Bytes });
            }
            None => match self.tree.named(&name, false).filter(|_| plus == 0) {
                Some(link) => self.follow(link),
                None => self.warn(format!("no process, symbol, driver or library of this process is called {name}")),
            },
        }
    }

    /// The process that one is at: that of the bytes or of the row, else the one that the tree stands on.
    pub(super) fn process_at_hand(&self) -> Option<&TreeProcess> {
        let of_row = |named: Named| match named.link {
            Link::Process { address, pid } if named.name == "process" => self.tree.find(address, pid),
            _ => None,
        };
        let here = match (self.pane(), self.bytes.as_ref().map(|view| view.space)) {
            (Pane::Table, _) => self.links().into_iter().find_map(of_row),
            (Pane::Bytes, Some(Space::Process(address))) => self.tree.find(Some(address), None),
            _ => None,
        };
        here.or_else(|| self.tree.current())
    }

    fn go_to_address(&mut self, at: u64, reads: Reads) {
        let space = match self.bytes.as_ref().map(|view| view.space) {
            _ if VirtAddr(at).is_kernel() => Space::Kernel,
            Some(space @ (Space::Process(_) | Space::Physical)) => space,
            _ => match self.process_at_hand().and_then(|process| process.address.value()) {
                Some(address) => Space::Process(*address),
                None => Space::Kernel,
            },
        };
        self.go_to_place(space, at, reads);
    }

    fn go_to_place(&mut self, space: Space, at: u64, reads: Reads) {
        self.focus = Focus::Tables;
        let last = match (space, &self.info) {
            (Space::Physical, Some(info)) => {
                info.memory.iter().map(|range| range.end().0).max().map_or(u64::MAX, |end| end.saturating_sub(1))
            }
            _ => u64::MAX,
        };
        if at > last {
            return self.warn(format!("{at:#x} lies behind the last physical page, {last:#x}"));
        }
        // Inside what is shown the cursor moves; beyond it a new view opens. Either way one can return.
        let inside = self.bytes.as_ref().is_some_and(|view| view.space == space && (view.first..=view.last).contains(&at));
        match inside && !matches!(reads, Reads::Structure(_)) {
            true => {
                self.leave();
                if let Some(view) = &mut self.bytes {
                    if !view.bounded() {
                        view.what = format!("{at:#x}");
                    }
                    view.to(at);
                    let mode = if reads == Reads::Code { Mode::Code } else { Mode::Hex };
                    if view.mode != mode {
                        view.toggle(mode);
                    }
                }
            }
            false => self.open(Place { space: Where::Space(space), first: 0, last, at, what: format!("{at:#x}"), reads }),
        }
    }

    // Searching bytes.

    /// Looks for the needle from the cursor on, or behind or before it.
    pub(super) fn find(&mut self, forward: bool, beyond: bool) {
        let Some(view) = &mut self.bytes else { return };
        if let (Mode::Fields, Some(fields)) = (view.mode, &mut view.fields)
            && !view.needle.typed.is_empty()
        {
            return match fields.find(&view.needle.typed, forward, beyond) {
                Some(at) => view.cursor = at,
                None => self.notice = Some((Role::Warning, "no field has that in its name".to_owned())),
            };
        }
        if view.needle.bytes.is_empty() {
            return self.notice = Some((Role::Dim, "nothing to search for; / asks".to_owned()));
        }
        let skip = u64::from(beyond);
        let (first, last) = match forward {
            true => (view.cursor.checked_add(skip).filter(|from| *from <= view.last), Some(view.last)),
            false => (Some(view.first), view.cursor.checked_sub(skip).filter(|to| *to >= view.first)),
        };
        let (Some(first), Some(last)) = (first, last) else {
            let text = if forward { "the end" } else { "the beginning" };
            return self.notice = Some((Role::Dim, text.to_owned()));
        };
        self.serial = self.serial.wrapping_add(1);
        self.finding = Some((self.serial, forward));
        let (stretch, needle) = (Stretch { space: view.space, first, last, forward }, view.needle.bytes.clone());
        self.effects.push(Effect::Find { serial: self.serial, stretch, needle });
    }
    pub(super) fn stop_finding(&mut self) {
        if self.finding.take().is_some() {
            self.effects.push(Effect::StopFinding);
        }
    }
    pub(super) fn found(&mut self, serial: u32, result: Result<Hit, String>) {
        let Some((_, forward)) = self.finding.take_if(|(awaited, _)| *awaited == serial) else { return };
        let Some(view) = &mut self.bytes else { return };
        let typed = &view.needle.typed;
        let way = if forward { "from here to the end; N looks back" } else { "from here back to the beginning; n looks on" };
        match result {
            Ok(Hit::At(at, length)) => {
                view.found = Some((at, length));
                view.to(at);
            }
            Ok(Hit::Nowhere) => {
                let text = format!("\"{typed}\" is not found {way}");
                self.warn(text);
            }
            Ok(Hit::NotBefore(at)) => {
                let text = format!("\"{typed}\" is not found up to {at:#x}; g there and n go on");
                self.warn(text);
            }
            Err(why) => self.warn(why),
        }
    }

    /// Over the gap to memory that is there.
    pub fn next_stretch(&mut self, forward: bool) {
        let Some(view) = &self.bytes else { return };
        self.serial = self.serial.wrapping_add(1);
        self.crossing = Some((self.serial, forward));
        self.effects.push(Effect::Cross { serial: self.serial, space: view.space, at: view.cursor, forward });
    }
    pub(super) fn crossed(&mut self, serial: u32, result: Result<Option<u64>, String>) {
        let Some((_, forward)) = self.crossing.take_if(|(awaited, _)| *awaited == serial) else { return };
        let Some(view) = &mut self.bytes else { return };
        match result {
            Ok(Some(at)) if (view.first..=view.last).contains(&at) => view.to(at),
            Ok(_) => {
                let text = if forward { "no memory behind a gap from here to the end" } else { "no memory before a gap from here back" };
                self.notice = Some((Role::Dim, text.to_owned()));
            }
            Err(why) => self.warn(why),
        }
    }
}

/// What one asks of a process first stands first.
fn foremost(tables: &mut [&'static str]) {
    tables.sort_by_key(|table| FOREMOST.iter().position(|first| first == table).unwrap_or(usize::MAX));
}
