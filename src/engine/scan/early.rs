//! Physical memory searched while the kernel is still examined: only who maps what is found needs a kernel.

use super::{CHUNK, Found, Search};
use crate::facts::{Begun, Sighting, Watch};
use crate::image::{Image, Swept};
use crate::windows::{Marking, Marks};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// A search that began with the opening of its image.
pub struct Early {
    search: Arc<Search>,
    found: Begun<(Vec<Sighting>, Swept)>,
}

impl Early {
    /// The marks that tables of Windows wait for are taken along: what maps a match is told by tables.
    pub fn begin(search: &Arc<Search>, opener: &Arc<Watch>, image: &Arc<Image>, windows: bool) -> (Self, Option<Begun<Marks>>) {
        let (tell, told) = channel();
        let (begun, opener, image) = (Arc::clone(search), Arc::clone(opener), Arc::clone(image));
        let found = Begun::start(move |own| {
            let (found, marking) = (Found::new(begun.most, None), windows.then(Marking::default));
            let cancelled = || own.cancelled() || opener.cancelled();
            let swept = image.sweep(CHUNK, begun.patterns.beyond(), own, |chunk| {
                if cancelled() {
                    return ControlFlow::Break(());
                }
                let enough = begun.look(&image, &chunk, &found, &cancelled);
                let Some(marking) = &marking else { return enough };
                marking.look(&chunk);
                ControlFlow::Continue(())
            });
            if let Some(marking) = marking {
                // Nobody waits for them where there is no kernel.
                _ = tell.send(marking.finish(&swept));
            }
            (found.finish(), swept)
        });
        (Self { search: Arc::clone(search), found }, windows.then(|| Begun::along(told)))
    }

    /// What was found, once it is all there, if it is this search that began.
    pub fn take(&self, search: &Search, watch: &Watch) -> Option<(Vec<Sighting>, Swept)> {
        if std::ptr::eq(&*self.search, search) { self.found.take(watch) } else { None }
    }
}
