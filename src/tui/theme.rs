//! Colours by role, from a theme, and symbols by charset. The sixteen ANSI colours follow the user's own terminal theme, light or dark,
//! and cost few bytes; no meaning is carried by a colour alone.

use super::config::Source;
use super::terminal::{Capabilities, Depth};
use super::text::{self, Charset, Cut};
use crate::engine::Error;
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
    /// Bars from the lowest to the highest.
    pub bars: [&'static str; 8],
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
    bars: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
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
    bars: ["_", ".", ":", "-", "=", "+", "*", "#"],
};

impl Role {
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Text, "text"),
        (Self::Dim, "dim"),
        (Self::Frame, "frame"),
        (Self::Focus, "focus"),
        (Self::Header, "header"),
        (Self::Name, "name"),
        (Self::Selected, "selected"),
        (Self::Resting, "resting"),
        (Self::Match, "match"),
        (Self::Key, "key"),
        (Self::Warning, "warning"),
        (Self::Danger, "danger"),
        (Self::Missing, "missing"),
    ];
}

/// A style for each role.
pub struct Theme(Vec<(Role, Style)>);

impl Default for Theme {
    fn default() -> Self {
        let (name, text) = Self::SHIPPED[0];
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        // A test holds that all that are shipped can be read.
        Self::parse(&source).unwrap_or(Self(Vec::new()))
    }
}

impl Theme {
    pub const SHIPPED: [(&'static str, &'static str); 5] = [
        ("default", include_str!("../../assets/theme-default.toml")),
        ("dark", include_str!("../../assets/theme-dark.toml")),
        ("light", include_str!("../../assets/theme-light.toml")),
        ("high-contrast", include_str!("../../assets/theme-high-contrast.toml")),
        ("mono", include_str!("../../assets/theme-mono.toml")),
    ];

    pub fn parse(source: &Source) -> Result<Self, Error> {
        let mut styles = Vec::new();
        source.settings(|setting| {
            let role = Role::ALL.into_iter().find(|(_, name)| *name == setting.name);
            let names = || Role::ALL.map(|(_, name)| name).join(", ");
            let (role, _) =
                role.ok_or_else(|| source.wrong(setting.at, format!("there is no {}; there are: {}", setting.name, names())))?;
            let words = setting.value.as_str().ok_or_else(|| source.wrong(setting.at, "a style stands in quotes"))?;
            styles.push((role, style(words).map_err(|why| source.wrong(setting.at, why))?));
            Ok(())
        })?;
        Ok(Self(styles))
    }
}

/// A style as it is written: `red on black bold`.
fn style(words: &str) -> Result<Style, String> {
    let mut style = Style::new();
    let mut behind = false;
    for word in words.split_whitespace() {
        let modifier = match word {
            "on" => {
                behind = true;
                continue;
            }
            "bold" => Some(Modifier::BOLD),
            "dim" => Some(Modifier::DIM),
            "italic" => Some(Modifier::ITALIC),
            "underline" => Some(Modifier::UNDERLINED),
            "reverse" => Some(Modifier::REVERSED),
            _ => None,
        };
        style = match modifier {
            Some(modifier) => style.add_modifier(modifier),
            None => {
                let colour = colour(word)?;
                if std::mem::take(&mut behind) { style.bg(colour) } else { style.fg(colour) }
            }
        };
    }
    if behind { Err("on what? a colour stands behind \"on\"".to_owned()) } else { Ok(style) }
}

fn colour(word: &str) -> Result<Color, String> {
    const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    const COLOURS: [(Color, Color); 8] = [
        (Color::Black, Color::DarkGray),
        (Color::Red, Color::LightRed),
        (Color::Green, Color::LightGreen),
        (Color::Yellow, Color::LightYellow),
        (Color::Blue, Color::LightBlue),
        (Color::Magenta, Color::LightMagenta),
        (Color::Cyan, Color::LightCyan),
        (Color::Gray, Color::White),
    ];
    let (bright, name) = word.strip_prefix("bright-").map_or((false, word), |name| (true, name));
    if let Some((normal, light)) = NAMES.iter().position(|known| *known == name).and_then(|at| COLOURS.get(at)) {
        return Ok(if bright { *light } else { *normal });
    }
    let hexadecimal = word.strip_prefix('#').filter(|digits| digits.len() == 6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match (hexadecimal, word.parse()) {
        (Some(rgb), _) => Ok(Color::Rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)),
        (None, Ok(index)) => Ok(Color::Indexed(index)),
        _ => Err(format!("{word} is no colour: {}, each with bright- before it, 0 to 255, or #rrggbb", NAMES.join(", "))),
    }
}

/// The colour that this terminal can show for another: the nearest of the 256, or none.
fn shown(colour: Color, depth: Depth) -> Option<Color> {
    match (colour, depth) {
        (_, Depth::None) | (Color::Rgb(..) | Color::Indexed(16..), Depth::Ansi) => None,
        (Color::Rgb(r, g, b), Depth::Palette) => {
            // Six steps of each: 0, 95, 135, 175, 215, 255.
            let step = |value: u8| if value < 48 { 0 } else { ((u16::from(value).max(75) - 35) / 40) as u8 };
            Some(Color::Indexed(16 + 36 * step(r) + 6 * step(g) + step(b)))
        }
        (colour, _) => Some(colour),
    }
}

/// How everything looks on this terminal.
pub struct Look {
    styles: Vec<(Role, Style)>,
    pub charset: Charset,
    pub symbols: &'static Symbols,
}

impl Look {
    pub fn new(capabilities: &Capabilities, theme: &Theme) -> Self {
        let symbols = if capabilities.plain_symbols { &ASCII } else { &UNICODE };
        // Without colours no colour sequence is sent at all: everything stays the terminal's own.
        let on_terminal = |(role, style): &(Role, Style)| {
            let visible = |colour: Option<Color>| colour.and_then(|colour| shown(colour, capabilities.depth));
            let (fg, bg) = (visible(style.fg), visible(style.bg));
            let mut seen = Style { fg, bg, ..*style };
            if *role == Role::Selected {
                // One style from end to end: a row that keeps its colours costs twice the bytes to move from.
                seen = seen.fg(fg.unwrap_or(Color::Reset)).remove_modifier((Modifier::DIM | Modifier::BOLD) - style.add_modifier);
                if bg.is_none() {
                    seen = seen.add_modifier(Modifier::REVERSED);
                }
            }
            (*role, seen)
        };
        Self { styles: theme.0.iter().map(on_terminal).collect(), charset: capabilities.charset, symbols }
    }

    pub fn style(&self, role: Role) -> Style {
        self.styles.iter().find(|(known, _)| *known == role).map(|(_, style)| *style).unwrap_or_default()
    }

    /// Colours for the whole screen, where the theme gives the text a background.
    pub fn ground(&self) -> Option<(Color, Color)> {
        let text = self.style(Role::Text);
        text.bg.map(|bg| (text.fg.unwrap_or(Color::Reset), bg))
    }

    /// Text from the image in at most `room` columns.
    pub fn fit(&self, text: &str, room: usize, cut: Cut) -> String {
        text::fit(text, room, cut, self.charset)
    }
    pub fn clean(&self, text: &str) -> String {
        text::clean(text, self.charset)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Theme, String> {
        Theme::parse(&Source { name: "t.toml".into(), text: text.into() }).map_err(|why| why.0)
    }

    #[test]
    fn all_that_are_shipped_are_whole() {
        for (name, text) in Theme::SHIPPED {
            let theme = read(text).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(theme.0.iter().map(|(role, _)| *role).collect::<Vec<_>>(), Role::ALL.map(|(role, _)| role), "{name}");
        }
    }

    #[test]
    fn no_colour_reaches_a_terminal_without() {
        let plain = Capabilities { depth: Depth::None, charset: Charset::Ascii, plain_symbols: true, remote: false };
        for (_, text) in Theme::SHIPPED {
            let look = Look::new(&plain, &read(text).unwrap());
            for (role, _) in Role::ALL {
                let style = look.style(role);
                assert!(style.fg.is_none_or(|fg| fg == Color::Reset) && style.bg.is_none(), "{role:?}");
            }
            assert!(look.style(Role::Selected).add_modifier.contains(Modifier::REVERSED), "the cursor is seen without colours");
        }
        assert_eq!(shown(Color::Rgb(255, 135, 0), Depth::Palette), Some(Color::Indexed(208)));
        assert_eq!(shown(Color::Rgb(255, 135, 0), Depth::Ansi), None);
    }

    #[test]
    fn styles_are_words() {
        assert_eq!(
            style("red on #102030 bold").unwrap(),
            Style::new().fg(Color::Red).bg(Color::Rgb(16, 32, 48)).add_modifier(Modifier::BOLD)
        );
        assert!(style("red on").is_err());
        assert!(read("text = 3").err().unwrap().starts_with("t.toml:1: "));
        assert!(read("\ntxet = \"red\"").err().unwrap().starts_with("t.toml:2: there is no txet"));
    }
}
