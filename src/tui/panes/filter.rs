//! What is typed to narrow a view: words, `/expressions/`, `~resemblances`, columns with values, and `!` before what is not wanted.

use super::shown_as;
use crate::facts::{Cell, Kind, Origin, Table};
use fuzzy_matcher::FuzzyMatcher;
use fuzzy_matcher::skim::SkimMatcherV2;
use regex::{Regex, RegexBuilder};
use std::cmp::Ordering;

/// A column that a filter can name.
#[derive(Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub column: usize,
}

/// The columns of a table that serve a system.
pub fn fields(table: &'static Table, os: Origin) -> Vec<Field> {
    let serving = table.columns.iter().enumerate().filter(|(_, column)| column.serves.includes(os));
    serving.map(|(index, column)| Field { name: column.name, kind: column.kind, column: index }).collect()
}

/// All of its terms hold for what it admits.
#[derive(Default)]
pub struct Filter(Vec<Term>);

struct Term {
    without: bool,
    /// The columns that it looks at; None for those that the view shows.
    columns: Option<Vec<Field>>,
    test: Test,
}

enum Test {
    Holds(String),
    /// Rights; those of memory that is copied when it is written to (`rwxc`) are others.
    Allows(String),
    Is(String),
    Matches(Regex),
    Resembles(Box<SkimMatcherV2>, String),
    /// How the value stands to a number, or to a time in its written form.
    Compares(Option<i128>, String, fn(Ordering) -> bool),
}

/// The longest text that is worth comparing by resemblance, in characters.
const LONGEST: usize = 200;
/// What an expression may cost in memory.
const LARGEST: usize = 1 << 20;

/// A sign, and the order of value and wanted value for which it holds.
type Operator = (&'static str, fn(Ordering) -> bool);

const OPERATORS: [Operator; 7] = [
    (">=", Ordering::is_ge),
    ("<=", Ordering::is_le),
    ("!=", Ordering::is_ne),
    (">", Ordering::is_gt),
    ("<", Ordering::is_lt),
    ("=", Ordering::is_eq),
    (":", Ordering::is_eq),
];

pub fn resemblance() -> SkimMatcherV2 {
    // The limit keeps a hostile name from costing seconds.
    SkimMatcherV2::default().ignore_case().element_limit(100_000)
}

impl Filter {
    /// Reads a filter; the error says in a few words what is wrong with it.
    pub fn parse(typed: &str, fields: &[Field]) -> Result<Self, String> {
        let mut terms = Vec::new();
        let mut rest = typed.trim_start();
        while !rest.is_empty() {
            let (term, behind) = term(rest, fields)?;
            terms.extend(term);
            rest = behind.trim_start();
        }
        Ok(Self(terms))
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row is admitted, given its cells and the columns that are shown.
    pub fn admits<'a>(&self, shown: &[Field], cell: &dyn Fn(usize) -> Cell<'a>) -> bool {
        self.0.iter().all(|term| {
            let columns = term.columns.as_deref().unwrap_or(shown);
            let admits = |field: &Field| {
                let cell = cell(field.column);
                // Somebody filters by what the screen says.
                let shown = if let Cell::Text(word) = &cell { shown_as(field.name, word) } else { None };
                term.test.admits(&cell, field.kind) || shown.is_some_and(|word| term.test.admits(&Cell::Text(word.into()), field.kind))
            };
            columns.iter().any(admits) != term.without
        })
    }
}

/// Reads the first term; answers what stands behind it. No term where there is only its sign yet.
fn term<'a>(text: &'a str, fields: &[Field]) -> Result<(Option<Term>, &'a str), String> {
    let (without, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    if let Some((name, operator, value)) = named(text) {
        let columns = of_name(name, fields);
        // What only looks like a column is text: an address with its port, a path with its drive.
        let bare = is_end(value, 0);
        let equal = matches!(operator.0, ":" | "=");
        let like_text = equal && (bare || name.contains(|c: char| c.is_ascii_digit()));
        if !columns.is_empty() && bare {
            // It is still being typed.
            return if equal { Ok((None, value)) } else { Err(format!("{name} {} what?", operator.0)) };
        }
        if !columns.is_empty() && !value.starts_with(['\\', ':']) {
            let (test, behind) = compared(name, operator, value, &columns)?;
            let without = without != (operator.0 == "!=");
            return Ok((Some(Term { without, columns: Some(columns), test }), behind));
        }
        if columns.is_empty() && !like_text && !value.starts_with(['\\', '/', ':']) {
            return Err(format!("no column begins with {name}"));
        }
    }
    let (test, behind) = pattern(text)?;
    Ok((test.map(|test| Term { without, columns: None, test }), behind))
}

/// A name with an operator behind it.
fn named(text: &str) -> Option<(&str, Operator, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = text.split_at(end);
    let operator = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
    let value = rest.get(operator.0.len()..)?;
    // A single letter is a drive.
    (name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic())).then_some((name, operator, value))
}

/// The columns that a term names, with what is typed before its value, and the value.
pub fn column_and_value<'a>(term: &'a str, fields: &[Field]) -> Option<(&'a str, Vec<Field>, &'a str)> {
    let (name, _, value) = named(term.trim_start_matches('!'))?;
    let columns = of_name(name, fields);
    (!columns.is_empty()).then(|| (term.strip_suffix(value).unwrap_or(term), columns, value))
}

/// The columns of a name: the one that is called so, else those that begin so, else those of which a word begins so.
fn of_name(name: &str, fields: &[Field]) -> Vec<Field> {
    let name = name.to_lowercase();
    let begins = |text: &str| text.starts_with(&name);
    let all = |is: &dyn Fn(&str) -> bool| fields.iter().copied().filter(|field| is(field.name)).collect::<Vec<_>>();
    let ways: [&dyn Fn(&str) -> bool; 3] = [&|field| field == name, &begins, &|field| field.split('_').any(begins)];
    ways.iter().map(|way| all(way)).find(|found| !found.is_empty()).unwrap_or_default()
}

fn compared<'a>(name: &str, (sign, holds): Operator, value: &'a str, columns: &[Field]) -> Result<(Test, &'a str), String> {
    let (text, behind) = word(value);
    let numbers = columns.iter().all(|field| field.kind.is_measured() && field.kind != Kind::Time);
    let hexadecimal = columns.iter().all(|field| matches!(field.kind, Kind::Address | Kind::Mask));
    let number = number(&text, hexadecimal);
    let equal = matches!(sign, ":" | "=" | "!=");
    match number {
        _ if !equal && !columns.iter().any(|field| field.kind.is_measured()) => {
            Err(format!("{sign} compares numbers and times; {name} has neither"))
        }
        None if numbers => Err(format!("{name} is a number, and {text} is none")),
        number if !equal || numbers => {
            let holds = if equal { Ordering::is_eq } else { holds };
            Ok((Test::Compares(number, text.replace(' ', "T"), holds), behind))
        }
        _ if sign == ":" => {
            let (test, behind) = pattern(value)?;
            let rights = columns.iter().all(|field| field.name == "protection");
            Ok(match test {
                Some(Test::Holds(wanted)) if rights => (Test::Allows(wanted), behind),
                test => (test.unwrap_or(Test::Holds(String::new())), behind),
            })
        }
        _ => Ok((Test::Is(text.to_lowercase()), behind)),
    }
}

/// Decimal, or hexadecimal with `0x` or in a column that is always so.
fn number(text: &str, hexadecimal: bool) -> Option<i128> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).or(hexadecimal.then_some(text));
    match hex {
        Some(digits) => i128::from_str_radix(&digits.replace(['`', '\''], ""), 16).ok(),
        None => text.parse().ok(),
    }
}

/// What a text has to be like.
fn pattern(text: &str) -> Result<(Option<Test>, &str), String> {
    if let Some(rest) = text.strip_prefix('/')
        && let Some(end) = rest.match_indices('/').map(|(at, _)| at).find(|at| *at > 0 && is_end(rest, at + 1))
    {
        let (expression, behind) = (rest.get(..end).unwrap_or_default(), rest.get(end + 1..).unwrap_or_default());
        let built = RegexBuilder::new(expression).case_insensitive(true).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        let told = |why: regex::Error| {
            let text = why.to_string();
            let last = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            format!("/{expression}/: {last}")
        };
        return Ok((Some(Test::Matches(built.map_err(told)?)), behind));
    }
    if let Some(rest) = text.strip_prefix('~') {
        let (wanted, behind) = word(rest);
        return Ok(((!wanted.is_empty()).then(|| Test::Resembles(Box::new(resemblance()), wanted)), behind));
    }
    let (wanted, behind) = word(text);
    Ok(((!wanted.is_empty()).then(|| Test::Holds(wanted.to_lowercase())), behind))
}

fn is_end(text: &str, at: usize) -> bool {
    text.get(at..).is_none_or(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Up to the next blank, or what stands between quotes.
fn word(text: &str) -> (String, &str) {
    let (text, end) = match text.strip_prefix('"') {
        Some(rest) => (rest, rest.find('"')),
        None => (text, text.find(char::is_whitespace)),
    };
    let end = end.unwrap_or(text.len());
    let behind = text.get(end..).unwrap_or_default();
    (text.get(..end).unwrap_or_default().to_owned(), behind.strip_prefix('"').unwrap_or(behind))
}

impl Test {
    fn admits(&self, cell: &Cell, kind: Kind) -> bool {
        if cell.is_null() {
            return false;
        }
        match self {
            Self::Holds(wanted) => contains(cell, kind, wanted),
            Self::Allows(wanted) => {
                let copied = |text: &str| text.contains('c');
                contains(cell, kind, wanted) && (copied(wanted) || !copied(&cell.to_string()))
            }
            Self::Is(wanted) => match cell {
                Cell::List(items) => items.iter().any(|item| self.admits(item, Kind::Text)),
                cell => in_words(cell).to_lowercase() == *wanted,
            },
            Self::Matches(expression) => match cell {
                Cell::Text(text) => expression.is_match(text),
                cell => expression.is_match(&in_words(cell)),
            },
            Self::Resembles(matcher, wanted) => {
                let text = match cell {
                    Cell::Text(text) => text.clone(),
                    // Among many digits everything resembles something.
                    _ if !matches!(kind, Kind::List | Kind::Object) => return false,
                    cell => cell.to_string().into(),
                };
                let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
                matcher.fuzzy_match(text.get(..end).unwrap_or_default(), wanted).is_some()
            }
            Self::Compares(number, text, holds) => match (cell, number) {
                (Cell::Time(time), _) => {
                    // A day is equal to all of its moments.
                    let written = time.to_string();
                    holds(written.get(..text.len().min(written.len())).unwrap_or_default().cmp(text))
                }
                (cell, Some(number)) => cell.number().is_some_and(|value| holds(value.cmp(number))),
                _ => false,
            },
        }
    }
}

/// Yes and no as the screen says them.
fn in_words(cell: &Cell) -> String {
    match cell {
        Cell::Bool(true) => "yes".to_owned(),
        Cell::Bool(false) => "no".to_owned(),
        cell => cell.to_string(),
    }
}

/// A text anywhere in a text; a number by its beginning; an address only where the text looks like one, for else every port number
/// would be found in some address.
fn contains(cell: &Cell, kind: Kind, term: &str) -> bool {
    match cell {
        Cell::Absent | Cell::Unreadable(_) => false,
        Cell::Number(number) => number.to_string().starts_with(term),
        Cell::Hex(_) if kind == Kind::Address && !term.starts_with("0x") && term.len() < 5 => false,
        Cell::Text(text) => holds(text, term),
        Cell::List(items) => items.iter().any(|item| contains(item, Kind::Text, term)),
        Cell::Object(fields) => fields.iter().any(|(_, value)| contains(value, Kind::Text, term)),
        other => holds(&in_words(other), term),
    }
}

fn holds(text: &str, term: &str) -> bool {
    if text.is_ascii() && term.is_ascii() {
        // Without a copy: this runs a million times.
        let (text, term) = (text.as_bytes(), term.as_bytes());
        return term.is_empty() || text.len() >= term.len() && text.windows(term.len()).any(|window| window.eq_ignore_ascii_case(term));
    }
    text.to_lowercase().contains(term)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::facts::Time;

    const FIELDS: [(&str, Kind); 8] = [
        ("pid", Kind::Number),
        ("process", Kind::Text),
        ("local_port", Kind::Number),
        ("remote_port", Kind::Number),
        ("state", Kind::Text),
        ("address", Kind::Address),
        ("create_time", Kind::Time),
        ("deleted", Kind::Bool),
    ];

    fn fields() -> Vec<Field> {
        FIELDS.iter().enumerate().map(|(column, (name, kind))| Field { name, kind: *kind, column }).collect()
    }
    fn row(column: usize) -> Cell<'static> {
        match column {
            0 => Cell::Number(812),
            1 => Cell::Text("Program Files svchost.exe /usr/bin".into()),
            2 => Cell::Number(49524),
            3 => Cell::Number(443),
            4 => Cell::Text("ESTABLISHED".into()),
            5 => Cell::Hex(0xffff_8a3b),
            6 => Cell::Time(Time::from_nanoseconds(1_741_944_420_000_000_000, 9).unwrap()),
            7 => Cell::Bool(true),
            _ => Cell::Absent,
        }
    }
    #[track_caller]
    fn admits(filter: &str) -> bool {
        Filter::parse(filter, &fields()).unwrap().admits(&fields(), &row)
    }
    fn error(filter: &str) -> String {
        Filter::parse(filter, &fields()).err().unwrap_or_default()
    }

    #[test]
    fn memory_that_is_copied_when_written_has_rights_of_its_own() {
        let rights = [Field { name: "protection", kind: Kind::Text, column: 0 }];
        let admits =
            |filter: &str, text: &'static str| Filter::parse(filter, &rights).unwrap().admits(&rights, &|_| Cell::Text(text.into()));
        assert!(admits("prot:rwx", "rwx") && admits("prot:rwx", "rwxp") && !admits("prot:rwx", "rwxc"));
        assert!(admits("prot:rwxc", "rwxc") && admits("prot:r", "r-x"));
    }

    #[test]
    fn all_terms_hold() {
        for filter in [
            "svchost",
            "SVCHOST 812",
            "!nginx",
            "/svc.*exe/",
            "/program files/ 81",
            "~svchst",
            "\"gram Files\"",
            "port:443",
            "pid>4",
            "pid>=812",
            "pid<=812 pid!=4",
            "state:estab",
            "state=established",
            "addr=0xffff8a3b",
            "addr:ffff8a3b",
            "address>0x1000",
            "create>2025-03-13",
            "create:2025-03",
            "create<2026",
            "create>=2025-03-14T09",
            "del:yes",
            "process:/svc/ !process:/^svc/",
            "process:~svchst",
            "!pid:4",
            "/usr/bin",
            "!",
            "~",
            "",
            "process:\"Program Files\"",
            "PID:0x32c",
        ] {
            assert!(admits(filter), "{filter}");
        }
        for filter in [
            "nginx",
            "!svchost",
            "port:44",
            "pid>812",
            "pid<812",
            "state=estab",
            "~zzz",
            "/^svc/",
            "create:2024",
            "del:no",
            "C:\\x",
            "10.0.0.5:443",
        ] {
            assert!(!admits(filter), "{filter}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(error("colour:red"), "no column begins with colour");
        assert_eq!(error("pid:bash"), "pid is a number, and bash is none");
        assert_eq!(error("state>3"), "> compares numbers and times; state has neither");
        assert_eq!(error("pid>"), "pid > what?");
        assert!(error("/a(b/").starts_with("/a(b/: unclosed group"), "{}", error("/a(b/"));
        assert!(error("/(a{999}){999}/").contains("size"), "{}", error("/(a{999}){999}/"));
        for text in ["http://x", "fd13:37::5", "sshd:", "c:\\windows", "state:"] {
            assert_eq!(error(text), "", "{text}");
        }
    }
}
