//! THE table: what can be done, where, with which key. Key bar, help, manual, palette and dispatch all read it, through the keymap.

use super::app::{Aim, App};
use super::panes::bytes::Mode;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub code: KeyCode,
    pub control: bool,
}

const fn key(code: KeyCode) -> Key {
    Key { code, control: false }
}
const fn char(c: char) -> Key {
    key(KeyCode::Char(c))
}
const fn control(c: char) -> Key {
    Key { code: KeyCode::Char(c), control: true }
}

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Self {
        Self { code: event.code, control: event.modifiers.contains(KeyModifiers::CONTROL) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            KeyCode::Char(c) if self.control => write!(f, "^{}", c.to_ascii_uppercase()),
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::Up => f.write_str("Up"),
            KeyCode::Down => f.write_str("Down"),
            KeyCode::Left => f.write_str("Left"),
            KeyCode::Right => f.write_str("Right"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::F(number) => write!(f, "F{number}"),
            code => write!(f, "{code:?}"),
        }
    }
}

/// What has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Tree,
    Table,
    Bytes,
    Overlay,
}

impl Pane {
    pub const ALL: [Self; 4] = [Self::Tree, Self::Table, Self::Bytes, Self::Overlay];

    /// Its section in a keymap.
    pub fn section(self) -> &'static str {
        match self {
            Self::Tree => "in-tree",
            Self::Table => "in-tables",
            Self::Bytes => "in-bytes",
            Self::Overlay => "in-texts",
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "Process tree",
            Self::Table => "Tables",
            Self::Bytes => "Bytes",
            Self::Overlay => "Text",
        }
    }
}

const TREE: &[Pane] = &[Pane::Tree];
const TABLE: &[Pane] = &[Pane::Table];
const BYTES: &[Pane] = &[Pane::Bytes];
const LISTS: &[Pane] = &[Pane::Tree, Pane::Table];
const OWNED: &[Pane] = &[Pane::Table, Pane::Bytes];
const VIEWS: &[Pane] = &[Pane::Tree, Pane::Table, Pane::Bytes];
const ALL: &[Pane] = &[Pane::Tree, Pane::Table, Pane::Bytes, Pane::Overlay];

pub struct Command {
    /// Its name for the palette and the manual.
    pub name: &'static str,
    pub keys: &'static [Key],
    pub help: &'static str,
    /// Its word on the key bar, and its place there: the highest first, 0 not at all.
    pub bar: (&'static str, u8),
    pub panes: &'static [Pane],
    pub run: fn(&mut App, Key),
    /// What can be typed behind its name.
    pub takes: Option<&'static Takes>,
}

/// An argument of a command: what it is called, and what to do with it.
pub struct Takes {
    pub what: &'static str,
    pub run: fn(&mut App, &str),
}

macro_rules! command {
    ($panes:ident $name:literal [$($key:expr),+] ($word:literal, $bar:literal) $help:literal => $run:expr) => {
        Command { name: $name, keys: &[$($key),+], help: $help, bar: ($word, $bar), panes: $panes, run: $run, takes: None }
    };
    // One that takes what is typed behind it; run by a key or by its name alone it is handed nothing.
    ($panes:ident $name:literal $what:literal [$($key:expr),*] ($word:literal, $bar:literal) $help:literal => $run:expr) => {
        Command {
            name: $name,
            keys: &[$($key),*],
            help: $help,
            bar: ($word, $bar),
            panes: $panes,
            run: |app, _| $run(app, ""),
            takes: Some(&Takes { what: $what, run: $run }),
        }
    };
}

use KeyCode::{BackTab, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up};

pub static COMMANDS: &[Command] = &[
    command!(TREE "enter" [key(Enter)] ("go in", 90) "look at the selected process in the tables" => |app, _| app.enter()),
    command!(TABLE "enter" [key(Enter)] ("follow", 90) "go to what the row is about: bytes of a region, code of a thread, process of a socket" => |app, _| app.enter()),
    command!(BYTES "enter" [key(Enter)] ("follow", 82) "follow the pointer, jump or call under the cursor" => |app, _| app.enter()),
    command!(VIEWS "back" [key(Esc)] ("back", 80) "one step out: clear search or filter, then to where you came from" => |app, _| app.back()),
    command!(VIEWS "previous-place" [char('[')] ("", 0) "back to the place before" => |app, _| app.travel(-1)),
    command!(VIEWS "next-place" [char(']')] ("", 0) "forward again" => |app, _| app.travel(1)),
    command!(VIEWS "places" [char('J')] ("places", 11) "all places you came by, to choose from" => |app, _| app.ask_travel()),
    command!(LISTS "links" [char('o')] ("open", 65) "everything the row leads to, to choose from" => |app, _| app.ask_links()),
    command!(BYTES "code" [char('d')] ("code", 68) "the bytes as instructions, or as bytes again" => |app, _| app.read_as(Mode::Code)),
    command!(BYTES "strings" [char('s')] ("strings", 66) "the texts from here on, in ASCII and UTF-16" => |app, _| app.read_as(Mode::Texts)),
    command!(BYTES "structure" [char('o')] ("structure", 64) "the fields of the structure that begins here; O asks for another one" => |app, _| app.read_as(Mode::Fields)),
    command!(BYTES "overlay" [char('O')] ("", 0) "label the bytes from the cursor on with a structure: _EPROCESS, task_struct" => |app, _| app.ask_structure()),
    command!(BYTES "select" [char('V')] ("select", 38) "begin a selection here, or drop it; moving stretches it" => |app, _| app.select_bytes()),
    command!(BYTES "copy-value" [char('y')] ("copy", 37) "copy the selected bytes, or the region's: as hex, YARA, C, Rust, Python, base64 or text" => |app, _| app.ask_copy_bytes()),
    command!(BYTES "export" [char('e')] ("write", 36) "write the selected bytes, or the region's, to a new file" => |app, _| app.ask_bytes_path()),
    command!(BYTES "same-bytes" [char('=')] ("elsewhere", 67) "search all memory for the bytes from the cursor on, or the selected ones: which other processes have them?"
        => |app, _| app.same_bytes()),
    command!(BYTES "inspect" [char('v')] ("values", 62) "everything the bytes under the cursor can mean" => |app, _| app.inspect()),
    command!(BYTES "next-memory" [char('}')] ("", 0) "over the gap, to the next memory that is there" => |app, _| app.next_stretch(true)),
    command!(BYTES "previous-memory" [char('{')] ("", 0) "over the gap, to the memory before" => |app, _| app.next_stretch(false)),
    command!(VIEWS "next-view" [key(Tab)] ("views", 70) "next view: the tree, then each table" => |app, _| app.next_view(true)),
    command!(VIEWS "previous-view" [key(BackTab)] ("", 0) "previous view" => |app, _| app.next_view(false)),
    command!(VIEWS "view" [char('1'), char('2'), char('3'), char('4'), char('5'), char('6'), char('7'), char('8'), char('9')] ("", 0)
        "the table of that number; : finds the others by name" => |app, key| app.view_of(key)),
    command!(VIEWS "tree" [char('0')] ("", 0) "the process tree" => |app, _| app.focus_tree()),
    command!(VIEWS "help" [char('?'), key(F(1))] ("help", 100) "all keys, those of this pane first" => |app, _| app.help()),
    command!(LISTS "search" [char('/')] ("search", 60) "search as you type" => |app, _| app.ask_search()),
    command!(BYTES "search" [char('/')] ("search", 70) "search for a text in ASCII or UTF-16 (u: and a: for one of them), or for bytes: 4c 8b dc" => |app, _| app.ask_search()),
    command!(VIEWS "next-match" [char('n')] ("", 0) "next match" => |app, _| app.next_match(true)),
    command!(VIEWS "previous-match" [char('N')] ("", 0) "previous match" => |app, _| app.next_match(false)),
    command!(LISTS "filter" "FILTER" [char('f')] ("filter", 50) "show only rows with these words; !not, ~like, /regex/, \"two words\", columns by their beginning: port:443 pid>4 state=x score>=50"
        => |app: &mut App, typed: &str| app.filter_by(typed)),
    command!(TABLE "sort" [char('s')] ("sort", 40) "sort by the next column, after the last not at all" => |app, _| app.sort()),
    command!(TREE "sort" [char('s')] ("sort", 42) "tree, or a list by PID, name, start, threads, score, user or sockets" => |app, _| app.ask_order()),
    command!(TREE "columns" [char('C')] ("columns", 14) "show or hide columns of the tree: score, start, user, session, threads, sockets, command line"
        => |app, _| app.ask_columns()),
    command!(LISTS "invert" [char('I')] ("", 0) "invert the sorting" => |app, _| app.invert()),
    command!(TABLE "noise" "FILTER" [char('H')] ("", 0) "show or hide what machines do by themselves: loopback, multicast, your own rules; a filter makes a rule of this case"
        => |app: &mut App, typed: &str| app.noise(typed)),
    command!(TABLE "closer" [char('+')] ("", 0) "timeline and events: the day of the selected row, then its hour, minute, second" => |app, _| app.zoom_time(true)),
    command!(TABLE "wider" [char('-')] ("", 0) "timeline and events: the hour around the minute, and so on to all times" => |app, _| app.zoom_time(false)),
    command!(TABLE "later" [char('}')] ("", 0) "timeline and events: the next day, hour, minute or second that has rows" => |app, _| app.slide_time(true)),
    command!(TABLE "earlier" [char('{')] ("", 0) "timeline and events: the one before" => |app, _| app.slide_time(false)),
    command!(VIEWS "all" [char('a')] ("all/this", 30) "tables of all processes, or of the selected one" => |app, _| app.toggle_all()),
    command!(OWNED "process" [char('p')] ("process", 35) "select the process of the row, or of the memory, in the tree" => |app, _| app.go_to_process()),
    command!(LISTS "record" [char('v')] ("record", 20) "the whole row, every field and problem" => |app, _| app.record()),
    command!(LISTS "export" [char('e')] ("export", 22) "write the rows to a new file: CSV, JSON, JSON Lines or Markdown" => |app, _| app.ask_export()),
    command!(LISTS "copy-value" [char('y')] ("copy", 18) "copy a value of the row to the clipboard, through the terminal (OSC 52)" => |app, _| app.ask_copy()),
    command!(LISTS "copy-row" [char('Y')] ("", 0) "copy the whole row" => |app, _| app.copy_row()),
    command!(LISTS "object" [char('x')] ("object", 10) "the bytes of the kernel's object behind the row" => |app, _| app.object()),
    command!(TREE "mark" [char('m')] ("mark", 34) "bookmark the process, or take the mark away" => |app, _| app.mark()),
    command!(OWNED "mark" [char('m'), char(' ')] ("mark", 34) "bookmark the row or the place in memory, or take the mark away" => |app, _| app.mark()),
    command!(VIEWS "comment" [char('c')] ("comment", 33) "write a comment on the row, the process or the place; an empty one takes it away" => |app, _| app.ask_comment()),
    command!(VIEWS "tags" [char('t')] ("", 0) "tags of the row, the process or the place: words with blanks between them" => |app, _| app.ask_tags()),
    command!(LISTS "judge" [char('V')] ("judge", 17) "hold a finding, or any row, for confirmed or for benign" => |app, _| app.ask_judgement()),
    command!(VIEWS "notes" [char('\'')] ("notes", 16) "all bookmarks, comments, tags and judgements; Enter leads back to what they are about" => |app, _| app.ask_notes()),
    command!(VIEWS "report" [char('R')] ("report", 8) "write a report as Markdown and HTML: findings, notes, tables, audit trail" => |app, _| app.ask_report()),
    command!(VIEWS "audit" [char('A')] ("", 0) "what was done with the image, with times: to read, or to export" => |app, _| app.ask_audit()),
    command!(VIEWS "goto" "PLACE" [char('g')] ("go to", 45) "go to an address (0x...+n, p:0x... physical, +n from here), symbol, driver, library, PID or process name; g again goes to the top" => |app: &mut App, typed: &str| app.go(typed)),
    command!(VIEWS "command" [char(':')] ("command", 61) "a command or a table by its name, or by what resembles it" => |app, _| app.ask_command()),
    command!(VIEWS "search-memory" "TEXT" [char('S')] ("memory", 44) "search physical memory, this process or the kernel for text, hex:4d5a90?? or re:EXPRESSION; hits with their owners are a table"
        => |app: &mut App, typed: &str| app.ask_hunt(Aim::Pattern, typed)),
    command!(VIEWS "yara" "PATH" [] ("", 0) "search memory with YARA rules, of a file or a folder" => |app: &mut App, typed: &str| app.ask_hunt(Aim::Rules, typed)),
    command!(VIEWS "strings-memory" "TEXT" [] ("", 0) "all strings of memory in ASCII and UTF-16 with their owners, or those that contain a text"
        => |app: &mut App, typed: &str| app.ask_hunt(Aim::Strings, typed)),
    command!(VIEWS "ran" [char('r')] ("what ran", 28) "what was run, in order: programs started and commands typed, of the whole machine"
        => |app, _| app.show_what_ran()),
    command!(VIEWS "zoom" [char('z')] ("zoom", 25) "give the pane the whole screen, or take it back" => |app, _| app.zoom()),
    command!(VIEWS "tutor" "STEP" [char('T')] ("", 0) "a guided tour: begin it, put it away, go on; a number goes to that step" => |app: &mut App, typed: &str| app.tutor(typed)),
    command!(ALL "tutor-next" [char('>')] ("", 0) "the next step of the tour" => |app, _| app.skip_step()),
    command!(VIEWS "jobs" [char('w')] ("jobs", 13) "what is running, how far and how fast; Enter there cancels it" => |app, _| app.ask_work()),
    command!(VIEWS "info" [char('i')] ("image", 15) "what the image is, how sure that is, and what this view says about itself" => |app, _| app.info()),
    command!(TREE "open" [key(Right), char('l'), char('+')] ("", 0) "open the process, or step in" => |app, _| app.open_node()),
    command!(TREE "close" [key(Left), char('h'), char('-')] ("", 0) "fold the process, or step out" => |app, _| app.close_node()),
    command!(TREE "fold" [char(' ')] ("fold", 40) "fold or open the process" => |app, _| app.toggle_node()),
    command!(TREE "subtree" [char('*')] ("", 0) "fold or open everything below" => |app, _| app.toggle_subtree()),
    command!(TABLE "left" [key(Left), char('h')] ("", 0) "previous table" => |app, _| app.next_table(false)),
    command!(TABLE "right" [key(Right), char('l')] ("", 0) "next table" => |app, _| app.next_table(true)),
    command!(BYTES "left" [key(Left), char('h')] ("", 0) "one byte back" => |app, _| app.by_bytes(-1)),
    command!(BYTES "right" [key(Right), char('l')] ("", 0) "one byte on" => |app, _| app.by_bytes(1)),
    command!(ALL "down" [key(Down), char('j')] ("", 0) "one row down" => |app, _| app.by_rows(1)),
    command!(ALL "up" [key(Up), char('k')] ("", 0) "one row up" => |app, _| app.by_rows(-1)),
    command!(ALL "page-down" [key(PageDown), control('f')] ("", 0) "one page down" => |app, _| app.by_pages(1, 1)),
    command!(ALL "page-up" [key(PageUp), control('b')] ("", 0) "one page up" => |app, _| app.by_pages(-1, 1)),
    command!(ALL "half-down" [control('d')] ("", 0) "half a page down" => |app, _| app.by_pages(1, 2)),
    command!(ALL "half-up" [control('u')] ("", 0) "half a page up" => |app, _| app.by_pages(-1, 2)),
    command!(ALL "top" [key(Home)] ("", 0) "to the top" => |app, _| app.jump(false)),
    command!(ALL "bottom" [key(End), char('G')] ("", 0) "to the bottom" => |app, _| app.jump(true)),
    command!(ALL "cancel" [control('c')] ("", 0) "cancel what is running; twice quits" => |app, _| app.interrupt()),
    command!(ALL "suspend" [control('z')] ("", 0) "back to the shell; fg returns here" => |app, _| app.suspend()),
    command!(ALL "redraw" [control('l')] ("", 0) "draw the screen anew" => |app, _| app.redraw()),
    command!(VIEWS "quit" [char('q')] ("quit", 95) "quit" => |app, _| app.quit()),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_pane() {
        for pane in ALL {
            let mut keys: Vec<Key> = Vec::new();
            for command in COMMANDS.iter().filter(|command| command.panes.contains(pane)) {
                for key in command.keys {
                    assert!(!keys.contains(key), "{key} twice in {}", pane.name());
                    keys.push(*key);
                }
            }
        }
    }

    #[test]
    fn no_key_that_terminals_keep_for_themselves() {
        for command in COMMANDS {
            for key in command.keys.iter().filter(|key| key.control) {
                assert!(!"sq\\himja[".contains(key.to_string().trim_start_matches('^').to_ascii_lowercase().as_str()), "{key}");
            }
        }
    }
}
