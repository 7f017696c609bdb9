//! Colours by role and symbols by charset. The sixteen ANSI colours follow the user's own terminal theme, light or dark, and cost
//! few bytes; no meaning is carried by a colour alone.

use super::terminal::{Capabilities, Depth};
use super::text::{self, Charset, Cut};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// What a piece of the screen means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Text,
    Dim,
    /// Frames and titles of panes without the focus.
    Frame,
    /// Frame and title of the pane that has the keys.
    Focus,
    Header,
    Name,
    Selected,
    /// The selection of a pane without the focus.
    Resting,
    Match,
    Key,
    Warning,
    Danger,
    Missing,
}

pub struct Symbols {
    pub border: border::Set<'static>,
    pub open: &'static str,
    pub closed: &'static str,
    pub leaf: &'static str,
    pub crumb: &'static str,
    pub leads: &'static str,
    pub dot: &'static str,
    pub dash: &'static str,
    pub exited: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub more_left: &'static str,
    pub more_right: &'static str,
    pub thumb: &'static str,
    pub spinner: &'static [&'static str],
}

static UNICODE: Symbols = Symbols {
    border: border::PLAIN,
    open: "▾ ",
    closed: "▸ ",
    leaf: "  ",
    crumb: " › ",
    leads: "→",
    dot: " · ",
    dash: "—",
    exited: "✝",
    up: "▲",
    down: "▼",
    more_left: "‹",
    more_right: "›",
    thumb: "┃",
    spinner: &["⠋", "⠙", "⠸", "⠴", "⠦", "⠇"],
};

static ASCII: Symbols = Symbols {
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
    open: "- ",
    closed: "+ ",
    leaf: "  ",
    crumb: " > ",
    leads: "->",
    dot: " - ",
    dash: "-",
    exited: "x",
    up: "^",
    down: "v",
    more_left: "<",
    more_right: ">",
    thumb: "#",
    spinner: &["|", "/", "-", "\\"],
};

/// How everything looks on this terminal.
pub struct Look {
    colour: bool,
    pub charset: Charset,
    pub symbols: &'static Symbols,
}

impl Look {
    pub fn new(capabilities: &Capabilities) -> Self {
        let symbols = if capabilities.plain_symbols { &ASCII } else { &UNICODE };
        Self { colour: capabilities.depth != Depth::None, charset: capabilities.charset, symbols }
    }

    /// Without colours no colour sequence is sent at all: everything stays the terminal's own.
    pub fn style(&self, role: Role) -> Style {
        let style = Style::new();
        let (colour, modifier) = match role {
            Role::Text => (Color::Reset, Modifier::empty()),
            Role::Dim | Role::Missing => (Color::Reset, Modifier::DIM),
            Role::Frame => (Color::Reset, Modifier::DIM),
            Role::Focus => (Color::Cyan, Modifier::BOLD),
            Role::Header => (Color::Reset, Modifier::BOLD),
            Role::Name => (Color::Cyan, Modifier::empty()),
            Role::Selected => (Color::Reset, Modifier::REVERSED),
            Role::Resting => (Color::Reset, Modifier::UNDERLINED),
            Role::Match => (Color::Yellow, Modifier::UNDERLINED),
            Role::Key => (Color::Cyan, Modifier::BOLD),
            Role::Warning => (Color::Yellow, Modifier::empty()),
            Role::Danger => (Color::Red, Modifier::BOLD),
        };
        if role == Role::Selected {
            // One style from end to end: a row that keeps its colours costs twice the bytes to move from.
            return style.fg(Color::Reset).remove_modifier(Modifier::DIM | Modifier::BOLD).add_modifier(modifier);
        }
        let style = if self.colour && colour != Color::Reset { style.fg(colour) } else { style };
        style.add_modifier(modifier)
    }

    /// Text from the image in at most `room` columns.
    pub fn fit(&self, text: &str, room: usize, cut: Cut) -> String {
        text::fit(text, room, cut, self.charset)
    }
    pub fn clean(&self, text: &str) -> String {
        text::clean(text, self.charset)
    }
}
