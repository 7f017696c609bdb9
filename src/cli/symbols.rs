//! `kioku symbols`: what an image needs, what files hold, and profiles made of them.

use super::Run;
use super::args::SymbolsCommand;
use super::console::Stop;
use crate::engine::{Ahead, build_profile, pack_folder, symbol_files};
use crate::facts::text::size;
use crate::facts::{Sink, SymbolNeed};
use crate::report;
use std::path::Path;
use std::sync::Arc;

impl Run {
    pub(super) fn symbols(&self, command: SymbolsCommand) -> Result<(), Stop> {
        match command {
            SymbolsCommand::Build { source } => self.build(&source),
            SymbolsCommand::Identify { image } => self.identify(&image),
            SymbolsCommand::List => self.list(),
            SymbolsCommand::Pack { folder } => self.pack(&folder),
        }
    }

    fn build(&self, source: &Path) -> Result<(), Stop> {
        let Some(output) = &self.common.output else {
            return Err(Stop::Usage("symbols build needs --output FILE".to_owned()));
        };
        self.refuse_existing_output()?;
        let progress = self.progress(format!("building a profile of {}", source.display()));
        let profile = build_profile(source)?;
        drop(progress);
        if self.interrupts.watch.cancelled() {
            return Err(Stop::Interrupted);
        }
        self.write(|out| out.write_all(&profile))?;
        self.note(&format!("{}: {}, for use with --symbols", output.display(), size(profile.len() as u64)));
        Ok(())
    }

    fn identify(&self, image: &Path) -> Result<(), Stop> {
        let session = self.open_for(image, Ahead::Nothing)?;
        let info = session.info();
        let mut sink = Sink::new(Arc::default());
        sink.push(SymbolNeed {
            image: session.name().to_owned(),
            kernel: info.kernel.clone(),
            source: info.symbol_source.clone(),
            passed: info.checks.iter().filter(|check| check.passed).count() as u64,
            checks: info.checks.len() as u64,
            problems: Vec::new(),
        });
        self.write(|out| report::write_rows(&*sink.finish(), None, self.format(), out))
    }

    fn list(&self) -> Result<(), Stop> {
        self.refuse_existing_output()?;
        let rows = symbol_files(&self.common.symbols);
        self.write(|out| report::write_rows(&*rows, None, self.format(), out))?;
        rows.notes().iter().for_each(|note| self.note(note));
        Ok(())
    }

    fn pack(&self, folder: &Path) -> Result<(), Stop> {
        let Some(output) = &self.common.output else {
            return Err(Stop::Usage("symbols pack needs --output FILE".to_owned()));
        };
        self.refuse_existing_output()?;
        let progress = self.progress(format!("packing {}", folder.display()));
        let packed = pack_folder(folder)?;
        drop(progress);
        packed.notes.iter().for_each(|note| self.note(note));
        self.write(|out| out.write_all(&packed.file))?;
        self.note(&format!(
            "{}: {}; {} kernels and {} layouts without symbols in {} sets of types, {} definitions; {} of tcpip.sys",
            output.display(),
            size(packed.file.len() as u64),
            packed.kernels,
            packed.layouts,
            packed.sets,
            packed.definitions,
            packed.tcpip
        ));
        Ok(())
    }
}
