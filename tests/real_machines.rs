//! What real machines add to memory, and damage that is aimed: built into the bundled Windows image, whose tables say what is true.
#![allow(clippy::unwrap_used)]

mod windows_image;

use kioku::engine::Space;
use windows_image::*;

const KERNEL: Space = Space::Kernel;
/// What a torn-down entry was seen to hold on a real machine: nothing forwards, an address of a process backwards.
const TORN: [u64; 2] = [0, 0x7ff6_1234_5678];

/// The links of a list, its head left out.
fn ring(image: &mut Image, head: u64) -> Vec<u64> {
    let mut links = vec![head];
    loop {
        match image.get(*links.last().unwrap(), "_LIST_ENTRY.Flink") {
            end if end == head => return links.split_off(1),
            next => links.push(next),
        }
    }
}

fn link(image: &mut Image, at: u64, [forth, back]: [u64; 2]) {
    image.set(at, "_LIST_ENTRY.Flink", forth);
    image.set(at, "_LIST_ENTRY.Blink", back);
}

/// Puts an entry between two others, which leads nowhere itself.
fn ghost(image: &mut Image, [before, after]: [u64; 2], entry: u64) {
    link(image, entry, TORN);
    image.set(before, "_LIST_ENTRY.Flink", entry);
    image.set(after, "_LIST_ENTRY.Blink", entry);
}

/// The lists of the kernel: a symbol or an object with its head, an entry's structure and its links.
fn lists() -> [(u64, &'static str, &'static str); 3] {
    [
        (symbol("PsActiveProcessHead"), "_EPROCESS", "ActiveProcessLinks"),
        (symbol("PsLoadedModuleList"), "_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks"),
        (process(4) + offset_of("_EPROCESS.ThreadListHead.Flink"), "_ETHREAD", "ThreadListEntry"),
    ]
}

#[test]
fn lists_that_are_torn_in_the_middle_lose_nothing_and_gain_nothing() {
    for whole_object in [true, false] {
        let mut image = Image::new();
        for (head, structure, links) in lists() {
            let offset = offset_of(&format!("{structure}.{links}.Flink"));
            let entries = ring(&mut image, head);
            let middle = entries.len() / 2;
            if whole_object {
                link(&mut image, entries[middle], TORN);
            } else {
                let object = image.fresh(2);
                if structure == "_EPROCESS" {
                    image.set(object, "_EPROCESS.UniqueProcessId", 4096);
                }
                ghost(&mut image, [entries[middle], entries[middle + 1]], object + offset);
            }
        }
        let (session, _folder) = image.open();
        assert_eq!(faults(&session, &[]), [""; 0], "{whole_object}");
        for table in ["processes", "modules", "threads"] {
            println!("{:?}", rows(&session, table).notes());
        }
        println!("{:?}", session.info().warnings);
    }
}

#[test]
fn unknown_torn() {
        let mut image = Image::new();
        let (head, structure, links) = lists()[0];
            let offset = offset_of(&format!("{structure}.{links}.Flink"));
            let entries = ring(&mut image, head);
            let middle = entries.len() / 2;
                let object = image.fresh(2);
                    image.set(object, "_EPROCESS.UniqueProcessId", 4096);
                ghost(&mut image, [entries[middle], entries[middle + 1]], object + offset);
    let base = WHOLE.info().kernel_base.0;
    let size = 0x100_0000;
    for at in (base..base + size).step_by(PAGE) {
        if WHOLE.read(KERNEL, at, 1).unwrap().pieces[0].origin.is_err() { continue }
        let page = image.read(KERNEL, at, PAGE);
        if let Some(place) = page.windows(4).position(|word| word == b"RSDS") {
            image.write(KERNEL, at + place as u64 + 4, &[0x5a; 4]);
            println!("RSDS at {at:#x}");
        }
    }
        let (session, _folder) = image.open();
    println!("{:#?}", session.info().symbol_source);
    println!("{} {:?}", rows(&session, "processes").len(), rows(&session, "processes").notes());
}
