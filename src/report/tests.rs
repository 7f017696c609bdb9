//! Writers held against hostile text and against a million rows.

use super::*;
use crate::address::VirtAddr;
use crate::facts::record::record;
use crate::facts::{Known, ReadError, Record, Sink, Time};
use std::sync::Arc;

record! {
    /// Rows with one column of each kind.
    Sample = "sample" {
        /// A number.
        number: i64,
        /// An address.
        address: Known<VirtAddr>,
        /// A time.
        time: Known<Time>,
        /// A text.
        text: Known<String>,
        /// Only Windows has it.
        [windows] session: Known<u32>,
        /// A list.
        list: Vec<String>,
    }
}

fn sample(number: i64, text: &str) -> Sample {
    Sample {
        number,
        address: Known::Value(VirtAddr(0xffff_8d0f_c0a3_b080)),
        time: Time::from_nanoseconds(1_700_000_000_123_456_000, 6).into(),
        text: Known::Value(text.to_owned()),
        ..Sample::default()
    }
}

fn answer(samples: impl IntoIterator<Item = Sample>) -> Arc<dyn Rows> {
    let mut sink = Sink::new(Arc::default());
    sink.extend(samples);
    sink.finish()
}

fn written(rows: &dyn Rows, format: Format) -> String {
    let mut out = Vec::new();
    write_rows(rows, Some(Origin::Linux), format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const HOSTILE: &str = "a\x1b[31m\u{9b}2J\u{202e}\"\\\n,記憶\u{e0041}";

#[test]
fn markdown_keeps_text_as_text() {
    let mut out = Vec::new();
    write_markdown(&*answer([sample(-1, "a|b <img src=x> [x](http://y) `z`\n# h\u{1b}")]), Some(crate::facts::Origin::Linux), &mut out)
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    let row = text.lines().last().unwrap();
    assert!(row.contains("a\\|b &lt;img src=x&gt; \\[x\\](http&#58;//y) \\`z\\`\\\\n\\# h\\\\x1b"), "{row}");
}

#[test]
fn json_is_valid_whole_and_harmless() {
    let text = written(&*answer([sample(-1, HOSTILE), Sample::default()]), Format::Json);
    assert_eq!(crate::facts::text::first_unprintable(&text.replace('\n', "")), None, "{text}");
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rows[0]["text"], HOSTILE);
    assert_eq!(rows[0]["number"], -1);
    assert_eq!(rows[0]["address"], "0xffff8d0fc0a3b080");
    assert_eq!(rows[0]["time"], "2023-11-14T22:13:20.123456Z");
    assert!(rows[1]["text"].is_null() && rows[1]["list"].as_array().unwrap().is_empty());
    assert!(rows[0].get("session").is_none(), "a column of another system");
    assert_eq!(written(&*answer([]), Format::Json), "[]\n");
}

#[test]
fn json_lines_are_one_object_each() {
    let text = written(&*answer([sample(1, HOSTILE), sample(2, "b")]), Format::Jsonl);
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["text"]), (2, &"b".into()));
}

#[test]
fn what_could_not_be_read_is_null_and_said() {
    let unreadable = Sample { text: Known::Unreadable(ReadError::NotMapped(VirtAddr(0x10))), ..sample(3, "") };
    let rows = answer([unreadable]);
    let json: serde_json::Value = serde_json::from_str(&written(&*rows, Format::Json)).unwrap();
    assert!(json[0]["text"].is_null());
    assert_eq!(json[0]["problems"][0], "text: 0x10 is not mapped");
    assert!(written(&*rows, Format::Text).contains("  ??"));
}

#[test]
fn csv_holds_no_formula_and_keeps_numbers() {
    for formula in ["=cmd|' /C calc'!A0", "+1", "-1+2", "@SUM(1)", "\tx", "\rx", "＝1"] {
        let text = written(&*answer([sample(-5, formula)]), Format::Csv);
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("-5,0xffff8d0fc0a3b080,2023-11-14T22:13:20.123456Z,\"'"), "{line}");
    }
}

#[test]
fn csv_quotes_and_keeps_one_line_a_row() {
    let rows = answer([Sample { list: vec!["x".into(), "y".into()], ..sample(7, HOSTILE) }]);
    let text = written(&*rows, Format::Csv);
    let expected = "number,address,time,text,list,problems\r\n7,0xffff8d0fc0a3b080,2023-11-14T22:13:20.123456Z,\
        \"a\\x1b[31m\\x9b2J\\u{202e}\"\"\\\\n,記憶\\u{e0041}\",\"x, y\",\r\n";
    assert_eq!(text, expected);
}

#[test]
fn text_is_aligned_by_what_the_terminal_shows() {
    let text = written(&*answer([sample(5, "記憶"), sample(-1234, "memory"), sample(6, "\x1b")]), Format::Text);
    let expected = "\
NUMBER             ADDRESS  TIME                         TEXT    LIST  PROBLEMS
     5  0xffff8d0fc0a3b080  2023-11-14T22:13:20.123456Z  記憶
 -1234  0xffff8d0fc0a3b080  2023-11-14T22:13:20.123456Z  memory
     6  0xffff8d0fc0a3b080  2023-11-14T22:13:20.123456Z  \\x1b
";
    assert_eq!(text, expected);
}

#[test]
fn a_very_long_cell_is_whole_and_does_not_widen_the_rest() {
    let long = "x".repeat(5000);
    let text = written(&*answer([sample(1, &long), sample(2, "y")]), Format::Text);
    assert!(text.contains(&long));
    assert!(text.lines().last().unwrap().len() < 200);
}

/// Not a benchmark: it only catches a writer whose cost grows with the square of the rows.
#[test]
fn many_rows_are_written_in_linear_time() {
    let rows = answer((0..200_000).map(|number| sample(number, "/usr/lib/systemd/systemd-journald")));
    let started = std::time::Instant::now();
    for format in [Format::Json, Format::Jsonl, Format::Csv, Format::Text] {
        let begun = std::time::Instant::now();
        write_rows(&*rows, None, format, &mut io::sink()).unwrap();
        println!("{format:?}: {:.0} rows/s", 200_000.0 / begun.elapsed().as_secs_f64());
    }
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn a_timeline_has_what_timesketch_asks_for() {
    let text = written(&*answer([sample(7, HOSTILE), Sample::default()]), Format::Timesketch);
    // The second row has no time.
    assert_eq!(text.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["datetime"], "2023-11-14T22:13:20.123456+00:00");
    assert_eq!((&line["timestamp"], &line["timestamp_desc"]), (&1_700_000_000_123_456_u64.into(), &"time".into()));
    assert_eq!((&line["data_type"], &line["text"], &line["number"]), (&"kioku:sample".into(), &HOSTILE.into(), &7.into()));
    assert!(line["message"].as_str().unwrap().starts_with("sample: number=7"));
}

#[test]
fn rows_in_pieces_are_written_as_one_answer() {
    for format in [Format::Json, Format::Jsonl, Format::Csv, Format::Text] {
        let mut out = Vec::new();
        let mut stream = Stream::new(const { &Sample::TABLE }, None, format, &mut out);
        for piece in [vec![], vec![sample(1, "a"), sample(2, "b")], vec![], vec![sample(3, "c")]] {
            stream.rows(&*answer(piece)).unwrap();
        }
        stream.finish().unwrap();
        let mut whole = Vec::new();
        write_rows(&*answer([sample(1, "a"), sample(2, "b"), sample(3, "c")]), None, format, &mut whole).unwrap();
        let whole = String::from_utf8(whole).unwrap();
        // Only the columns of text have the widths of their piece.
        if format != Format::Text {
            assert_eq!(String::from_utf8(out).unwrap(), whole, "{format:?}");
        } else {
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), whole.lines().count());
        }
    }
}

/// Both forms of a report, written by the same hand.
fn pages(tell: impl Fn(&mut dyn case::Page)) -> [String; 2] {
    let (mut text, mut page) = (Vec::new(), Vec::new());
    tell(&mut markdown::Markdown(&mut text));
    tell(&mut html::Html(&mut page));
    [text, page].map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_report_keeps_text_as_text() {
    let evil = "</td><script>alert(1)</script><img src=x onerror='y'>|a](http://x) www.x.y mail@x.y \u{202e}gpj\u{1b}[2J\n# h\u{0}";
    let [text, page] = pages(|page| {
        page.begin(evil).unwrap();
        page.heading(2, evil).unwrap();
        page.text(evil).unwrap();
        page.fields(&[(evil, evil.to_owned())]).unwrap();
        page.head(&[evil, "b"]).unwrap();
        page.row(&[evil.to_owned(), evil.to_owned()]).unwrap();
        page.foot().unwrap();
        page.end().unwrap();
    });
    for all in [&text, &page] {
        assert!(all.chars().all(|c| c == '\n' || !crate::facts::text::is_unprintable(c)), "{all}");
        for wrong in ["<script", "<img", "</td><script", "\n# h"] {
            assert!(!all.contains(wrong), "{wrong} in {all}");
        }
        assert!(all.contains("&lt;script&gt;alert(1)"));
    }
    assert!(!text.contains("www.") && !text.contains("http://") && !text.contains("mail@") && text.contains("\\|a\\]"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with('#')).count(), 2, "{text}");
    // Nothing but our own elements, none of which fetches or runs anything.
    let elements: Vec<&str> = page.split('<').skip(1).filter_map(|rest| rest.split([' ', '>', '\n']).next()).collect();
    let ours = [
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "div", "table", "thead", "tbody", "tr", "th",
        "td",
    ];
    assert!(elements.iter().all(|name| *name == "!DOCTYPE" || ours.contains(&name.trim_start_matches('/'))), "{elements:?}");
    assert!(page.contains("default-src 'none'") && !page.contains("href") && !page.contains("url("));
}

#[test]
fn a_cancelled_report_leaves_nothing_behind() {
    let session = crate::engine::Session::demo(Origin::Linux, &crate::facts::Watch::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("report");
    let contents = crate::case::Contents { digest: true, ..crate::case::Contents::default() };
    let watch = Arc::new(crate::facts::Watch::default());
    let said = write_report(&session, &contents, &place, &watch).unwrap();
    assert!(said.contains("report.html") && watch.reading().0 == session.info().size, "{said}");
    assert!(write_report(&session, &contents, &place, &watch).unwrap_err().0.contains("not written over"));
    watch.cancel();
    let other = folder.path().join("other");
    assert_eq!(write_report(&session, &contents, &other, &watch).unwrap_err().0, "cancelled; no report was written");
    assert!(!other.exists());
}
