//! kallsyms, the kernel's own symbol table in its read-only data (layout: scripts/kallsyms.c and kernel/kallsyms.c).
//!
//! Names are sequences of tokens out of a table of 256; each name begins with its kind. The tables lie in one of three orders and the
//! addresses are told in one of four ways, depending on version and configuration. No version number is believed here: every
//! arrangement that the bytes allow is tried, and the one is kept that proves itself.

use super::{SymbolTable, VmcoreInfo};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::ReadError;

/// Reads the kernel's memory.
pub type Read<'a> = &'a dyn Fn(VirtAddr, &mut [u8]) -> Result<(), ReadError>;
/// Looks a symbol up.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<VirtAddr>;
/// Tells whether symbols are right, given a way to look them up.
pub type Prove<'a> = &'a dyn Fn(Find<'_>) -> bool;

/// How addresses are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Words of eight bytes: until 4.5, and in kernels that were not built relative until 6.10.
    Absolute,
    /// Distances of 32 bits from a base: 4.6 to 6.18.
    Relative,
    /// As `Relative`, but numbers from zero on are themselves (offsets into the per-cpu area) and negative ones count on from the base,
    /// as -1 - distance: x86-64 with several processors, 4.6 to 6.14.
    PerCpu,
    /// Signed distances of 32 bits, each from its own place: since 7.0.
    PlaceRelative,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Relative => "base-relative",
            Self::PerCpu => "base-relative, per-cpu ones absolute",
            Self::PlaceRelative => "place-relative",
        }
    }
}

/// Symbols out of kallsyms.
pub struct Decoded {
    /// Finished, and relocated as the running kernel was.
    pub symbols: SymbolTable,
    pub encoding: Encoding,
    /// The addresses count from the start of the searched buffer, whose virtual address was not known: to be added with `shift`.
    pub floating: bool,
}

/// Where the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    pub names: VirtAddr,
    pub num_syms: VirtAddr,
    pub token_table: VirtAddr,
    pub token_index: VirtAddr,
    pub offsets: Option<VirtAddr>,
    pub relative_base: Option<VirtAddr>,
    pub addresses: Option<VirtAddr>,
}

/// The tokens for the digits, which stand for themselves: found in every token table and hardly anywhere else.
pub const SIGNATURE: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
/// How much a search should be given before and after the signature, to hold the tables of any kernel.
pub const BEFORE: usize = 12 << 20;
pub const AFTER: usize = 12 << 20;
/// The same for most kernels.
pub const AROUND: usize = 4 << 20;

const TOKENS: usize = 256;
const INDEX_BYTES: usize = TOKENS * 2;
/// The token with which the signature begins.
const DIGIT: usize = b'0' as usize;
/// Offsets into the token table have 16 bits.
const MAX_TOKENS_BYTES: usize = 1 << 16;
/// Names between two markers.
const MARKER_STEP: usize = 256;
/// Bytes that so many names take: at least a length and one token each, at most two length bytes and the longest name.
const MARKER_BYTES: std::ops::RangeInclusive<u64> = 2 * 256..=(2 + 512) * 256;
/// Less than this is not a kernel's table.
const MIN_MARKERS: usize = 3;
const MAX_SYMBOLS: usize = 1 << 22;
/// The largest table of names that is read.
const MAX_NAMES_BYTES: u64 = 64 << 20;
/// The longest name, its kind included: KSYM_NAME_LEN is 512 since 6.1.
const MAX_NAME: usize = 1024;
/// All names together, decoded.
const MAX_TEXT: usize = 256 << 20;
/// What alignment may leave between tables.
const MAX_PADDING: usize = 256;
/// Signatures tried in one search, and runs of markers tried with each.
const MAX_SIGNATURES: usize = 16;
const MAX_MARKERS: usize = 6;

impl Anchors {
    /// As VMCOREINFO tells them: since 6.0, and in earlier kernels of some distributions.
    pub fn from_vmcoreinfo(info: &VmcoreInfo) -> Option<Self> {
        let anchors = Self {
            names: info.symbol("kallsyms_names")?,
            num_syms: info.symbol("kallsyms_num_syms")?,
            token_table: info.symbol("kallsyms_token_table")?,
            token_index: info.symbol("kallsyms_token_index")?,
            offsets: info.symbol("kallsyms_offsets"),
            relative_base: info.symbol("kallsyms_relative_base"),
            addresses: info.symbol("kallsyms_addresses"),
        };
        (anchors.offsets.is_some() || anchors.addresses.is_some()).then_some(anchors)
    }
}

/// Decodes tables whose places are known.
pub fn decode(anchors: &Anchors, read: Read, prove: Prove) -> Result<Decoded, ReadError> {
    let mut word = [0; 4];
    read(anchors.num_syms, &mut word)?;
    let count = u32::from_le_bytes(word) as usize;
    if !(1..=MAX_SYMBOLS).contains(&count) {
        return Err(ReadError::Implausible("number of kallsyms"));
    }
    let mut index = vec![0; INDEX_BYTES];
    read(anchors.token_index, &mut index)?;
    // The index follows its table, which may be read up to there.
    let distance = anchors.token_index.0.wrapping_sub(anchors.token_table.0);
    let size = usize::try_from(distance).ok().filter(|size| (TOKENS..=MAX_TOKENS_BYTES + MAX_NAME).contains(size));
    let table = read_vec(read, anchors.token_table, size.ok_or(ReadError::Implausible("kallsyms_token_table"))?)?;
    let tokens = Tokens::new(&table, &index).ok_or(ReadError::Implausible("kallsyms_token_table"))?;
    // So do the names, at some distance: markers and, in some kernels, more tables stand between.
    let distance = anchors.token_table.0.wrapping_sub(anchors.names.0);
    if !(count as u64..=MAX_NAMES_BYTES).contains(&distance) {
        return Err(ReadError::Implausible("kallsyms_names"));
    }
    let bytes = read_vec(read, anchors.names, distance as usize)?;
    let names = LENGTHS.into_iter().filter_map(|lengths| tokens.decode(&bytes, count, lengths)).find(Names::plausible);
    let names = names.ok_or(ReadError::Implausible("kallsyms_names"))?;

    let mut candidates = Vec::new();
    if let Some(at) = anchors.addresses {
        candidates.push((Encoding::Absolute, Some(absolute(&read_vec(read, at, count * 8)?))));
    }
    if let Some(at) = anchors.offsets {
        let offsets = read_vec(read, at, count * 4)?;
        if let Some(at) = anchors.relative_base {
            let mut base = [0; 8];
            read(at, &mut base)?;
            let base = u64::from_le_bytes(base);
            candidates.push((Encoding::Relative, relative(&offsets, base)));
            candidates.push((Encoding::PerCpu, per_cpu(&offsets, base)));
        }
        candidates.push((Encoding::PlaceRelative, Some(place_relative(&offsets, at.0))));
    }
    let proved = choose(&names, candidates, prove).ok_or(ReadError::Implausible("kallsyms addresses"))?;
    Ok(names.table(proved, false))
}

/// Finds and decodes the tables in a stretch of a kernel's read-only data, contiguous in physical and so in virtual memory. `at` is the
/// virtual address of the stretch, where it is known: only kernels since 7.0 need it, see [`Decoded::floating`].
pub fn search(rodata: &[u8], at: Option<VirtAddr>, prove: Prove) -> Option<Decoded> {
    memchr::memmem::find_iter(rodata, SIGNATURE).take(MAX_SIGNATURES).find_map(|digits| search_at(rodata, digits, at, prove))
}

fn search_at(rodata: &[u8], digits: usize, at: Option<VirtAddr>, prove: Prove) -> Option<Decoded> {
    let (token_table, token_index) = token_tables(rodata, digits)?;
    let tokens = Tokens::new(&rodata[token_table..token_index], &rodata[token_index..token_index + INDEX_BYTES])?;
    markers(rodata, token_table).into_iter().find_map(|markers| {
        names_before(rodata, &markers, &tokens).into_iter().find_map(|(start, names)| {
            let candidates = addresses_around(rodata, at, start, token_index + INDEX_BYTES, names.len());
            if let Some(chosen) = choose(&names, candidates, prove) {
                return Some(names.table(chosen, false));
            }
            if at.is_some() {
                return None;
            }
            // With no address of its own the buffer can still tell that the banner is where the symbols say.
            let after = token_index + INDEX_BYTES;
            let offsets = rodata.get(after..after + names.len() * 4)?;
            let addresses = place_relative(offsets, after as u64);
            let banner = *addresses.get(names.position("linux_banner")?)?;
            let text = usize::try_from(banner).ok().and_then(|start| rodata.get(start..))?;
            text.starts_with(BANNER).then(|| names.table((Encoding::PlaceRelative, addresses), true))
        })
    })
}

const BANNER: &[u8] = b"Linux version ";

/// The usual proof: the banner can be read where the symbols place it. Kernels with symbols for functions only have none for the banner;
/// there the first of the text must be at the start of a page that can be read.
pub fn prove_by_banner(read: Read<'_>) -> impl Fn(Find<'_>) -> bool {
    move |find| match find("linux_banner") {
        Some(banner) => {
            let mut text = [0; BANNER.len()];
            read(banner, &mut text).is_ok() && text == BANNER
        }
        None => find("_stext").or_else(|| find("_text")).is_some_and(|text| text.in_page() == 0 && read(text, &mut [0; 16]).is_ok()),
    }
}

/// Reads page by page, so that a reader need not span pages.
fn read_vec(read: Read, at: VirtAddr, size: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; size];
    let mut done = 0;
    while done < size {
        let from = at.offset(done as u64);
        let length = ((PAGE_SIZE - from.in_page()) as usize).min(size - done);
        read(from, &mut bytes[done..done + length])?;
        done += length;
    }
    Ok(bytes)
}

/// Start of the token table and of its index, from the place of the digits. The proof is the index itself: it can be computed.
fn token_tables(rodata: &[u8], digits: usize) -> Option<(usize, usize)> {
    // Back over the tokens before the digits, to the NUL that ends what stands before the table.
    let lowest = digits.saturating_sub(MAX_TOKENS_BYTES);
    let mut ends = memchr::memrchr_iter(0, &rodata[lowest..digits]).skip(DIGIT);
    let start = match ends.next() {
        Some(end) => lowest + end + 1,
        None if lowest == 0 => 0,
        None => return None,
    };
    let mut index = Vec::with_capacity(INDEX_BYTES);
    let mut at = start;
    for _ in 0..TOKENS {
        index.extend(u16::try_from(at - start).ok()?.to_le_bytes());
        let rest = rodata.get(at..)?;
        at += memchr::memchr(0, &rest[..rest.len().min(MAX_NAME)])? + 1;
    }
    let after = rodata.get(at..(at + MAX_PADDING + INDEX_BYTES).min(rodata.len()))?;
    Some((start, at + memchr::memmem::find(after, &index)?))
}

/// A table of markers.
struct Markers {
    start: usize,
    values: Vec<u64>,
}

/// What may be the markers: runs of numbers that begin at zero and rise in fitting steps. Longest first.
fn markers(rodata: &[u8], before: usize) -> Vec<Markers> {
    let lowest = before.saturating_sub(BEFORE);
    let mut found: Vec<Markers> = Vec::new();
    for size in [4, 8] {
        let word = |at: usize| -> Option<u64> {
            let mut word = [0; 8];
            word[..size].copy_from_slice(rodata.get(at..at + size).filter(|_| at + size <= before)?);
            Some(u64::from_le_bytes(word))
        };
        // Alignment is to the buffer, which starts at a page or at least at an aligned address.
        let mut at = lowest.next_multiple_of(size);
        while at < before {
            if word(at) != Some(0) || !word(at + size).is_some_and(|second| MARKER_BYTES.contains(&second)) {
                at += size;
                continue;
            }
            let start = at;
            let mut values = vec![0];
            at += size;
            while let Some(value) = word(at).filter(|value| MARKER_BYTES.contains(&value.wrapping_sub(values[values.len() - 1]))) {
                values.push(value);
                at += size;
            }
            if values.len() >= MIN_MARKERS {
                found.push(Markers { start, values });
            }
        }
    }
    found.sort_by_key(|markers| std::cmp::Reverse(markers.values.len()));
    found.truncate(MAX_MARKERS);
    found
}

/// How the length of a name is told: all in one byte, or since 6.1 in two where the first has its highest bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    Long,
    Short,
}
const LENGTHS: [Lengths; 2] = [Lengths::Long, Lengths::Short];

impl Lengths {
    /// The tokens of the name at an offset, and the offset of the next name.
    fn name(self, names: &[u8], at: usize) -> Option<(&[u8], usize)> {
        let first = *names.get(at)?;
        let (length, start) = match self {
            Self::Long if first & 0x80 != 0 => (usize::from(first & 0x7f) | usize::from(*names.get(at + 1)?) << 7, at + 2),
            _ => (usize::from(first), at + 1),
        };
        let tokens = names.get(start..start + length).filter(|tokens| !tokens.is_empty())?;
        Some((tokens, start + length))
    }
}

/// The names which fit markers, and where they start. The names end right before the markers, but for alignment, and the last ones have
/// no marker after them: so every start is tried which leaves room for less than one more step, and the walk must meet all markers.
fn names_before(rodata: &[u8], markers: &Markers, tokens: &Tokens) -> Vec<(usize, Names)> {
    let mut found = Vec::new();
    let Some(last) = markers.values.last().and_then(|last| usize::try_from(*last).ok()) else { return found };
    let Some(highest) = markers.start.checked_sub(last) else { return found };
    let lowest = highest.saturating_sub(*MARKER_BYTES.end() as usize + MAX_PADDING);
    for lengths in LENGTHS {
        let mut start = highest & !3;
        while start >= lowest {
            let names = &rodata[start..markers.start];
            if let Some(count) = meets(names, &markers.values, lengths) {
                if let Some(names) = tokens.decode(names, count, lengths).filter(Names::plausible) {
                    found.push((start, names));
                }
                if found.len() >= 4 {
                    return found;
                }
            }
            let Some(next) = start.checked_sub(4) else { break };
            start = next;
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The number of names, if a walk over them meets all markers and ends where the names do.
fn meets(names: &[u8], markers: &[u64], lengths: Lengths) -> Option<usize> {
    let mut at = 0;
    let mut count = 0;
    for marker in &markers[1..] {
        for _ in 0..MARKER_STEP {
            at = lengths.name(names, at)?.1;
        }
        count += MARKER_STEP;
        if at as u64 != *marker {
            return None;
        }
    }
    for _ in 0..MARKER_STEP {
        if names.len() - at < MAX_PADDING && names[at..].iter().all(|byte| *byte == 0) {
            break;
        }
        at = lengths.name(names, at)?.1;
        count += 1;
    }
    let rest = &names[at..];
    (count <= MAX_SYMBOLS && rest.len() < MAX_PADDING && rest.iter().all(|byte| *byte == 0)).then_some(count)
}

/// Addresses as one of the encodings has them; none where it cannot be.
type Candidate = (Encoding, Option<Vec<u64>>);

/// All ways to read addresses out of what stands before the names and after the index of tokens.
fn addresses_around(rodata: &[u8], at: Option<VirtAddr>, names: usize, after: usize, count: usize) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut with_base = |offsets: usize, base: usize| {
        let (Some(offsets), Some(base)) = (rodata.get(offsets..offsets + count * 4), rodata.get(base..base + 8)) else { return };
        let base = base.try_into().map_or(0, u64::from_le_bytes);
        candidates.push((Encoding::PerCpu, per_cpu(offsets, base)));
        candidates.push((Encoding::Relative, relative(offsets, base)));
    };
    // Until 6.3: offsets, base, number, names; each aligned to eight bytes.
    if let Some(base) = names.checked_sub(16)
        && let Some(offsets) = base.checked_sub((count * 4).next_multiple_of(8))
    {
        with_base(offsets, base);
    }
    // Until 6.18: index, offsets, base.
    with_base(after, after + (count * 4).next_multiple_of(8));
    // Words: before the number, or after the index.
    for start in [names.checked_sub(8 + count * 8), Some(after)].into_iter().flatten() {
        if let Some(words) = rodata.get(start..start + count * 8) {
            candidates.push((Encoding::Absolute, Some(absolute(words))));
        }
    }
    // Since 7.0: index, offsets.
    if let (Some(at), Some(offsets)) = (at, rodata.get(after..after + count * 4)) {
        candidates.push((Encoding::PlaceRelative, Some(place_relative(offsets, at.offset(after as u64).0))));
    }
    candidates
}

fn absolute(words: &[u8]) -> Vec<u64> {
    words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// None where the base is not an address of a kernel.
fn relative(offsets: &[u8], base: u64) -> Option<Vec<u64>> {
    let address = |offset: &[u8; 4]| base.wrapping_add(u32::from_le_bytes(*offset).into());
    VirtAddr(base).is_kernel().then(|| offsets.as_chunks().0.iter().map(address).collect())
}

fn per_cpu(offsets: &[u8], base: u64) -> Option<Vec<u64>> {
    let address = |offset: &[u8; 4]| match i64::from(i32::from_le_bytes(*offset)) {
        number @ 0.. => number as u64,
        offset => base.wrapping_add((-1 - offset) as u64),
    };
    VirtAddr(base).is_kernel().then(|| offsets.as_chunks().0.iter().map(address).collect())
}

fn place_relative(offsets: &[u8], at: u64) -> Vec<u64> {
    let places = (at..).step_by(4).zip(offsets.as_chunks().0);
    places.map(|(place, offset)| place.wrapping_add_signed(i32::from_le_bytes(*offset).into())).collect()
}

/// The addresses which are like a kernel's and pass the proof.
fn choose(names: &Names, candidates: Vec<Candidate>, prove: Prove) -> Option<(Encoding, Vec<u64>)> {
    let candidates = candidates.into_iter().filter_map(|(encoding, addresses)| Some((encoding, addresses?)));
    let mut likely = candidates.filter(|(_, addresses)| addresses.len() == names.len() && are_sorted(addresses));
    likely.find(|(_, addresses)| prove(&|name| names.position(name).map(|index| VirtAddr(addresses[index]))))
}

/// Whether most addresses are a kernel's and they rise, as they do in every kernel but for a few oddities.
fn are_sorted(addresses: &[u64]) -> bool {
    let falls = addresses.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let kernel = addresses.iter().filter(|address| VirtAddr(**address).is_kernel()).count();
    falls * 100 <= addresses.len() && kernel * 2 >= addresses.len()
}

/// Nearly all tokens are shorter. To copy so many bytes and to take some back is faster than to copy the right number.
const SHORT_TOKEN: usize = 16;

/// The fragments of which names consist.
struct Tokens {
    /// With so many bytes behind the last that each can be copied like a short one.
    text: Vec<u8>,
    /// Start and length of each.
    spans: Vec<(u32, u32)>,
}

impl Tokens {
    fn new(table: &[u8], index: &[u8]) -> Option<Self> {
        let mut text = Vec::with_capacity(table.len());
        let mut spans = Vec::with_capacity(TOKENS);
        for start in index.as_chunks().0 {
            let token = table.get(usize::from(u16::from_le_bytes(*start))..)?;
            let token = &token[..memchr::memchr(0, token)?];
            if token.len() > MAX_NAME {
                return None;
            }
            spans.push((text.len() as u32, token.len() as u32));
            // Names are ASCII. Damage must not spread from one token to the whole table, so anything else becomes a question mark.
            text.extend(token.iter().map(|byte| if byte.is_ascii_graphic() { *byte } else { b'?' }));
        }
        text.extend([0; SHORT_TOKEN]);
        (spans.len() == TOKENS).then_some(Self { text, spans })
    }

    fn decode(&self, bytes: &[u8], count: usize, lengths: Lengths) -> Option<Names> {
        let mut names = Names { text: Vec::with_capacity(bytes.len().min(MAX_TEXT) * 5 / 2), starts: Vec::with_capacity(count + 1) };
        let mut at = 0;
        for _ in 0..count {
            let (tokens, next) = lengths.name(bytes, at)?;
            at = next;
            let name = names.text.len();
            if name > MAX_TEXT {
                return None;
            }
            names.starts.push(name as u32);
            for token in tokens {
                let (start, length) = self.spans[usize::from(*token)];
                let (start, length) = (start as usize, length as usize);
                match self.text[start..].first_chunk::<SHORT_TOKEN>() {
                    Some(short) if length <= SHORT_TOKEN => {
                        names.text.extend_from_slice(short);
                        names.text.truncate(names.text.len() - SHORT_TOKEN + length);
                    }
                    _ => names.text.extend_from_slice(&self.text[start..start + length]),
                }
                if names.text.len() - name > MAX_NAME {
                    names.text.truncate(name + MAX_NAME);
                    break;
                }
            }
        }
        names.starts.push(names.text.len() as u32);
        Some(names)
    }
}

/// Names in the order of the table, each with its kind before it.
struct Names {
    text: Vec<u8>,
    /// Where each starts, and the end of the last.
    starts: Vec<u32>,
}

impl Names {
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn get(&self, index: usize) -> &[u8] {
        &self.text[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// Whether nearly every name begins with a letter for its kind and has something after it.
    fn plausible(&self) -> bool {
        let good = (0..self.len()).filter(|index| matches!(self.get(*index), [kind, _, ..] if kind.is_ascii_alphabetic())).count();
        self.len() > 0 && good * 100 >= self.len() * 99
    }

    fn position(&self, name: &str) -> Option<usize> {
        (0..self.len()).find(|index| self.get(*index).get(1..) == Some(name.as_bytes()))
    }

    fn table(self, (encoding, addresses): (Encoding, Vec<u64>), floating: bool) -> Decoded {
        let mut symbols = SymbolTable::of(String::from_utf8(self.text).unwrap_or_default(), addresses.len());
        for (span, address) in self.starts.windows(2).zip(addresses) {
            if let [start, end] = *span {
                symbols.add_with_kind(start..end, VirtAddr(address));
            }
        }
        symbols.finish();
        Decoded { symbols, encoding, floating }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a kernel of some age would hold.
    #[derive(Clone, Copy, Debug)]
    struct Style {
        encoding: Encoding,
        /// Addresses before the names (until 6.3) or after the tokens.
        before: bool,
        /// Bytes of the number and the markers: eight until 4.19.
        words: usize,
        lengths: Lengths,
        /// The table of sequence numbers between markers and tokens (6.2 and 6.3).
        sequences: bool,
        /// Alignment of the tables: four since 7.0.
        align: usize,
    }

    const BASE: u64 = 0xffff_ffff_9bc0_0000;

    fn symbols() -> Vec<(u64, u8, String)> {
        let per_cpu = [(0, b'A', "fixed_percpu_data".to_owned()), (0x1000, b'A', "cpu_debug_store".to_owned())];
        let functions = (0..1500_u64).map(|index| (BASE + index * 0x30, b'T', format!("function_{index}_of_the_kernel")));
        let long = (BASE + 0x20_0000, b't', format!("_R{}", "NtCs_rust_and_more".repeat(10)));
        per_cpu.into_iter().chain([(BASE, b'T', "_stext".to_owned())]).chain(functions).chain([long]).collect()
    }

    /// Writes tables into a buffer that lies at `BASE`; gives their places as well.
    fn encode(style: Style, odd: bool) -> (Vec<u8>, Anchors, Vec<(u64, u8, String)>) {
        let mut list = symbols();
        let banner = BASE + 0x20_0100;
        if odd == (list.len() % 2 == 1) {
            list.push((BASE + 0x20_0080, b'd', "one_more".to_owned()));
        }
        list.push((banner, b'D', "linux_banner".to_owned()));
        if style.encoding == Encoding::PlaceRelative || style.encoding == Encoding::Relative {
            list.drain(..2);
        }
        // Tokens: every byte for itself, and a few fragments where names have no such byte.
        let mut tokens: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![if byte.is_ascii_graphic() { byte } else { b'?' }]).collect();
        tokens[1] = b"function_".to_vec();
        tokens[2] = b"_of_the_kernel".to_vec();
        tokens[200] = b"Tf".to_vec();
        let (mut names, mut markers) = (Vec::new(), Vec::new());
        for (index, (_, kind, name)) in list.iter().enumerate() {
            if index % 256 == 0 {
                markers.push(names.len() as u64);
            }
            let text = name.replace("function_", "\u{1}").replace("_of_the_kernel", "\u{2}");
            let sequence: Vec<u8> = [*kind].into_iter().chain(text.bytes()).collect();
            match style.lengths {
                Lengths::Long if sequence.len() >= 0x80 => names.extend([sequence.len() as u8 & 0x7f | 0x80, (sequence.len() >> 7) as u8]),
                _ => names.push(sequence.len() as u8),
            }
            names.extend(sequence);
        }
        let mut bytes = vec![0x5a; 0x1000];
        let mut anchors = Anchors::default();
        let place = |bytes: &[u8]| VirtAddr(BASE + bytes.len() as u64);
        let pad = |bytes: &mut Vec<u8>, align: usize| bytes.resize(bytes.len().next_multiple_of(align), 0);
        let addresses = |bytes: &mut Vec<u8>, anchors: &mut Anchors| {
            pad(bytes, style.align);
            let start = place(bytes);
            for (index, (address, ..)) in list.iter().enumerate() {
                match style.encoding {
                    Encoding::Absolute => bytes.extend(address.to_le_bytes()),
                    Encoding::Relative => bytes.extend(((address - BASE) as u32).to_le_bytes()),
                    Encoding::PerCpu if *address < BASE => bytes.extend((*address as u32).to_le_bytes()),
                    Encoding::PerCpu => bytes.extend((-1 - (address - BASE) as i32).to_le_bytes()),
                    Encoding::PlaceRelative => bytes.extend((address.wrapping_sub(start.0 + index as u64 * 4) as u32).to_le_bytes()),
                }
            }
            match style.encoding {
                Encoding::Absolute => anchors.addresses = Some(start),
                _ => anchors.offsets = Some(start),
            }
            if matches!(style.encoding, Encoding::Relative | Encoding::PerCpu) {
                pad(bytes, 8);
                anchors.relative_base = Some(place(bytes));
                bytes.extend(BASE.to_le_bytes());
            }
        };
        if style.before {
            addresses(&mut bytes, &mut anchors);
        }
        pad(&mut bytes, style.align);
        anchors.num_syms = place(&bytes);
        bytes.extend(&(list.len() as u64).to_le_bytes()[..style.words]);
        pad(&mut bytes, style.align);
        anchors.names = place(&bytes);
        bytes.extend(names);
        pad(&mut bytes, style.align);
        markers.iter().for_each(|marker| bytes.extend(&marker.to_le_bytes()[..style.words]));
        pad(&mut bytes, style.align);
        if style.sequences {
            (0..list.len() as u32).for_each(|index| bytes.extend(&index.wrapping_mul(0x9e37_79b1).to_be_bytes()[..3]));
            pad(&mut bytes, style.align);
        }
        anchors.token_table = place(&bytes);
        let mut index = Vec::new();
        let start = bytes.len();
        for token in tokens {
            index.extend(((bytes.len() - start) as u16).to_le_bytes());
            bytes.extend(token.iter().chain(&[0]));
        }
        pad(&mut bytes, style.align);
        anchors.token_index = place(&bytes);
        bytes.extend(index);
        if !style.before {
            addresses(&mut bytes, &mut anchors);
        }
        bytes.resize((banner - BASE) as usize, 0);
        bytes.extend(b"Linux version 7.3.4 (of a test)\n\0");
        bytes.resize(bytes.len().next_multiple_of(0x1000), 0);
        (bytes, anchors, list)
    }

    fn styles() -> Vec<Style> {
        use Encoding::*;
        let style = |encoding, before, words, lengths, sequences, align| Style { encoding, before, words, lengths, sequences, align };
        vec![
            style(Absolute, true, 8, Lengths::Short, false, 8),
            style(PerCpu, true, 8, Lengths::Short, false, 8),
            style(PerCpu, true, 4, Lengths::Short, false, 8),
            style(Relative, true, 4, Lengths::Long, false, 8),
            style(PerCpu, true, 4, Lengths::Long, true, 8),
            style(PerCpu, false, 4, Lengths::Long, false, 8),
            style(Absolute, false, 4, Lengths::Long, false, 8),
            style(Relative, false, 4, Lengths::Long, false, 8),
            style(PlaceRelative, false, 4, Lengths::Long, false, 4),
        ]
    }

    fn reader(bytes: &[u8]) -> impl Fn(VirtAddr, &mut [u8]) -> Result<(), ReadError> {
        move |at: VirtAddr, out: &mut [u8]| {
            let start = at.0.checked_sub(BASE).and_then(|start| usize::try_from(start).ok()).ok_or(ReadError::NotMapped(at))?;
            out.copy_from_slice(bytes.get(start..).and_then(|rest| rest.get(..out.len())).ok_or(ReadError::NotMapped(at))?);
            Ok(())
        }
    }

    fn check(found: &Decoded, list: &[(u64, u8, String)]) {
        assert_eq!(found.symbols.len(), list.len());
        for (address, kind, name) in list {
            let same = found.symbols.iter().filter(|symbol| symbol.name == name).collect::<Vec<_>>();
            assert_eq!(same.len(), 1, "{name}");
            assert_eq!((same[0].address, same[0].kind), (VirtAddr(*address), *kind), "{name}");
        }
    }

    #[test]
    fn every_style_is_read() {
        for style in styles() {
            for odd in [false, true] {
                let (bytes, anchors, list) = encode(style, odd);
                let read = reader(&bytes);
                let prove = prove_by_banner(&read);
                let by_note = decode(&anchors, &read, &prove).unwrap();
                assert_eq!(by_note.encoding, style.encoding, "{style:?}");
                check(&by_note, &list);
                let found = search(&bytes, Some(VirtAddr(BASE)), &prove).unwrap_or_else(|| panic!("{style:?}"));
                assert_eq!((found.encoding, found.floating), (style.encoding, false));
                check(&found, &list);
                let mut found = search(&bytes, None, &prove).unwrap_or_else(|| panic!("{style:?}"));
                assert_eq!(found.floating, style.encoding == Encoding::PlaceRelative);
                if found.floating {
                    found.symbols.shift(BASE);
                }
                check(&found, &list);
            }
        }
    }

    /// The tables of a real kernel (5.10, own build), cut out of its memory; the sum is that of its own /proc/kallsyms, sorted.
    #[test]
    fn a_real_table_is_read() {
        use sha2::{Digest, Sha256};
        const LIST: &str = "f6792e4a68185113c0f248b00d1854ea26b2da66c2e9f2cc4c5a7bfcb4a46cab";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/symbols/kallsyms-5.10.xz");
        let packed = std::fs::read(path).unwrap();
        let rodata = crate::symbols::packed::unpack(&packed).unwrap();
        let found = search(&rodata, None, &|find| find("_stext") == Some(VirtAddr(0xffff_ffff_b140_0000))).unwrap();
        assert_eq!((found.symbols.len(), found.encoding, found.floating), (50_793, Encoding::PerCpu, false));
        let mut lines: Vec<_> = found.symbols.iter().map(|symbol| (symbol.address.0, symbol.kind, symbol.name)).collect();
        lines.sort_unstable();
        let text: String = lines.iter().map(|(address, kind, name)| format!("{address:016x} {} {name}\n", char::from(*kind))).collect();
        let sum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, LIST);
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        let (bytes, anchors, _) = encode(styles()[5], false);
        assert!(decode(&anchors, &reader(&bytes), &|_| false).is_err());
        assert!(search(&bytes, Some(VirtAddr(BASE)), &|_| false).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn damage_does_no_harm(
            style in 0_usize..9,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, anchors, _) = encode(styles()[style], false);
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(1).min(0x1_8000);
            for (at, value) in changes {
                bytes[at.index(used)] = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            let read = reader(&bytes);
            for prove in [&|_: &dyn Fn(&str) -> Option<VirtAddr>| true, &|_: &dyn Fn(&str) -> Option<VirtAddr>| false] as [Prove; 2] {
                let _ = decode(&anchors, &read, prove);
                let _ = search(&bytes, Some(VirtAddr(BASE)), prove);
                let _ = search(&bytes, None, prove);
            }
        }

        #[test]
        fn arbitrary_places_do_no_harm(places in any::<[u32; 7]>(), bytes in proptest::collection::vec(any::<u8>(), 4096..9000)) {
            let [names, num_syms, token_table, token_index, offsets, relative_base, addresses] =
                places.map(|place| VirtAddr(BASE + u64::from(place) % bytes.len() as u64));
            let anchors = Anchors {
                names, num_syms, token_table, token_index, offsets: Some(offsets), relative_base: Some(relative_base), addresses: Some(addresses),
            };
            let _ = decode(&anchors, &reader(&bytes), &|_| true);
        }
    }
}
