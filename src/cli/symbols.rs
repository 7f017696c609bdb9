//! `kioku symbols`: the packed profiles of Windows kernels.

use super::Run;
use super::args::{Shape, Symbols};
use super::console::Stop;
use crate::engine::{PackedBuild, pack_folder, packed_builds};
use std::io::{self, Write};
use std::path::Path;

impl Run {
    pub(super) fn symbols(&self, command: Symbols) -> Result<(), Stop> {
        match command {
            Symbols::List => {
                let builds = packed_builds()?;
                self.write(|out| list(&builds, self.common.format, out))
            }
            Symbols::Pack { folder } => self.pack(&folder),
        }
    }

    fn pack(&self, folder: &Path) -> Result<(), Stop> {
        let Some(path) = &self.common.output else {
            return Err(Stop::Usage("a pack is written to a file: name it with --output".to_owned()));
        };
        self.refuse_existing_output()?;
        let progress = self.progress(format!("packing {}", folder.display()));
        let packed = pack_folder(folder);
        drop(progress);
        let packed = packed?;
        packed.notes.iter().for_each(|note| self.note(note));
        self.write(|out| out.write_all(&packed.file))?;
        self.note(&format!(
            "{}: {} bytes; {} kernels and {} layouts without symbols in {} sets of types, {} definitions; {} of tcpip.sys",
            path.display(),
            packed.file.len(),
            packed.kernels,
            packed.layouts,
            packed.sets,
            packed.definitions,
            packed.tcpip
        ));
        for (name, (length, size)) in ["builds", "symbols", "types"].iter().zip(packed.sections) {
            self.detail(&format!("{name}: {length} bytes, packed {size}"));
        }
        Ok(())
    }
}

fn list(builds: &[PackedBuild], format: Shape, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Shape::Text => {
            for PackedBuild { module, version, guid, age } in builds {
                writeln!(
                    out,
                    "{}",
                    format!("{module:<13} {version:<17} {guid} {}", if guid.is_empty() { String::new() } else { age.to_string() })
                        .trim_end()
                )?;
            }
            Ok(())
        }
        Shape::Csv => {
            writeln!(out, "module,version,guid,age")?;
            builds.iter().try_for_each(|PackedBuild { module, version, guid, age }| writeln!(out, "{module},{version},{guid},{age}"))
        }
        Shape::Json | Shape::Jsonl => {
            let objects = builds.iter().map(|PackedBuild { module, version, guid, age }| {
                serde_json::json!({ "module": module, "version": version, "guid": guid, "age": age })
            });
            if matches!(format, Shape::Jsonl) {
                return objects.into_iter().try_for_each(|object| writeln!(out, "{object}"));
            }
            writeln!(out, "{}", serde_json::Value::Array(objects.collect()))
        }
    }
}
