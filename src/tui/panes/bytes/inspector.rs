//! Everything that the bytes under the cursor can mean.

use crate::facts::Time;

/// Between 100 ns since 1601 and since 1970.
const FILETIME_EPOCH: i128 = 116_444_736_000_000_000;

/// Name and value of each reading that the bytes admit; `bytes` are those from the cursor on, up to a gap.
pub fn readings(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let array = |length: usize| bytes.get(..length);
    if let Some(&byte) = bytes.first() {
        out.push(("i8", format!("{} u8 {byte} {byte:08b}", byte.cast_signed())));
    }
    macro_rules! integer {
        ($unsigned:ty, $signed:ty, $size:literal, $le:literal, $be:literal) => {
            if let Some(Ok(raw)) = array($size).map(<[u8; $size]>::try_from) {
                let (little, big) = (<$unsigned>::from_le_bytes(raw), <$unsigned>::from_be_bytes(raw));
                let signed = little.cast_signed();
                let minus = if signed < 0 { format!(" ({signed})") } else { String::new() };
                out.push(($le, format!("{little}{minus} {little:#x}")));
                out.push(($be, format!("{big} {big:#x}")));
            }
        };
    }
    integer!(u16, i16, 2, "u16", "u16 BE");
    integer!(u32, i32, 4, "u32", "u32 BE");
    integer!(u64, i64, 8, "u64", "u64 BE");
    if let Some(Ok(raw)) = array(4).map(<[u8; 4]>::try_from) {
        let value = f32::from_le_bytes(raw);
        out.extend(plausible(value.into()).then(|| ("f32", value.to_string())));
        out.extend(moment(i128::from(u32::from_le_bytes(raw)) * 1_000_000_000, 0).map(|time| ("unix 32", time)));
        out.push(("IPv4", format!("{}.{}.{}.{}", raw[0], raw[1], raw[2], raw[3])));
    }
    if let Some(Ok(raw)) = array(8).map(<[u8; 8]>::try_from) {
        let (value, number) = (f64::from_le_bytes(raw), u64::from_le_bytes(raw));
        out.extend(plausible(value).then(|| ("f64", value.to_string())));
        out.extend(filetime(number).map(|time| ("FILETIME", time)));
        out.extend(moment(i128::from(number) * 1_000_000_000, 0).map(|time| ("unix 64", time)));
        out.extend(moment(i128::from(number) * 1_000_000, 3).map(|time| ("unix ms", time)));
        out.extend(moment(i128::from(number), 9).map(|time| ("unix ns", time)));
    }
    out.extend(guid(bytes).map(|text| ("GUID", text)));
    let narrow: String = bytes.iter().take_while(|byte| matches!(byte, b' '..=b'~')).map(|byte| char::from(*byte)).collect();
    let units = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
    let wide: String = char::decode_utf16(units).map_while(|c| c.ok().filter(|c| !c.is_control())).collect();
    out.extend((!narrow.is_empty()).then(|| ("ASCII", format!("\"{narrow}\""))));
    out.extend((wide.chars().count() > 1 || wide.is_ascii() && !wide.is_empty()).then(|| ("UTF-16", format!("\"{wide}\""))));
    out
}

/// The time that a number is as Windows counts, if it is one of a computer's.
pub fn filetime(number: u64) -> Option<String> {
    moment((i128::from(number) - FILETIME_EPOCH) * 100, 7)
}

/// A number that somebody may have meant, rather than what other bytes look like as one.
fn plausible(value: f64) -> bool {
    value == 0.0 || value.is_finite() && (1e-9..1e15).contains(&value.abs())
}

/// A time that is one of a computer's.
fn moment(nanoseconds: i128, digits: u8) -> Option<String> {
    let time = Time::from_nanoseconds(nanoseconds, digits)?.to_string();
    let year: i32 = time.get(..4)?.parse().ok()?;
    (1980..2080).contains(&year).then_some(time)
}

fn guid(bytes: &[u8]) -> Option<String> {
    let raw: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
    let value = u128::from_be_bytes(raw);
    let first = u32::from_le_bytes(raw[..4].try_into().ok()?);
    let (second, third) = (u16::from_le_bytes(raw[4..6].try_into().ok()?), u16::from_le_bytes(raw[6..8].try_into().ok()?));
    let (fourth, fifth) = ((value >> 48) as u16, value as u64 & 0xffff_ffff_ffff);
    Some(format!("{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{fifth:012x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(bytes: &[u8], name: &str) -> Option<String> {
        readings(bytes).into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    #[test]
    fn bytes_are_read_in_every_way_that_they_admit() {
        assert_eq!(reading(&[0xfe, 0xff], "u16").as_deref(), Some("65534 (-2) 0xfffe"));
        assert_eq!(reading(&[0x01, 0x02, 0x03, 0x04], "u32 BE").as_deref(), Some("16909060 0x1020304"));
        let filetime = 133_601_413_670_000_000_u64.to_le_bytes();
        assert_eq!(reading(&filetime, "FILETIME").as_deref(), Some("2024-05-14T06:22:47.0000000Z"));
        assert_eq!(reading(&1_715_688_967_u32.to_le_bytes(), "unix 32").as_deref(), Some("2024-05-14T12:16:07Z"));
        assert_eq!(reading(&[0; 8], "FILETIME"), None, "not every number is a time");
        let guid = [0x01, 0x14, 0x02, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46];
        assert_eq!(reading(&guid, "GUID").as_deref(), Some("00021401-0000-0000-c000-000000000046"));
        assert_eq!(reading(b"cmd\0", "ASCII").as_deref(), Some("\"cmd\""));
        assert_eq!(reading(b"c\0m\0\0\0", "UTF-16").as_deref(), Some("\"cm\""));
        assert_eq!(readings(&[]), []);
    }
}
