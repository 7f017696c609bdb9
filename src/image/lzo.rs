//! LZO1X decompression, from the format's description in the kernel's Documentation/staging/lzo.rst.
//!
//! An instruction copies a piece of the output again (`length` bytes from `distance` back), then up to three literals. What the lowest
//! instructions mean depends on how many literals the one before copied.

/// Decompresses all of `input` into all of `out`; None if the two do not fit each other.
pub(crate) fn decompress(input: &[u8], out: &mut [u8]) -> Option<()> {
    let mut stream = Stream { input, out, done: 0 };
    // Literals of the last instruction: 0 to 3, or 4 for a long run.
    let mut before = 0;
    if let Some(first @ 18..) = input.first().copied() {
        stream.byte()?;
        let count = usize::from(first) - 17;
        stream.literals(count)?;
        before = count.min(4);
    }
    loop {
        let code = usize::from(stream.byte()?);
        let (length, distance, literals) = match code {
            0..16 if before == 0 => {
                let count = 3 + stream.length(code, 15)?;
                stream.literals(count)?;
                before = 4;
                continue;
            }
            0..16 => {
                let high = usize::from(stream.byte()?) << 2;
                let (length, least) = if before == 4 { (3, 2049) } else { (2, 1) };
                (length, high + (code >> 2) + least, code & 3)
            }
            16..32 => {
                let length = 2 + stream.length(code & 7, 7)?;
                let word = stream.word()?;
                let distance = ((code & 8) << 11) + (word >> 2);
                if distance == 0 {
                    return stream.finished().then_some(());
                }
                (length, 16384 + distance, word & 3)
            }
            32..64 => {
                let length = 2 + stream.length(code & 31, 31)?;
                let word = stream.word()?;
                (length, 1 + (word >> 2), word & 3)
            }
            _ => {
                let length = if code < 128 { 3 + (code >> 5 & 1) } else { 5 + (code >> 5 & 3) };
                let high = usize::from(stream.byte()?) << 3;
                (length, high + (code >> 2 & 7) + 1, code & 3)
            }
        };
        stream.again(length, distance)?;
        stream.literals(literals)?;
        before = literals;
    }
}

struct Stream<'a> {
    input: &'a [u8],
    out: &'a mut [u8],
    done: usize,
}

impl Stream<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    /// A length that does not fit its bits (`short` is 0) goes on: 255 for each zero byte, then the first other byte.
    fn length(&mut self, short: usize, most: usize) -> Option<usize> {
        if short != 0 {
            return Some(short);
        }
        let mut length = most;
        loop {
            match self.byte()? {
                0 => length += 255,
                last => return Some(length + usize::from(last)),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Option<()> {
        let (bytes, rest) = self.input.split_at_checked(count)?;
        self.out.get_mut(self.done..)?.get_mut(..count)?.copy_from_slice(bytes);
        self.input = rest;
        self.done += count;
        Some(())
    }

    /// Copies what was written before. Source and target may overlap: then the piece repeats itself.
    fn again(&mut self, length: usize, distance: usize) -> Option<()> {
        let from = self.done.checked_sub(distance)?;
        let end = self.done.checked_add(length).filter(|end| *end <= self.out.len())?;
        if distance >= length {
            self.out.copy_within(from..from + length, self.done);
        } else {
            for at in self.done..end {
                self.out[at] = self.out[at - distance];
            }
        }
        self.done = end;
        Some(())
    }

    fn finished(&self) -> bool {
        self.input.is_empty() && self.done == self.out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_and_repeats() {
        // Four literals, then 12 more bytes from distance 4, then the end.
        let packed = [17 + 4, b'a', b'b', b'c', b'd', 32 + 10, 3 << 2, 0, 17, 0, 0];
        let mut out = [0; 16];
        assert_eq!(decompress(&packed, &mut out), Some(()));
        assert_eq!(&out, b"abcdabcdabcdabcd");
        assert_eq!(decompress(&packed, &mut [0; 15]), None);
        assert_eq!(decompress(&packed, &mut [0; 17]), None);
        assert_eq!(decompress(&packed[..9], &mut out), None);
    }

    #[test]
    fn a_page_of_zeros() {
        // One literal zero by the long form is not possible: four literals, then 4092 bytes from distance 1.
        let mut packed = vec![17 + 4, 0, 0, 0, 0, 32];
        let left = 4092 - 2 - 31;
        packed.extend(std::iter::repeat_n(0, (left - 1) / 255));
        packed.push(((left - 1) % 255 + 1) as u8);
        packed.extend([0, 0, 17, 0, 0]);
        let mut out = [1; 4096];
        assert_eq!(decompress(&packed, &mut out), Some(()));
        assert_eq!(out, [0; 4096]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = [0; 512];
            let _ = decompress(&input, &mut out);
        }
    }
}
