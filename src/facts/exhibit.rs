use super::{Known, Protection};
use crate::address::VirtAddr;
use std::sync::Arc;

/// What is known of an executable region before anyone judges it. Gathered by the system's own code, weighed by `findings`.
#[derive(Clone, Debug, Default)]
pub struct Exhibit {
    pub pid: u32,
    pub process: String,
    pub process_address: VirtAddr,
    /// Path of the file that the process runs, as its memory is mapped from it; None where that cannot be told.
    pub program: Option<Arc<str>>,
    pub start: VirtAddr,
    /// Last byte, inclusive.
    pub end: VirtAddr,
    pub protection: Protection,
    /// What the page tables grant to the pages that are in memory; None where none is.
    pub page_rights: Option<Protection>,
    pub file: Known<String>,
    pub behind: Behind,
    /// Mapped as data, though its pages can be run and a file is behind them.
    pub as_data: bool,
    /// Pages that are mapped, and of these the ones that the image does not hold.
    pub pages: u64,
    pub unread: u64,
    /// Pages that hold anything but zeros: the address and first bytes of the first few. Of memory that no file backs.
    pub content: Vec<(VirtAddr, Vec<u8>)>,
    /// Code pages that are the process's own copies though a file backs them, and the first at which one differs from the file.
    pub copies: Vec<VirtAddr>,
    pub changes: Vec<Change>,
    /// Of these copies the ones that other processes have alike: which, where the file's own page is gone.
    pub alike: Vec<(VirtAddr, Vec<u32>)>,
    /// How many of the copies there is nothing to hold against: the file's own page is gone, and other processes do not agree on one.
    pub alone: u64,
    /// Such pages that differ from the file in nothing but breakpoints of the kernel's own.
    pub probed: Vec<VirtAddr>,
    /// Such pages that do not differ from the file, though something wrote to them.
    pub restored: Vec<VirtAddr>,
    /// Such pages that differ in nothing but what the file has the loader fill in.
    pub relocated: Vec<VirtAddr>,
    /// Who traces the process, in words, if all changes are breakpoints.
    pub debugger: Option<String>,
    /// The first place where the process's own copy of the headers differs from the file's.
    pub header: Option<Change>,
    /// What its sections are aligned to where they share pages, so that all of it can be written and run, its headers too.
    pub flat: Option<u64>,
    /// The size that its headers claim, where that is not what was mapped.
    pub claimed: Option<u64>,
    /// Pages that can be run, of parts that the file marks as data: the first, and the name of its part; and how many.
    pub data_code: Option<(VirtAddr, String, u64)>,
    /// Whether the loader's lists, which could all be read, leave out this image though code of it is in memory.
    pub unlisted: bool,
    /// How evenly the bytes of a page are spread, in bits of 8, and its address: the page that comes nearest to them. Of memory that no
    /// file backs.
    pub entropy: Option<(f64, VirtAddr)>,
    /// System calls that memory without a file makes by itself: where, and their numbers.
    pub system_calls: Vec<(VirtAddr, u32)>,
    pub head: Known<Vec<u8>>,
    /// Threads that began in it, by ID and address, as far as the system keeps that.
    pub threads: Vec<(u32, VirtAddr)>,
    /// Other ways into it.
    pub entrances: Vec<Entrance>,
    /// Threads of the process, and of these the ones whose place in it cannot be told.
    pub stacks: (u64, u64),
    /// Files that the process has mapped as code.
    pub images: Arc<[String]>,
    /// A list for profilers that tells of functions in it, and how many.
    pub listed: Option<(String, usize)>,
}

/// What stands behind a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behind {
    /// Memory of the process alone.
    #[default]
    Nothing,
    /// A file; whether it is the program itself, whether it has been deleted and another has its name now, and whether it never had one.
    File { program: bool, deleted: bool, replaced: bool, anonymous: bool },
    /// What was made as the image of a program, without a file.
    Nowhere,
}

/// How code in a region comes to run, other than by a thread that begins there.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub way: Way,
    /// Who leads there, in words.
    pub from: String,
    pub to: VirtAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Apc,
    Import,
    Detour,
    /// A thread is to go on there, once the kernel lets it.
    Stand,
    /// The stack of a thread says that a call comes back there.
    Return,
}

/// A place where code differs from the file it came from.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub at: VirtAddr,
    pub was: Vec<u8>,
    pub is: Vec<u8>,
    /// Where it jumps at once, as a hook does.
    pub detour: Option<Detour>,
    /// The processes that have it as it was, where the file's own page is gone; empty where that was there to compare.
    pub against: Vec<u32>,
    /// The exported function at or before it, and how far behind its start.
    pub function: Option<(String, u64)>,
}

/// Where a jump leads in the end, and the file there; absent where none is behind it.
#[derive(Clone, Debug)]
pub struct Detour {
    pub to: VirtAddr,
    pub file: Known<String>,
}

impl Change {
    /// The first place where a page at `at` is no longer what it was.
    pub fn first(at: VirtAddr, was: &[u8], is: &[u8]) -> Option<Self> {
        Self::each(at, was, is).next()
    }

    /// Every place where it is no longer what it was, each with the bytes from there on.
    pub fn each(at: VirtAddr, was: &[u8], is: &[u8]) -> impl Iterator<Item = Self> {
        let length = was.len().min(is.len());
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = from + was.get(from..length)?.iter().zip(is.get(from..length)?).position(|(was, is)| was != is)?;
            let end = (first + 8).min(length);
            from = end;
            let (was, is) = (was.get(first..end)?.to_vec(), is.get(first..end)?.to_vec());
            Some(Self { at: at.offset(first as u64), was, is, ..Self::default() })
        })
    }
}
