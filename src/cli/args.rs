//! What may be typed.

use crate::facts::Origin;
use crate::report::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

pub const STATUS: &str = "\
Exit status: 0 done; 1 the analysis failed (standard error says what, where and what to try); 2 wrong usage; 130 interrupted.
Results go to standard output, everything else to standard error.";

/// A terminal explorer for memory images.
#[derive(Debug, Parser)]
#[command(name = "kioku", version, about, after_help = STATUS, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Memory image to explore. One that is named like a command is given as ./NAME.
    pub image: Option<PathBuf>,
    /// Open the bundled demo image of this system.
    #[arg(long, value_name = "SYSTEM", conflicts_with = "image")]
    pub demo: Option<System>,
    /// Settings of the explorer: a folder with config.toml, keymap.toml and themes, or its config.toml; otherwise kioku in the user's
    /// folder of settings ($XDG_CONFIG_HOME).
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// File of the case that the explorer keeps notes in; otherwise one for each image in kioku/cases of the user's folder of data
    /// ($XDG_DATA_HOME), begun with the first note.
    #[arg(long, value_name = "FILE")]
    pub case: Option<PathBuf>,
    /// Keep no notes beyond the end of the explorer.
    #[arg(long, conflicts_with = "case")]
    pub no_case: bool,
    /// The explorer sends less: details when the cursor has rested longer, fewer frames, nothing that spins.
    #[arg(long)]
    pub slow_link: bool,
    #[command(flatten)]
    pub common: Common,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Symbols: ISF file or folder, PDB, vmlinux, System.map or profile. Repeatable; the image itself is used by default.
    #[arg(long, value_name = "PATH", global = true)]
    pub symbols: Vec<PathBuf>,
    /// Form of the results.
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text")]
    pub format: Shape,
    /// Write the results to this new file (dump, triage: into this folder). What exists is never written over.
    #[arg(long, short, value_name = "PATH", global = true)]
    pub output: Option<PathBuf>,
    /// Only this process.
    #[arg(long, value_name = "N", global = true)]
    pub pid: Option<u32>,
    /// Page file of the image. Repeatable.
    #[arg(long, value_name = "PATH", global = true)]
    pub pagefile: Vec<PathBuf>,
    /// Event log of the same machine. Repeatable.
    #[arg(long, value_name = "PATH", global = true)]
    pub evtx: Vec<PathBuf>,
    /// Configuration of Sysmon on the same machine: its XML file, or the bytes of its registry value Rules.
    #[arg(long, value_name = "PATH", global = true)]
    pub sysmon_config: Option<PathBuf>,
    /// Say nothing but errors on standard error.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say what is done and how long it takes.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what an image is: format, system, kernel, symbols and how they were verified.
    Info {
        /// Memory image.
        image: PathBuf,
    },
    /// List every table with its columns, or those that an image has.
    Tables {
        /// Memory image.
        image: Option<PathBuf>,
    },
    /// Print one table.
    #[command(after_help = "`kioku tables` lists the tables. Volatility's names of the same views serve too: linux.pslist.")]
    Query {
        /// Memory image.
        image: PathBuf,
        /// Table, by its own name or by Volatility's.
        table: String,
        /// Registry key to show, as HKLM\SYSTEM\Select.
        #[arg(long, value_name = "PATH")]
        key: Option<String>,
        /// Everything below the key, too.
        #[arg(long, requires = "key")]
        recurse: bool,
    },
    /// Print memory as a hex dump: of the kernel, of a process (--pid) or physical memory.
    #[command(after_help = "Numbers are decimal, or hexadecimal with 0x before them.")]
    Read {
        /// Memory image.
        image: PathBuf,
        /// First address.
        #[arg(value_parser = number)]
        address: u64,
        /// Number of bytes.
        #[arg(value_parser = number)]
        length: u64,
        /// The address is a physical one.
        #[arg(long, conflicts_with = "pid")]
        physical: bool,
        /// Write the bytes themselves, and stop at the first that is missing.
        #[arg(long)]
        raw: bool,
    },
    /// Write memory to files in the folder --output, with a manifest of SHA-256 and MD5 sums.
    #[command(after_help = "\
With --pid alone all memory of a process is written, with --start one region of it, with --address and --length any range.
Programs, libraries and modules of Windows become files again: each section where the file has it, ImageBase set to the address where it
was loaded; where headers cannot be right, memory is written as it lies. A file is written once for each source of its pages. Names match
whole components from the end of a path; all that match are written. Holes become zeros and are listed in the manifest. Numbers are
decimal, or hexadecimal with 0x before them.")]
    Dump {
        /// Memory image.
        image: PathBuf,
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        case: Trail,
    },
    /// Search physical memory, the kernel (--kernel) or a process (--pid) for text, bytes, expressions or YARA rules.
    #[command(after_help = "\
Text is matched as UTF-8 and UTF-16. In hex: a ? stands for any half of a byte. Expressions (re:) see bytes: \\w is of ASCII, \\xff a byte.
A match in physical memory is shown with the process and the region that map it, or as unmapped. For YARA rules each region of a process
stands for a file; in physical memory a condition is judged by its strings alone. Rules may import pe, elf, dotnet, math, string, time.")]
    Search(super::search::SearchArgs),
    /// Write every table and a summary of one or many images into the folder --output.
    Triage {
        /// Memory images.
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<PathBuf>,
    },
    /// Write a report of an image as Markdown and HTML into the folder --output: image, profile, findings, notes of the case.
    Report {
        /// Memory image.
        image: PathBuf,
        /// File of the case; otherwise the one that the explorer keeps for this image.
        #[arg(long, value_name = "FILE")]
        case: Option<PathBuf>,
        /// A table to take in whole. Repeatable.
        #[arg(long, value_name = "TABLE")]
        table: Vec<String>,
        /// What was done with the image in the explorer, too.
        #[arg(long)]
        audit: bool,
        /// Do not read the image from end to end for its SHA-256.
        #[arg(long)]
        no_hash: bool,
    },
    /// Print the event records (Sysmon and others) of a log file, or of an image with the logs that --evtx names.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Events {
        #[command(subcommand)]
        command: Option<EventsCommand>,
        /// Event log (.evtx) or memory image.
        #[arg(value_name = "FILE|IMAGE", required = true)]
        source: Option<PathBuf>,
    },
    /// Say which profile an image needs, list profiles, build one.
    Symbols {
        #[command(subcommand)]
        command: SymbolsCommand,
    },
}

/// Which case is told what was done.
#[derive(Debug, Args)]
pub struct Trail {
    /// File of the case whose audit trail tells of this, begun where there is none; otherwise that of the case that the explorer keeps of
    /// this image, if there is one.
    #[arg(long, value_name = "FILE")]
    pub case: Option<PathBuf>,
}

/// What to dump.
#[derive(Debug, Args)]
pub struct What {
    /// The region that holds this address.
    #[arg(long, value_name = "ADDR", value_parser = number, requires = "pid", group = "one")]
    pub start: Option<u64>,
    /// First address of a range.
    #[arg(long, value_name = "A", value_parser = number, requires = "length", group = "one")]
    pub address: Option<u64>,
    /// Number of bytes of a range.
    #[arg(long, value_name = "N", value_parser = number, requires = "address")]
    pub length: Option<u64>,
    /// The address is a physical one.
    #[arg(long, requires = "address", conflicts_with = "pid")]
    pub physical: bool,
    /// The program of the process.
    #[arg(long, requires = "pid", group = "one")]
    pub executable: bool,
    /// Libraries of the process by name or path, or whatever executable is at an address of it.
    #[arg(long, value_name = "NAME|BASE", requires = "pid", group = "one")]
    pub library: Option<String>,
    /// Programs by their headers in memory that no file backs, as long as those say: with --start in one region.
    #[arg(long, requires = "pid", conflicts_with_all = ["address", "executable", "library"])]
    pub carve: bool,
    /// What a finding is about, by its place in the table `findings`: its region and the programs in it, its program, its module.
    #[arg(long, value_name = "N", group = "one", conflicts_with_all = ["pid", "carve"])]
    pub finding: Option<usize>,
    /// Kernel modules by name, path or base.
    #[arg(long, value_name = "NAME|BASE", group = "one", conflicts_with = "pid")]
    pub module: Option<String>,
    /// Files that are cached in memory, by path or by the address of a file object.
    #[arg(long, value_name = "PATH|ADDR", group = "one", conflicts_with = "pid")]
    pub file: Option<String>,
    /// Leave programs, libraries and modules in the order that they have in memory.
    #[arg(long, conflicts_with_all = ["start", "address", "file"])]
    pub memory_layout: bool,
}

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Show the rules of Sysmon's configuration and what it does not see: of a file, or of the registry in a memory image.
    Config {
        /// Configuration (XML, or the bytes of the registry value Rules) or memory image.
        #[arg(value_name = "FILE|IMAGE")]
        source: PathBuf,
    },
    /// Say how far back a log reaches, and how large it must be for a number of days.
    Retention {
        /// Event log (.evtx).
        file: PathBuf,
        /// Days that it should reach back.
        #[arg(long, value_name = "N", default_value = "90")]
        days: u64,
    },
}

#[derive(Debug, Subcommand)]
pub enum SymbolsCommand {
    /// Make a profile, small and quick to load, of a vmlinux, an ISF file or a System.map; --output names it.
    Build {
        /// What to make it of.
        #[arg(value_name = "VMLINUX")]
        source: PathBuf,
    },
    /// Say which kernel an image is of, and where its types and symbols come from.
    Identify {
        /// Memory image.
        image: PathBuf,
    },
    /// List the packed profiles, and what the files hold that --symbols names.
    List,
    /// Pack the symbol tables of Windows kernels in a folder; --output names the pack.
    #[command(after_help = "The folder is laid out as symbols/README.md says. The same folder gives the same file.")]
    Pack {
        /// Folder of ISF tables and the lists that go with them.
        folder: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum System {
    Linux,
    Windows,
}

impl From<System> for Origin {
    fn from(system: System) -> Self {
        match system {
            System::Linux => Self::Linux,
            System::Windows => Self::Windows,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shape {
    Text,
    Json,
    Jsonl,
    Csv,
    /// JSON Lines for a timeline in Timesketch
    Timesketch,
    /// Body file for mactime
    Bodyfile,
}

impl From<Shape> for Format {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Text => Self::Text,
            Shape::Json => Self::Json,
            Shape::Jsonl => Self::Jsonl,
            Shape::Csv => Self::Csv,
            Shape::Timesketch => Self::Timesketch,
            Shape::Bodyfile => Self::Bodyfile,
        }
    }
}

/// Digits alone never mean hexadecimal: an address copied without its 0x must not be taken for another one in silence.
pub fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
        _ => text.parse(),
    };
    parsed.map_err(|_| "neither a decimal number nor 0x and hexadecimal digits, of 64 bits at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_say_their_base() {
        assert_eq!(number("0xffff8d0fc0a3b080"), Ok(0xffff_8d0f_c0a3_b080));
        assert_eq!(number("4096"), Ok(4096));
        for wrong in ["", "0x", "ffff8d0f", "-1", "0x+1", "0x1ffffffffffffffff", "1k"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_first_word_that_is_no_command_is_an_image() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["kioku"], words].concat());
        assert!(matches!(parse(&["memory.lime"]), Ok(Cli { command: None, image: Some(_), .. })));
        assert!(matches!(parse(&["./info"]), Ok(Cli { command: None, image: Some(_), .. })));
        assert!(matches!(parse(&["--quiet", "info", "memory.lime"]), Ok(Cli { command: Some(Command::Info { .. }), .. })));
        assert!(matches!(parse(&[]), Ok(Cli { command: None, image: None, .. })));
        assert!(parse(&["memory.lime", "more"]).is_err());
        assert!(parse(&["events"]).is_err());
        assert!(matches!(
            parse(&["events", "log.evtx"]),
            Ok(Cli { command: Some(Command::Events { command: None, source: Some(_) }), .. })
        ));
        let retention = parse(&["events", "retention", "log.evtx", "--days", "30", "--format", "json"]);
        assert!(matches!(retention, Ok(Cli { command: Some(Command::Events { command: Some(_), source: None }), .. })));
    }
}
