//! The program as scripts see it: exit codes, what is printed where, and that nothing is written unasked.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn file(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path().join(name), content).unwrap();
        name.to_owned()
    }
    /// Runs the program in this folder, with no terminal anywhere.
    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kioku"));
        command.env("XDG_DATA_HOME", self.path().join("data"));
        let output = command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).output().unwrap();
        Ran::new(output)
    }
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
    /// The analysis failed: one line that says what and where, and nothing that looks like a result.
    #[track_caller]
    fn failed(&self, part: &str) {
        assert_eq!(self.code, Some(1), "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with("kioku: ") && self.err.contains(part), "{}", self.err);
        assert_eq!(self.out, "");
    }
    #[track_caller]
    fn wrong_usage(&self, part: &str) {
        assert_eq!(self.code, Some(2), "{}", self.err);
        assert!(self.err.contains(part), "{}", self.err);
        assert_eq!(self.out, "");
    }
}

#[test]
fn what_is_no_image_is_refused_in_one_line() {
    let place = Place::new();
    place.file("empty", b"");
    place.file("notes.txt", b"bought milk\n");
    place.file("one", b"\x7f");
    place.file("zeros", &[0; 70_000]);
    std::fs::create_dir(place.path().join("folder")).unwrap();
    let before = place.files();
    for image in ["missing.lime", "folder", "empty", "notes.txt", "one", "zeros"] {
        for arguments in [
            &["info", image] as &[_],
            &["query", image, "processes", "--output", "result"],
            &["read", image, "0", "16", "--raw"],
            &["dump", image, "--address", "0", "--length", "1", "--output", "dumped"],
            &["tables", image],
            &[image],
        ] {
            place.run(arguments).failed(image);
        }
    }
    assert_eq!(place.files(), before, "something was written");
}

#[test]
fn an_image_name_reaches_the_terminal_only_escaped() {
    let place = Place::new();
    let ran = place.run(&["info", "a\x1b[2Jb\nc\u{202e}.lime"]);
    ran.failed("a\\x1b[2Jb\\nc\\u{202e}.lime");
    assert!(!ran.err.contains('\x1b'));
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let place = Place::new();
    place.file("memory.raw", &[0; 8192]);
    for (arguments, part) in [
        (&["info"] as &[&str], "<IMAGE>"),
        (&["query", "memory.raw"], "<TABLE>"),
        (&["query", "memory.raw", "prosesses"], "kioku tables"),
        (&["query", "memory.raw", "processes", "--format", "xml"], "xml"),
        (&["query", "memory.raw", "processes", "--pid", "x"], "--pid"),
        (&["read", "memory.raw", "ffff8000", "16"], "0x"),
        (&["read", "memory.raw", "0", "-1"], "-1"),
        (&["read", "memory.raw", "0", "1", "--physical", "--pid", "1"], "--pid"),
        (&["dump", "memory.raw", "--pid", "1"], "--output"),
        (&["dump", "memory.raw", "--output", "dumped"], "--pid"),
        (&["dump", "memory.raw", "--start", "0", "--output", "dumped"], "--pid"),
        (&["dump", "memory.raw", "--address", "0", "--output", "dumped"], "--length"),
        (&["search", "memory.raw"], "PATTERN"),
        (&["search", "memory.raw", "x"], "two bytes"),
        (&["search", "memory.raw", "hex:4"], "odd"),
        (&["search", "memory.raw", "re:("], "unclosed"),
        (&["search", "memory.raw", "text", "--limit", "0"], "--limit"),
        (&["search", "memory.raw", "text", "--kernel", "--pid", "1"], "--pid"),
        (&["dump", "memory.raw", "--executable", "--output", "dumped"], "--pid"),
        (&["dump", "memory.raw", "--library", "ntdll.dll", "--output", "dumped"], "--pid"),
        (&["dump", "memory.raw", "--module", "tcpip.sys", "--file", "a", "--output", "dumped"], "--file"),
        (&["dump", "memory.raw", "--pid", "4", "--memory-layout", "--output", "dumped"], "--executable"),
        (&["dump", "memory.raw", "--carve", "--output", "dumped"], "--pid"),
        (&["dump", "memory.raw", "--finding", "1", "--pid", "4", "--output", "dumped"], "--pid"),
        (&["triage", "memory.raw"], "--output"),
        (&["triage", "--output", "out"], "<IMAGE>"),
        (&["memory.raw", "processes"], "processes"),
        (&["memory.raw", "info", "memory.raw"], "COMMAND"),
        (&["--demo", "plan9"], "plan9"),
        (&["info", "memory.raw", "-q", "-v"], "--verbose"),
    ] {
        place.run(arguments).wrong_usage(part);
    }
    assert_eq!(place.files(), ["memory.raw"]);
}

#[test]
fn a_result_never_goes_over_a_file_that_exists() {
    let place = Place::new();
    let image = place.file("memory.raw", b"evidence");
    place.run(&["query", &image, "processes", "--output", &image]).failed("exists already");
    place.run(&["tables", "--output", &image]).failed("exists already");
    assert_eq!(std::fs::read(place.path().join(image)).unwrap(), b"evidence");
    assert_eq!(place.files(), ["memory.raw"]);
}

#[test]
fn a_search_prints_what_it_finds() {
    let place = Place::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/linux.elf.zst");
    place.file("list.txt", b"text:/bin/bash\n\nhex:7f454c460201\n");
    place.file("elf.yar", b"rule elf { meta: of = \"programs\" strings: $magic = { 7f 45 4c 46 } condition: $magic at 0 }");
    let ran = place.run(&["search", demo, "--patterns", "list.txt", "--yara", "elf.yar", "--pid", "1", "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let hits: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
    assert!(hits.iter().all(|hit| hit["pid"] == 1 && hit["process"] == "init" && hit["physical_address"].is_string()));
    let rules: Vec<_> = hits.iter().filter(|hit| hit["pattern"] == "elf").collect();
    assert!(rules.iter().any(|hit| hit["form"] == "$magic" && hit["rule"][1] == "of: programs" && hit["kind"] == "image"), "{rules:?}");
    assert!(hits.iter().filter(|hit| hit["pattern"] == "hex:7f454c460201").count() >= rules.len());
    place.file("elf.yar", b"rule elf {\n  condition: $nothing\n}");
    place.run(&["search", demo, "--yara", "elf.yar"]).failed("elf.yar:2:");
    let none = place.run(&["search", demo, "text that is nowhere in this image, surely"]);
    assert_eq!((none.code, none.err.as_str()), (Some(0), "search: nothing found\n"));
}

#[test]
fn help_and_version_are_results() {
    let place = Place::new();
    let help = place.run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    assert!(help.out.contains("Exit status"));
    let version = place.run(&["--version"]);
    assert_eq!((version.code, version.out), (Some(0), format!("kioku {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn tables_are_listed_in_every_form() {
    let place = Place::new();
    let json = place.run(&["tables", "--format", "json"]);
    let tables: Vec<serde_json::Value> = serde_json::from_str(&json.out).unwrap();
    let names: Vec<_> = tables.iter().map(|table| table["name"].as_str().unwrap()).collect();
    for name in ["processes", "pstree", "threads", "sockets", "regions", "suspicious", "modules", "open_files", "kernel_log"] {
        assert!(names.contains(&name), "{name}");
    }
    for table in &tables {
        assert!(!table["description"].as_str().unwrap().is_empty());
        for column in table["columns"].as_array().unwrap() {
            assert!(!column["description"].as_str().unwrap().is_empty(), "{table}");
        }
    }
    assert_eq!(place.run(&["tables", "--format", "jsonl"]).out.lines().count(), tables.len());
    let columns: usize = tables.iter().map(|table| table["columns"].as_array().unwrap().len()).sum();
    assert_eq!(place.run(&["tables", "--format", "csv"]).out.lines().count(), columns + 1);
    assert!(place.run(&["tables"]).out.contains("Volatility: pslist"));
}

/// `kioku ... | head` must not end in an error.
#[cfg(unix)]
#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kioku"));
    let mut child = command.arg("tables").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::new(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_told() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_kioku"));
    let ran = Ran::new(command.arg("tables").stdin(Stdio::null()).stdout(full).output().unwrap());
    ran.failed("standard output");
}

#[test]
fn searches_and_dumps_are_told_by_a_case_that_is_named_or_there() {
    let place = Place::new();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/linux.elf.zst").display().to_string();
    let search = ["search", &image, "kworkerd", "--limit", "3"];
    assert_eq!(place.run(&search).code, Some(0));
    assert_eq!(place.files(), [] as [&str; 0], "no case is begun unasked");
    place.run(&["search", &image, "kworkerd", "--case", "no/such/folder.kioku"]).failed("there is no folder");
    let named = [&search[..], &["--case", "a.kioku"]].concat();
    assert_eq!(place.run(&named).code, Some(0));
    let dump = ["dump", &image, "--physical", "--address", "0x100000", "--length", "4096", "--output", "page", "--case", "a.kioku"];
    let ran = place.run(&dump);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    place.run(&["report", &image, "--case", "a.kioku", "--audit", "--no-hash", "--output", "out"]);
    let report = std::fs::read_to_string(place.path().join("out/report.md")).unwrap();
    for part in ["searched", "in physical memory: 3 matches", "dumped", "physical memory, 4096 bytes at 0x100000: 1 file,"] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
}

#[test]
fn a_report_is_two_new_files_of_which_neither_can_be_run() {
    let place = Place::new();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/linux.elf.zst").display().to_string();
    place.run(&["report", &image]).wrong_usage("--output");
    place.run(&["report", &image, "--case", "none.kioku", "--output", "out"]).failed("there is no such case");
    let ran = place.run(&["report", &image, "--output", "out", "--table", "sockets", "--no-hash"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let (text, page) = ("out/report.md", "out/report.html");
    for name in [text, page] {
        let all = std::fs::read_to_string(place.path().join(name)).unwrap();
        for part in ["Findings", "Table sockets", "not computed", "checks passed", "kworkerd"] {
            assert!(all.contains(part), "{part} is not in {name}");
        }
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(place.path().join(name)).unwrap().permissions()) & 0o111, 0);
    }
    let before = std::fs::read(place.path().join(text)).unwrap();
    place.run(&["report", &image, "--output", "out", "-q"]).failed("exists already");
    assert_eq!(std::fs::read(place.path().join(text)).unwrap(), before);
    assert_eq!(place.files(), ["out"]);
}
