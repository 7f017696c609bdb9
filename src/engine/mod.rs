//! The only door: open an image, submit queries, read memory. Whatever waits on the image is a job.

mod answers;
mod bytes;
mod carve;
mod catalog;
mod contents;
mod derived;
mod dump;
mod files;
mod identity;
mod job;
mod landmarks;
mod profiles;
mod scan;
mod search;
mod timeline;

pub use crate::events::{LogFile, is_linux_log, of_linux_log, sysmon_config_of};
pub use crate::findings::rules::ALL as RULES;
pub use bytes::{Bytes, MOST_BYTES, Piece, Space};
pub use catalog::{Entry, SIGHTINGS, catalog, find_table};
pub use dump::{Dump, Extent, Which};
pub use job::{Job, Task};
pub use profiles::{build_profile, pack_folder, symbol_files};
pub use scan::{Ground, Search};
pub use search::{FoundText, Hit, Stretch};

use crate::address::VirtAddr;
use crate::facts::{Answer, Begun, Feed, Info, Kept, Origin, Process, ReadError, Record, Rows, Scope, State, Tables, Watch};
use crate::image::{Image, PageFile};
use crate::linux::Linux;
use crate::paging::AddressSpace;
use crate::windows::{Marks, Windows};
use answers::Answers;
use scan::Early;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The bundled images, see assets/README.md: a real Linux guest with a story, and a Windows machine that never ran.
const LINUX_DEMO: (&str, &[u8]) = ("linux-demo", include_bytes!("../../assets/linux.elf.zst"));
const WINDOWS_DEMO: (&str, &[u8]) = ("windows-demo (generated image)", include_bytes!("../../assets/windows.raw.zst"));
const WINDOWS_DEMO_PAGEFILE: (&str, &[u8]) = ("pagefile.sys", include_bytes!("../../assets/windows-pagefile.sys.zst"));

/// What the user gave beside the image.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// ISF files or folders, vmlinux, System.map, profile files.
    pub symbols: Vec<PathBuf>,
    /// Page files of the same machine.
    pub pagefiles: Vec<PathBuf>,
    /// Event logs of the same machine.
    pub logs: Vec<PathBuf>,
    /// Configuration of Sysmon on the same machine: XML, or the registry value Rules.
    pub sysmon_config: Option<PathBuf>,
    pub ahead: Ahead,
}

/// What will be asked of an image first: what that waits for is looked for while the kernel is examined.
#[derive(Clone, Debug, Default)]
pub enum Ahead {
    #[default]
    Nothing,
    Tables,
    /// A search of physical memory, and the watch that can cancel it.
    Search(Arc<Search>, Arc<Watch>),
}

/// Why something cannot be done: what, where and what to try, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl From<crate::image::OpenError> for Error {
    fn from(why: crate::image::OpenError) -> Self {
        Self(why.to_string())
    }
}

pub(crate) enum System {
    Linux(Box<Linux>),
    Windows(Box<Windows>),
}

impl System {
    /// What costs nothing comes first: the image's headers and its lowest megabyte. Then memory is swept for either kernel.
    fn detect(
        image: &Arc<Image>,
        options: &Options,
        pagefiles: Vec<PageFile>,
        early: &mut Option<Early>,
        watch: &Watch,
    ) -> Result<Self, String> {
        let symbols = &options.symbols;
        let mut begin = |windows: bool| match &options.ahead {
            Ahead::Tables if windows => {
                let image = Arc::clone(image);
                Some(Begun::start(move |watch| Marks::sweep(&image, watch)))
            }
            Ahead::Search(search, watch) if early.is_none() => {
                let (begun, marks) = Early::begin(search, watch, image, windows);
                *early = Some(begun);
                marks
            }
            _ => None,
        };
        let windows = |windows: Windows| {
            Self::Windows(Box::new(windows.with_pages(pagefiles).with_logs(&options.logs, options.sysmon_config.as_deref())))
        };
        if let Some(found) = Windows::at_hand(image, symbols, &mut || begin(true).map(Arc::new)) {
            return found.map(windows);
        }
        begin(false);
        let linux = Linux::detect(Arc::clone(image), symbols, watch);
        match linux {
            Ok(linux) => Ok(Self::Linux(Box::new(linux))),
            Err(why) => match Windows::by_sweep(image, symbols, &mut || begin(true).map(Arc::new), watch) {
                Some(found) => found.map(windows),
                None => Err(format!("{why}; there is no trace of a Windows kernel either")),
            },
        }
    }
    fn info(&self) -> &Info {
        match self {
            Self::Linux(linux) => linux.info(),
            Self::Windows(windows) => windows.info(),
        }
    }
    /// The kernel's address space.
    fn space(&self) -> &AddressSpace {
        match self {
            Self::Linux(linux) => linux.space(),
            Self::Windows(windows) => windows.space(),
        }
    }
    fn process_space(&self, process: VirtAddr) -> Result<AddressSpace, ReadError> {
        match self {
            Self::Linux(linux) => linux.process_space(process),
            Self::Windows(windows) => windows.process_space(process),
        }
    }
    fn name_at(&self, process: Option<VirtAddr>, at: VirtAddr) -> Option<String> {
        match self {
            Self::Linux(linux) => linux.name_at(at),
            Self::Windows(windows) => windows.name_at(process, at),
        }
    }
}

/// An opened image with its answers. Cheap to clone.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    name: String,
    info: Info,
    image: Arc<Image>,
    system: System,
    early: Option<Early>,
    answers: Answers,
    /// The machine's process objects before they are joined with events.
    processes: Kept<Answer<Process>>,
    spaces: Mutex<bytes::Opened>,
}

impl Session {
    /// Opens an image and finds its kernel. `watch` tells progress and can cancel.
    pub fn open(path: &Path, options: &Options, watch: &Watch) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let image = Image::open(path)?;
        let pagefiles = options.pagefiles.iter().map(|path| PageFile::open(path)).collect::<Result<_, _>>()?;
        Self::analyse(image, name, options, pagefiles, watch)
    }

    /// Opens a bundled demo image.
    pub fn demo(origin: Origin, watch: &Watch) -> Result<Self, Error> {
        let ((name, bytes), pagefiles) = match origin {
            Origin::Linux => (LINUX_DEMO, Vec::new()),
            Origin::Windows => (WINDOWS_DEMO, vec![PageFile::open_bytes(WINDOWS_DEMO_PAGEFILE.0, WINDOWS_DEMO_PAGEFILE.1)?]),
        };
        Self::analyse(
            Image::open_bytes(name, bytes)?,
            name.to_owned(),
            &Options { ahead: Ahead::Tables, ..Options::default() },
            pagefiles,
            watch,
        )
    }

    fn analyse(image: Image, name: String, options: &Options, pagefiles: Vec<PageFile>, watch: &Watch) -> Result<Self, Error> {
        let image = Arc::new(image);
        // What is wrong with the file may be why.
        let told = |why: String| [why].into_iter().chain(image.warnings().iter().cloned()).collect::<Vec<_>>().join("; ");
        let mut early = None;
        let detect = || System::detect(&image, options, pagefiles, &mut early, watch);
        let system = match options.ahead {
            // On a thread of the pool, which the sweep then leaves to it: opening is what a search of a small image waits for. Not where
            // there is no other thread, for it may ask for what the sweep finds.
            Ahead::Search(..) if rayon::current_num_threads() > 1 => rayon::scope(|_| detect()),
            _ => detect(),
        };
        let system = system.map_err(|why| Error(format!("{name}: {}", told(why))))?;
        let info = system.info().clone();
        let (answers, processes, spaces) = (Answers::default(), Kept::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { name, info, image, system, early, answers, processes, spaces })))
    }

    /// The image's file name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
    pub fn info(&self) -> &Info {
        &self.0.info
    }
    pub(crate) fn system(&self) -> &System {
        &self.0.system
    }
    /// The tables that this image's system has.
    pub fn tables(&self) -> impl Iterator<Item = &'static Entry> {
        let origin = self.info().os;
        catalog().iter().filter(move |entry| entry.available(origin))
    }

    /// A registry key as the scope of a query: it with its subkeys, or with all below it.
    pub fn registry_key(&self, path: &str, deep: bool) -> Result<Scope, Error> {
        let key = match self.system() {
            System::Windows(windows) => windows.registry_key(path, deep),
            System::Linux(_) => Err("--key is for Windows images".to_owned()),
        };
        key.map_err(|why| Error(format!("{}: {why}", self.name())))
    }

    /// Answers a query here and now.
    pub fn query(&self, entry: &'static Entry, scope: Scope, watch: &Arc<Watch>) -> Result<Arc<dyn Rows>, Error> {
        self.run(entry, scope, watch, &mut |_| ())
    }

    /// Answers a query with typed rows.
    pub fn rows<T: Record + Clone>(&self, scope: Scope) -> Result<Answer<T>, Error> {
        self.typed(scope, &Arc::default())
    }

    /// The same, while `watch` can cancel.
    fn typed<T: Record + Clone>(&self, scope: Scope, watch: &Arc<Watch>) -> Result<Answer<T>, Error> {
        let entry = find_table(T::TABLE.name).ok_or_else(|| Error(format!("no table {}", T::TABLE.name)))?;
        let rows = self.query(entry, scope, watch)?;
        rows.as_any().downcast_ref::<Answer<T>>().cloned().ok_or_else(|| Error(format!("{} has other rows", T::TABLE.name)))
    }

    /// The same, and all of them or none.
    fn whole<T: Record + Clone>(&self, scope: Scope, watch: &Arc<Watch>) -> Result<Answer<T>, Error> {
        let rows = self.typed(scope, watch)?;
        if rows.state() == State::Cancelled { Err(Error("stopped before it was done".to_owned())) } else { Ok(rows) }
    }

    fn run(
        &self,
        entry: &'static Entry,
        scope: Scope,
        watch: &Arc<Watch>,
        started: &mut dyn FnMut(Arc<dyn Feed>),
    ) -> Result<Arc<dyn Rows>, Error> {
        self.0.answers.or_work((entry.table.name, scope), watch, started, |started| {
            if let Some(why) = self.0.image.changed() {
                return Err(Error(format!("{}: {why}", self.name())));
            }
            entry.run(self, scope, watch, started).ok_or_else(|| {
                let (table, os) = (entry.table.name, self.info().os.name());
                Error(format!(
                    "{}: the table {table} does not exist for {os} images; `kioku tables {}` lists those that do",
                    self.name(),
                    self.name()
                ))
            })
        })
    }

    fn known(&self, entry: &Entry, scope: Scope) -> Option<Arc<dyn Rows>> {
        self.0.answers.known((entry.table.name, scope))
    }
}

impl Tables for Session {
    fn table<T: Record + Clone>(&self, scope: Scope, watch: &Arc<Watch>) -> Result<Answer<T>, String> {
        self.typed(scope, watch).map_err(|why| why.0)
    }
}
