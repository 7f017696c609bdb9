//! System.map, and whatever else lists symbols as nm does: an address, a letter and a name on each line.

use super::SymbolTable;
use crate::address::VirtAddr;

const MAX_SYMBOLS: usize = 1 << 22;

/// The symbols of a list; None where the text is not one. Symbols of modules, which /proc/kallsyms has too, are left out.
pub fn parse(text: &[u8]) -> Option<SymbolTable> {
    let mut table = SymbolTable::with_capacity(text.len() / 45, text.len() / 2);
    let (mut lines, mut bad) = (0_usize, 0_usize);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(MAX_SYMBOLS) {
        lines += 1;
        match symbol(line) {
            Some((address, kind, name)) => table.add_kind(name, address, kind),
            None if line.contains(&b'[') => {}
            None => bad += 1,
        }
        // A list is recognised by its first lines; damage further on costs single symbols.
        if lines <= 16 && bad > 0 {
            return None;
        }
    }
    table.finish();
    (!table.is_empty()).then_some(table)
}

fn symbol(line: &[u8]) -> Option<(VirtAddr, u8, &str)> {
    let space = memchr::memchr(b' ', line).filter(|length| *length == 8 || *length == 16)?;
    let digits = std::str::from_utf8(&line[..space]).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let address = VirtAddr(u64::from_str_radix(digits, 16).ok()?);
    let [kind, b' ', name @ ..] = &line[space + 1..] else { return None };
    let name = std::str::from_utf8(name).ok()?.trim_end();
    let good = kind.is_ascii_graphic() && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    good.then_some((address, *kind, name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_become_symbols() {
        let text = b"0000000000000000 D __per_cpu_start\nffffffff81000000 T _stext\nffffffff82a1b2c0 D init_task\n\
            ffffffffc0000000 t probe\t[module]\n";
        let table = parse(text).unwrap();
        assert_eq!(table.len(), 3);
        assert_eq!(table.get("init_task"), Some(VirtAddr(0xffff_ffff_82a1_b2c0)));
        assert_eq!(table.iter().next().map(|symbol| (symbol.name, symbol.kind)), Some(("__per_cpu_start", b'D')));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "\n\n", "hello world\n", "ffffffff81000000 T\n", "ffffffff81000000 _stext\n", "+fffffff T _stext\n"] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let lines: Vec<u8> = b"ffffffff81000000 T _stext\n".iter().copied().chain(bytes).collect();
            let _ = parse(&lines);
        }
    }
}
