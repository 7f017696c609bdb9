//! The whole screen from the state: which pane stands where.

use super::app::{App, Focus, TWO_PANES};
use super::commands::Pane;
use super::panes::{moment, table::TableView};
use super::text::{self, Cut};
use super::theme::{Look, Role};
use super::widgets::status_line::{Left, StatusLine};
use super::widgets::{palette, put};
use crate::facts::{Info, Origin};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;

/// Below this nothing useful can be shown.
const LEAST: (u16, u16) = (20, 4);
/// Heights from which there is room for the line of crumbs, the line of views, and the details of a row.
const WITH_VIEWS: u16 = 10;
const WITH_CRUMBS: u16 = 16;

pub fn draw(app: &mut App, frame: &mut Frame) {
    let area = frame.area();
    app.size = (area.width, area.height);
    let cursor = draw_on(app, area, frame.buffer_mut());
    // Whatever has no colours of its own has those of the theme's text, blank places too.
    if let Some((fg, bg)) = app.look.ground() {
        for cell in &mut frame.buffer_mut().content {
            cell.fg = if cell.fg == Color::Reset { fg } else { cell.fg };
            cell.bg = if cell.bg == Color::Reset { bg } else { cell.bg };
        }
    }
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
}

fn draw_on(app: &mut App, area: Rect, buffer: &mut Buffer) -> Option<(u16, u16)> {
    if app.settled() {
        app.tree.settle();
        app.tables.iter_mut().for_each(TableView::settle);
    }
    app.places.tree = Rect::ZERO;
    app.places.right = Rect::ZERO;
    app.places.views.clear();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        put(buffer, area.x, area.y, "too small", area.width, app.look.style(Role::Text));
        return None;
    }
    let status = Rect { y: area.bottom() - 1, height: 1, ..area };
    let mut rest = Rect { height: area.height - 1, ..area };
    if app.info.is_none() {
        draw_opening(app, rest, buffer);
        return draw_status(app, status, buffer);
    }
    if let Some((title, text)) = app.lesson()
        && area.height >= WITH_VIEWS + LESSON
    {
        rest.height -= LESSON;
        draw_lesson(&title, &text, Rect { y: rest.bottom(), height: LESSON, ..area }, buffer, &app.look);
    }
    if area.height >= WITH_CRUMBS {
        draw_crumbs(app, Rect { height: 1, ..rest }, buffer);
        rest = below(rest);
    }
    if area.height >= WITH_VIEWS {
        draw_views(app, Rect { height: 1, ..rest }, buffer);
        rest = below(rest);
    }
    if app.two_panes() {
        let left = (rest.width * 2 / 5).clamp(44, 80);
        let (tree, right) = (Rect { width: left, ..rest }, Rect { x: rest.x + left, width: rest.width - left, ..rest });
        draw_tree(app, tree, buffer);
        draw_right(app, right, buffer);
    } else {
        match app.focus {
            Focus::Tree => draw_tree(app, rest, buffer),
            Focus::Tables => draw_right(app, rest, buffer),
        }
    }
    if let Some(overlay) = &mut app.overlay {
        overlay.draw(Rect { height: area.height - 1, ..area }, buffer, &app.look);
    }
    let (items, selected) = app.palette();
    palette::draw(&items, selected, Rect { height: area.height - 1, ..area }, buffer, &app.look);
    draw_status(app, status, buffer)
}

/// A step of the tour: its title and two lines.
const LESSON: u16 = 3;

fn draw_lesson(title: &str, text: &str, area: Rect, buffer: &mut Buffer, look: &Look) {
    put(buffer, area.x + 1, area.y, title, area.width - 1, look.style(Role::Key));
    for (line, y) in text::wrap(text, usize::from(area.width.saturating_sub(2))).iter().zip(area.y + 1..area.bottom()) {
        put(buffer, area.x + 1, y, line, area.width - 1, look.style(Role::Header));
    }
}

fn below(area: Rect) -> Rect {
    Rect { y: area.y + 1, height: area.height - 1, ..area }
}

/// Lines for the selected row: a box where there is room, else two lines.
fn detail_height(area: Rect) -> u16 {
    match area.height {
        44.. => 9,
        24.. => 7,
        14.. => 3,
        _ => 0,
    }
}

fn draw_tree(app: &mut App, area: Rect, buffer: &mut Buffer) {
    app.places.tree = area;
    let focused = app.focus == Focus::Tree && app.overlay.is_none();
    app.tree.draw(area, buffer, focused, &app.look, detail_height(area));
}

fn draw_right(app: &mut App, area: Rect, buffer: &mut Buffer) {
    app.places.right = area;
    let focused = app.focus == Focus::Tables && app.overlay.is_none();
    app.spread_places();
    if let Some(view) = &mut app.bytes {
        view.draw(area, buffer, focused, &app.look);
        return;
    }
    let Some(view) = app.tables.get(app.active) else { return };
    let mut title = vec![(Role::Header, format!(" {} ", view.title))];
    title.extend(app.subject(view));
    title.push((Role::Text, " ".to_owned()));
    let active = app.active;
    if let Some(view) = app.tables.get_mut(active) {
        let detail = match detail_height(area) {
            // Reasons take a line each.
            lines if view.gives_reasons() && lines > 0 => lines.max(area.height * 2 / 5),
            lines => lines,
        };
        view.draw(area, buffer, &title, focused, &app.look, detail);
    }
}

/// Where we are, and at the right what the image is.
fn draw_crumbs(app: &App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let x = put(buffer, area.x + 1, area.y, "kioku", area.width, look.style(Role::Key)) + 2;
    let most = usize::from(area.width) * 11 / 20;
    let facts = app.info.as_ref().filter(|_| area.width >= TWO_PANES).map(|info| facts(info, look.symbols.dot, most)).unwrap_or_default();
    let facts = look.fit(&facts, most, Cut::End);
    let wide = text::width(&facts) as u16;
    let room = area.right().saturating_sub(x + wide + 2);
    let crumbs = look.fit(&app.crumbs().join(look.symbols.crumb), usize::from(room), Cut::Start);
    put(buffer, x, area.y, &crumbs, room, look.style(Role::Header));
    put(buffer, area.right().saturating_sub(wide + 1), area.y, &facts, wide, look.style(Role::Dim));
}

/// As much as there is room for. The time of the capture, which all other times are held against, goes last, and so do checks that failed.
fn facts(info: &Info, dot: &str, room: usize) -> String {
    let release = match info.os {
        // `Linux version 6.1.0-56-amd64 (...)`: the rest is the compiler.
        Origin::Linux => info.kernel.split_whitespace().nth(2).map(|release| format!("Linux {release}")),
        // `Windows 10.0.19041.1706 (19041.1.amd64fre...)`: the rest is the laboratory.
        Origin::Windows => info.kernel.split(" (").next().map(str::to_owned),
    };
    let release = release.unwrap_or_else(|| info.kernel.clone());
    let passed = info.checks.iter().filter(|check| check.passed).count();
    let all = info.checks.len();
    let release = (Some(release.clone()), Some(format!("{release} {}", info.architecture)));
    let host = info.hostname.value().cloned();
    let checks = |word| (all > 0).then(|| format!("profile {passed}/{all}{word}"));
    let captured = info.capture_time.value().map(|time| format!("captured {}Z", moment(*time)));
    let forms = [
        [release.1.clone(), host.clone(), checks(" checks"), captured.clone()],
        [release.1.clone(), host, checks(""), captured.clone()],
        [release.1.clone(), None, checks(""), captured.clone()],
        [release.0.clone(), None, checks(""), captured.clone()],
        [release.1, None, checks("").filter(|_| passed < all), captured.clone()],
        [release.0, None, checks("").filter(|_| passed < all), captured],
    ];
    let forms = forms.map(|form| form.into_iter().flatten().collect::<Vec<_>>().join(dot));
    forms.iter().find(|form| text::width(form) <= room).or(forms.last()).cloned().unwrap_or_default()
}

/// All views in a line, the one in sight marked; where they do not fit, those around it.
fn draw_views(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let mut names = vec![(None, "0 Processes".to_owned())];
    for (index, view) in app.tables.iter().enumerate() {
        let number = if index < 9 { format!("{} ", index + 1) } else { String::new() };
        names.push((Some(index), format!("{number}{}", view.title)));
    }
    let current = match app.focus {
        Focus::Tree => 0,
        Focus::Tables => app.active + 1,
    };
    let widths: Vec<usize> = names.iter().map(|(_, name)| text::width(name) + 2).collect();
    let room = usize::from(area.width.saturating_sub(10));
    // The window of names moves only when it must: it ends with the current one at the latest.
    let mut first = 0;
    while first < current && widths.iter().take(current + 1).skip(first).sum::<usize>() > room {
        first += 1;
    }
    let mut x = area.x + 1;
    if first > 0 {
        x = put(buffer, x, area.y, look.symbols.more_left, 1, look.style(Role::Dim)) + 1;
    }
    for (index, (view, name)) in names.iter().enumerate().skip(first) {
        let wide = text::width(name) as u16;
        // How many there are beyond the edge.
        let left = names.len() - index;
        let mark = if left > 1 { format!("+{left} {}", look.symbols.more_right) } else { look.symbols.more_right.to_owned() };
        let mark_wide = if index + 1 < names.len() { text::width(&mark) as u16 } else { 0 };
        if x + wide + mark_wide + 1 > area.right() {
            let mark_x = area.right().saturating_sub(text::width(&mark) as u16);
            put(buffer, mark_x, area.y, &mark, area.width, look.style(Role::Dim));
            break;
        }
        let in_sight = app.two_panes() && *view == Some(app.active);
        let style = match index == current {
            true => look.style(Role::Selected),
            false if in_sight => look.style(Role::Header).patch(look.style(Role::Resting)),
            false => look.style(Role::Text),
        };
        put(buffer, x, area.y, name, wide, style);
        app.places.views.push((Rect { x, y: area.y, width: wide, height: 1 }, *view));
        x += wide + 2;
    }
}

fn draw_opening(app: &App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let y = area.y + area.height / 2;
    let name = look.fit(&app.name, usize::from(area.width.saturating_sub(14)), Cut::Start);
    let x = put(buffer, area.x + 2, y, "kioku", area.width, look.style(Role::Key)) + 1;
    let x = put(buffer, x, y, "opening", area.width, look.style(Role::Text)) + 1;
    put(buffer, x, y, &name, area.right().saturating_sub(x), look.style(Role::Header));
}

fn draw_status(app: &App, area: Rect, buffer: &mut Buffer) -> Option<(u16, u16)> {
    let pane = app.pane();
    let left = match (app.prompt(), app.notice.as_ref().or(app.fading.as_ref())) {
        (Some(asked), _) => Left::Prompt(asked.question, asked.answer, asked.told),
        (None, Some((role, message))) => Left::Message(*role, message.clone()),
        (None, None) if app.info.is_none() => Left::Keys(vec![("q".to_owned(), "quit")]),
        (None, None) if pane == Pane::Overlay => Left::Keys(vec![("Esc".to_owned(), "close"), ("Down".to_owned(), "scroll")]),
        (None, None) => {
            // Where nothing can be gone back to, the key is not worth its room.
            let mut keys = app.keymap.bar(pane);
            let outermost = pane == Pane::Tree && app.tree.filter.is_empty() && app.tree.search.is_empty();
            keys.retain(|(key, _)| !(outermost && key == "Esc"));
            Left::Keys(keys)
        }
    };
    let mut right = vec![app.case_status(), app.position()];
    if let Some(work) = &app.work {
        let spinner = app.look.symbols.spinner;
        let sign = spinner.get(work.turn % spinner.len().max(1)).copied().unwrap_or_default();
        let percent = work.percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        right.push(format!("{sign} {}{percent}", work.what));
    }
    right.retain(|part| !part.is_empty());
    StatusLine { left, right: right.join("  "), look: &app.look }.draw(area, buffer)
}
