//! Files as memory holds them: their pages lie anywhere, here they follow one another as they do in the file.

use super::{Search, WINDOW, Window, preceding, search_windows, show};
use crate::engine::contents::Contents;
use crate::engine::{Error, Session, Which};
use crate::facts::{Content, Known, PageOrigin, ReadError, Sighting, Sink};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

impl Session {
    pub(super) fn search_files(&self, search: &Search, name: Option<&str>, out: &mut Sink<Sighting>) -> Result<(), Error> {
        let files = self.held_files(name.map(Which::Named), out.watch())?;
        let mut met = HashSet::new();
        let contents = files.iter().flat_map(|file| file.contents.iter().map(|content| (&file.path, content)));
        // Several objects may lead to the same pages.
        let contents = contents.filter(|(_, content)| met.insert((content.kind, content.source.value().copied())));
        let beyond = search.patterns.beyond() as u64;
        let windows: Vec<Held<'_>> = contents.flat_map(|(path, content)| self.windows(path, content, beyond)).collect();
        let (mut hits, missing) = search_windows(search, &windows, out);
        if missing > 0 {
            out.note(format!("{missing} bytes within the files are not in memory and were not searched"));
        }
        let broken =
            files.iter().flat_map(|file| &file.contents).filter(|content| content.parts().is_empty() && !content.problems.is_empty());
        match broken.count() {
            0 => {}
            broken => out.note(format!("{broken} of what leads to pages of files does not hold together; `kioku dump --file` says why")),
        }
        if windows.is_empty() && !out.cancelled() {
            out.note("memory holds nothing of such files, so there was nothing to search");
        }
        let offset = |hit: &Sighting| hit.file_offset.value().copied().unwrap_or_default();
        hits.sort_by(|a, b| (a.file.text(), a.kind.value(), offset(a), &a.form).cmp(&(b.file.text(), b.kind.value(), offset(b), &b.form)));
        show(hits, search.most, out);
        Ok(())
    }

    /// What there is of a file, in pieces; small ones are one piece, with their holes.
    fn windows<'a>(&'a self, path: &'a Known<String>, content: &'a Content, beyond: u64) -> Vec<Held<'a>> {
        let held = |own: Range<u64>, end: u64, whole: bool| Held {
            contents: self.contents(self.system().space(), content),
            content,
            path,
            own,
            end,
            whole,
        };
        let mut extents: Vec<Range<u64>> = Vec::new();
        for part in content.parts() {
            match extents.last_mut().filter(|last| last.end == part.offset) {
                Some(last) => last.end = part.end(),
                None => extents.push(part.offset..part.end()),
            }
        }
        let size = content.size.value().copied().unwrap_or(u64::MAX).min(content.end());
        if size <= WINDOW {
            return (size > 0).then(|| held(0..size, size, true)).into_iter().collect();
        }
        let cut = |extent: Range<u64>| {
            let end = extent.end.min(size);
            (extent.start..end)
                .step_by(WINDOW as usize)
                .map(move |start| (start..end.min(start.saturating_add(WINDOW)), end))
                .collect::<Vec<_>>()
        };
        extents.into_iter().flat_map(cut).map(|(own, end)| held(own.clone(), end.min(own.end.saturating_add(beyond)), false)).collect()
    }
}

/// A stretch of a file.
struct Held<'a> {
    contents: Contents<'a>,
    content: &'a Content,
    path: &'a Known<String>,
    own: Range<u64>,
    /// What is read with it ends here.
    end: u64,
    whole: bool,
}

impl Held<'_> {
    /// Reads from an offset on; where nothing is, and how much that is.
    fn fill(&self, start: u64, bytes: &mut [u8]) -> (Vec<Range<usize>>, u64) {
        let (mut runs, mut at, mut missing): (Vec<Range<usize>>, usize, u64) = (Vec::new(), 0, 0);
        self.contents.fill(start, bytes, &mut |hole| {
            let from = (hole.offset - start) as usize;
            runs.push(at..from);
            at = from + hole.length as usize;
            missing += hole.length;
        });
        runs.push(at..bytes.len());
        runs.retain(|run| !run.is_empty());
        (runs, missing)
    }
}

impl Window for Held<'_> {
    fn own(&self) -> usize {
        (self.own.end - self.own.start) as usize
    }
    fn whole(&self) -> bool {
        self.whole
    }

    fn read(&self) -> (Vec<u8>, Vec<Range<usize>>, u64) {
        let mut bytes = vec![0; (self.end - self.own.start) as usize];
        let (runs, missing) = self.fill(self.own.start, &mut bytes);
        (bytes, runs, missing)
    }

    fn before(&self, at: usize) -> Arc<[u8]> {
        preceding(self.own.start + at as u64, |at, bytes| match self.fill(at, bytes) {
            (_, 0) => Ok(()),
            _ => Err(ReadError::Implausible("file")),
        })
    }

    fn place(&self, at: usize) -> Sighting {
        let offset = self.own.start + at as u64;
        Sighting {
            physical_address: self.contents.origin(offset).and_then(PageOrigin::physical).into(),
            kind: Known::Value(self.content.kind),
            file: self.path.clone(),
            file_offset: Known::Value(offset),
            ..Sighting::default()
        }
    }
}
