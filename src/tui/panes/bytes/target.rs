//! What people type when they look for a place or for bytes.

/// What is searched for: the text that was typed and the bytes that it can mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needle {
    pub typed: String,
    pub bytes: Vec<Vec<u8>>,
}

impl Needle {
    /// Pairs of hexadecimal digits with blanks between them are bytes, and so is anything after `x:`; `u:` is a text in UTF-16, `a:` one in
    /// ASCII or UTF-8; all else is a text in either.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let of = |bytes: Vec<Vec<u8>>| Ok(Self { typed: typed.to_owned(), bytes });
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let marked = typed.trim().strip_prefix("x:");
        let body = marked.unwrap_or(typed.trim());
        let pairs: Vec<&str> = body.split_whitespace().collect();
        let spaced = pairs.len() > 1 && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if marked.is_none() && !spaced {
            return match (typed.strip_prefix("u:"), typed.strip_prefix("a:")) {
                (Some(text), _) if !text.is_empty() => of(vec![wide(text)]),
                (_, Some(text)) if !text.is_empty() => of(vec![text.as_bytes().to_vec()]),
                _ => of(vec![typed.as_bytes().to_vec(), wide(typed)]),
            };
        }
        let digits: String = pairs.concat();
        if digits.is_empty() || digits.len() % 2 == 1 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{typed} is not a row of bytes; write pairs of hexadecimal digits: 4c 8b dc"));
        }
        let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        of(vec![(0..digits.len()).step_by(2).filter_map(pair).collect()])
    }
}

/// Where something begins that people can write: an address, or a name whose address has to be looked up; and what is added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub base: Base,
    pub plus: i128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// The cursor.
    Here,
    Virtual(u64),
    /// Digits alone: the ID of a process, or an address.
    Number {
        decimal: Option<u32>,
        address: Option<u64>,
    },
    Physical(u64),
    /// A symbol, a module, a process.
    Name(String),
}

impl Target {
    /// `0x7f12`, `ffff8880'00001000`, `p:0x1000`, `+0x40`, `nt!PsActiveProcessHead+0x10`, `init_task`, `explorer.exe`, `3588`.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let bad =
            || format!("{typed} is no place; write 0x7f12..., p:0x1000 (physical), +0x40, a symbol, a module, a PID or a process name");
        let text = typed.trim();
        let physical = text.strip_prefix("p:");
        let (first, mut plus) = split(physical.unwrap_or(text).trim()).ok_or_else(bad)?;
        let base = match (physical, first) {
            (Some(_), digits) => Base::Physical(hex(digits).ok_or_else(bad)?),
            (None, "") if plus.is_some() => Base::Here,
            (None, "") => return Err(bad()),
            (None, digits) if is_marked(digits) => Base::Virtual(hex(digits).ok_or_else(bad)?),
            (None, digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Base::Number { decimal: digits.parse().ok(), address: hex(digits) }
            }
            // Long enough to be an address rather than a word such as `cafe`.
            (None, digits) if digits.len() >= 6 && hex(digits).is_some() => Base::Virtual(hex(digits).ok_or_else(bad)?),
            // Process names hold signs as well: `kworker/0:1+events`, `ssh-agent`.
            (None, name) => match name.chars().any(char::is_alphabetic) {
                true => Base::Name(name.to_owned()),
                false => return Err(bad()),
            },
        };
        Ok(Self { base, plus: plus.take().unwrap_or(0) })
    }
}

/// Splits what is added or taken away, in hexadecimal, from what it is added to.
fn split(text: &str) -> Option<(&str, Option<i128>)> {
    let (mut rest, mut sum) = (text, None);
    while let Some(at) = rest.rfind(['+', '-']) {
        let (before, after) = rest.split_at(at);
        let Some(number) = hex(after.get(1..).unwrap_or_default().trim()) else {
            // A sign within a name, unless nothing stands before it.
            return (!before.trim().is_empty()).then_some((rest, sum));
        };
        sum = Some(sum.unwrap_or(0) + if after.starts_with('-') { -i128::from(number) } else { i128::from(number) });
        rest = before.trim_end();
    }
    Some((rest, sum))
}

fn is_marked(digits: &str) -> bool {
    digits.starts_with("0x") || digits.starts_with("0X") || digits.contains(['\'', '`'])
}

fn hex(text: &str) -> Option<u64> {
    let text = text.replace(['\'', '`', '_'], "");
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
    // The standard library would let a sign pass.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places_as_people_write_them() {
        let parse = |text: &str| Target::parse(text).map(|it| (it.base, it.plus));
        let name = |text: &str| Base::Name(text.to_owned());
        assert_eq!(parse("0x7f00"), Ok((Base::Virtual(0x7f00), 0)));
        assert_eq!(parse("ffff8880'00001000"), Ok((Base::Virtual(0xffff_8880_0000_1000), 0)));
        assert_eq!(parse("ffffee4d80012060"), Ok((Base::Virtual(0xffff_ee4d_8001_2060), 0)));
        assert_eq!(parse("0x1000+0x20-8"), Ok((Base::Virtual(0x1000), 0x18)));
        assert_eq!(parse("p:1000 + 4"), Ok((Base::Physical(0x1000), 4)));
        assert_eq!(parse("-0x10"), Ok((Base::Here, -16)));
        assert_eq!(parse("3588"), Ok((Base::Number { decimal: Some(3588), address: Some(0x3588) }, 0)));
        assert_eq!(parse("nt!PsActiveProcessHead+0x10"), Ok((name("nt!PsActiveProcessHead"), 0x10)));
        assert_eq!(parse("ssh-agent"), Ok((name("ssh-agent"), 0)));
        assert_eq!(parse("explorer.exe"), Ok((name("explorer.exe"), 0)));
        for bad in ["", "0x", "0x1_0000_0000_0000_0000", "+", "p:", "+zz", "0xzz", "???"] {
            assert!(parse(bad).is_err(), "{bad}: {:?}", parse(bad));
        }
    }

    #[test]
    fn needles_are_text_or_bytes() {
        let bytes = |typed: &str| Needle::parse(typed).map(|needle| needle.bytes);
        assert_eq!(bytes("4c 8b dc").unwrap(), [[0x4c, 0x8b, 0xdc]]);
        assert_eq!(bytes("x:4c8bdc").unwrap(), [[0x4c, 0x8b, 0xdc]]);
        assert_eq!(bytes("be").unwrap(), [b"be".to_vec(), b"b\0e\0".to_vec()], "a word is a word, in either encoding");
        assert_eq!(bytes("u:be").unwrap(), [b"b\0e\0"]);
        assert_eq!(bytes("a:be").unwrap(), [b"be"]);
        assert!(bytes("x:4c8").is_err());
        assert!(bytes("x:").is_err());
    }
}
