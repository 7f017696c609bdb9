//! The columns beside the tree: which, and how wide.

use crate::facts::Origin;
use ratatui::layout::Rect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Pid,
    Name,
    Mark,
    Score,
    Start,
    Uid,
    User,
    Session,
    Threads,
    Sockets,
    Command,
}

impl Part {
    /// Those that can be chosen, in their order on the screen; PID, name and mark are always there.
    const CHOICE: [Self; 8] = [Self::Score, Self::Start, Self::Uid, Self::User, Self::Session, Self::Threads, Self::Sockets, Self::Command];

    /// Its heading, how wide it is, and whether it stands at the right of that.
    fn shape(self) -> (&'static str, u16, bool) {
        match self {
            Self::Pid => ("PID", 3, true),
            Self::Name => ("NAME", 16, false),
            Self::Mark => ("", MARK, false),
            Self::Score => ("SCORE", 6, true),
            Self::Start => ("START", 8, false),
            Self::Uid => ("UID", 5, true),
            Self::User => ("USER", 12, false),
            Self::Session => ("SESS", 4, true),
            Self::Threads => ("THR", 4, true),
            Self::Sockets => ("SOCK", 4, true),
            Self::Command => ("COMMAND LINE", 12, false),
        }
    }
    /// Its name in the list of columns, and what it holds.
    pub fn says(self) -> (&'static str, &'static str) {
        match self {
            Self::Pid => ("pid", "the process ID"),
            Self::Name => ("name", "the name"),
            Self::Mark => ("marks", "what is odd about it, in words"),
            Self::Score => ("score", "of its gravest finding"),
            Self::Start => ("start", "when it began, UTC"),
            Self::Uid => ("uid", "real user ID"),
            Self::User => ("user", "whose token it has"),
            Self::Session => ("session", "terminal services session"),
            Self::Threads => ("threads", "how many it has"),
            Self::Sockets => ("sockets", "how many it has, closed ones included"),
            Self::Command => ("command", "the command line, in the room that is left"),
        }
    }
    fn serves(self, os: Origin) -> bool {
        match self {
            Self::Uid => os == Origin::Linux,
            Self::User | Self::Session => os == Origin::Windows,
            _ => true,
        }
    }
}

/// The mark's least width: one word.
const MARK: u16 = 8;
/// A name's least room beside a mark.
const LEAST_NAME: u16 = 16;

/// The columns that are wanted, the most important first.
#[derive(Clone, Debug)]
pub struct Columns(Vec<Part>);

impl Default for Columns {
    fn default() -> Self {
        Self(vec![Part::Score, Part::Start, Part::Uid, Part::User, Part::Threads, Part::Sockets, Part::Session, Part::Command])
    }
}

/// What the columns have to hold.
pub struct Needs {
    pub os: Origin,
    pub pid: u16,
    pub name: u16,
    /// Width of the widest marks; 0 where no process has any.
    pub mark: u16,
    /// Start times are written with their day.
    pub days: bool,
    pub scores: bool,
}

pub struct TreeColumn {
    pub part: Part,
    pub title: &'static str,
    pub x: u16,
    pub width: u16,
    pub right: bool,
}

impl Columns {
    /// All that can be had on a system, and whether they are wanted.
    pub fn choices(&self, os: Origin) -> Vec<(Part, bool)> {
        Part::CHOICE.into_iter().filter(|part| part.serves(os)).map(|part| (part, self.0.contains(&part))).collect()
    }
    /// The names of those that are wanted, where they are not the usual ones.
    pub fn names(&self) -> Option<Vec<String>> {
        let names = |columns: &Self| columns.0.iter().map(|part| part.says().0.to_owned()).collect::<Vec<_>>();
        Some(names(self)).filter(|all| *all != names(&Self::default()))
    }
    /// Those of these names; what is not known is left out.
    pub fn named(names: &[String]) -> Self {
        let mut columns = Self(Vec::new());
        for part in names.iter().filter_map(|name| Part::CHOICE.into_iter().find(|part| part.says().0 == name)) {
            if !columns.0.contains(&part) {
                columns.0.push(part);
            }
        }
        columns
    }
    /// Takes a column away, or makes it the most important one. One that is wanted and had no room comes forward instead.
    pub fn choose(&mut self, part: Part, in_sight: bool) {
        self.0.retain(|known| *known != part);
        if !in_sight {
            self.0.insert(0, part);
        }
    }

    /// Which columns there is room for: PID, name and mark always, the rest by importance. The marks have one word's room, and more
    /// of what is left when all others have theirs; the command line has the rest.
    pub fn place(&self, area: Rect, needs: &Needs) -> Vec<TreeColumn> {
        let mut room = area.width.saturating_sub(needs.pid + 2);
        let mut mark = if needs.mark == 0 { 1 } else { MARK };
        // A name that is cut says more than one whose mark is missing, down to a point.
        let mut name = room.min(needs.name).min(room.saturating_sub(mark + 1).max(LEAST_NAME)).min(room);
        room -= name;
        let marked = room > mark;
        if marked {
            room -= mark + 1;
        }
        // The score says more than the end of a long name.
        let score = Part::Score.shape().1 + 1;
        if marked && needs.scores && self.0.contains(&Part::Score) && room < score && name + room >= LEAST_NAME + score {
            name -= score - room;
            room = score;
        }
        let width = |part: Part| if part == Part::Start && needs.days { 11 } else { part.shape().1 };
        let mut taken: Vec<Part> = Vec::new();
        for part in self.0.iter().copied().filter(|part| part.serves(needs.os) && (*part != Part::Score || needs.scores)) {
            if room > width(part) {
                room -= width(part) + 1;
                taken.push(part);
            }
        }
        let more = needs.mark.saturating_sub(mark).min(room);
        if marked && needs.mark > 0 {
            mark += more;
            room -= more;
        }
        let commands = taken.contains(&Part::Command);
        if !commands {
            name += room;
        }
        let mut parts = vec![(Part::Pid, needs.pid), (Part::Name, name)];
        if marked {
            parts.push((Part::Mark, mark));
        }
        for part in Part::CHOICE.into_iter().filter(|part| taken.contains(part)) {
            parts.push((part, width(part) + if part == Part::Command { room } else { 0 }));
        }
        let mut x = area.x;
        let mut columns = Vec::new();
        for (part, width) in parts {
            if x >= area.right() {
                break;
            }
            let (title, _, right) = part.shape();
            columns.push(TreeColumn { part, title, x, width: width.min(area.right() - x), right });
            x = x.saturating_add(width).saturating_add(1);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(columns: &Columns, width: u16, os: Origin) -> Vec<(&'static str, u16)> {
        let needs = Needs { os, pid: 4, name: 30, mark: 18, days: false, scores: true };
        let placed = columns.place(Rect::new(1, 1, width, 10), &needs);
        placed.iter().map(|column| (column.part.says().0, column.width)).collect()
    }

    #[test]
    fn the_least_important_give_way_first() {
        let mut columns = Columns::default();
        let all = [("pid", 4), ("name", 30), ("marks", 18), ("score", 6), ("start", 8)];
        assert_eq!(names(&columns, 200, Origin::Windows)[..5], all);
        assert_eq!(names(&columns, 62, Origin::Windows), [("pid", 4), ("name", 30), ("marks", 9), ("score", 6), ("start", 8)]);
        assert_eq!(names(&columns, 46, Origin::Windows), [("pid", 4), ("name", 24), ("marks", 8), ("score", 6)]);
        assert_eq!(names(&columns, 34, Origin::Windows), [("pid", 4), ("name", 19), ("marks", 8)]);
        assert_eq!(names(&columns, 20, Origin::Windows), [("pid", 4), ("name", 14)]);
        assert!(names(&columns, 200, Origin::Linux).iter().all(|(name, _)| !matches!(*name, "user" | "session")));
        columns.choose(Part::Sockets, false);
        assert!(names(&columns, 62, Origin::Windows).contains(&("sockets", 4)));
        assert_eq!(columns.names().map(|names| Columns::named(&names).0), Some(columns.0.clone()));
        assert_eq!(Columns::default().names(), None);
        assert_eq!(Columns::named(&["user".into(), "no such".into(), "user".into()]).0, [Part::User]);
        columns.choose(Part::Sockets, true);
        assert!(names(&columns, 200, Origin::Windows).iter().all(|(name, _)| *name != "sockets"));
        for width in 0..200 {
            let placed = Columns::default()
                .place(Rect::new(3, 1, width, 10), &Needs { os: Origin::Linux, pid: 5, name: 20, mark: 0, days: true, scores: false });
            assert!(placed.iter().all(|column| column.x + column.width <= 3 + width), "{width}");
        }
    }
}
