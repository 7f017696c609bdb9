//! The bytes as instructions.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, Mnemonic, OpKind};

/// The longest instruction that the processor takes.
pub const LONGEST: u64 = 15;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: u64,
    pub length: u64,
    /// Empty where bytes are missing.
    pub text: String,
    pub bytes: Vec<u8>,
    /// The address that it jumps to, calls or names relative to itself.
    pub target: Option<u64>,
    /// The target is code: a jump or a call.
    pub branches: bool,
    /// After it the code goes on elsewhere.
    pub ends: bool,
}

/// Bytes that are there from an address on, up to a gap.
pub type Read<'a> = &'a dyn Fn(u64) -> Option<u8>;

fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_space_after_operand_separator(true);
    options.set_rip_relative_addresses(false);
    formatter
}

fn decode(read: Read<'_>, at: u64, bits: u32) -> Option<(Instruction, Vec<u8>)> {
    let bytes: Vec<u8> = (0..LONGEST).map_while(|index| read(at.checked_add(index)?)).collect();
    let mut decoder = Decoder::with_ip(bits, &bytes, at, DecoderOptions::NONE);
    let instruction = (!bytes.is_empty()).then(|| decoder.decode())?;
    let length = if instruction.is_invalid() { 1 } else { instruction.len() };
    Some((instruction, bytes.get(..length)?.to_vec()))
}

/// The instruction at an address; None where its first byte is missing.
pub fn line(read: Read<'_>, at: u64, bits: u32) -> Option<Line> {
    let (instruction, bytes) = decode(read, at, bits)?;
    let mut text = String::new();
    if instruction.is_invalid() {
        text = bytes.iter().map(|byte| format!("db 0x{byte:02x}")).collect();
    } else {
        formatter().format(&instruction, &mut text);
    }
    let branches =
        !instruction.is_invalid() && matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
    let target = match branches {
        true => Some(instruction.near_branch_target()),
        false if instruction.is_ip_rel_memory_operand() => Some(instruction.ip_rel_memory_address()),
        false => None,
    };
    let ends = matches!(instruction.mnemonic(), Mnemonic::Ret | Mnemonic::Retf | Mnemonic::Jmp | Mnemonic::Iretq | Mnemonic::Ud2);
    Some(Line { at, length: bytes.len() as u64, text, bytes, target, branches, ends })
}

/// Where the instruction before an address begins: the one on which most ways of reading the bytes before it agree.
pub fn before(read: Read<'_>, at: u64, bits: u32) -> Option<u64> {
    const BACK: u64 = 3 * LONGEST;
    let mut votes: Vec<(u64, usize)> = Vec::new();
    for back in 1..=BACK {
        let Some(mut start) = at.checked_sub(back).filter(|start| (*start..at).all(|at| read(at).is_some())) else { break };
        let mut last = start;
        while start < at {
            let Some((_, bytes)) = decode(read, start, bits) else { break };
            last = start;
            start += bytes.len() as u64;
        }
        if start == at {
            match votes.iter_mut().find(|(start, _)| *start == last) {
                Some((_, count)) => *count += 1,
                None => votes.push((last, 1)),
            }
        }
    }
    votes.into_iter().max_by_key(|(start, count)| (*count, std::cmp::Reverse(*start))).map(|(start, _)| start)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// mov r11, rsp; sub rsp, 0x40; call +0; lea rax, [rip+0x10]; ret
    const CODE: &[u8] = &[0x4c, 0x8b, 0xdc, 0x48, 0x83, 0xec, 0x40, 0xe8, 0, 0, 0, 0, 0x48, 0x8d, 0x05, 0x10, 0, 0, 0, 0xc3];

    fn read(at: u64) -> Option<u8> {
        CODE.get(usize::try_from(at.checked_sub(0x1000)?).ok()?).copied()
    }

    #[test]
    fn instructions_and_where_they_lead() {
        let line = |at| super::line(&read, at, 64).unwrap();
        assert_eq!(line(0x1000).text, "mov r11, rsp");
        assert_eq!(line(0x1003).text, "sub rsp, 0x40");
        assert_eq!((line(0x1007).text.as_str(), line(0x1007).target), ("call 0x100c", Some(0x100c)));
        assert_eq!((line(0x100c).target, line(0x100c).branches), (Some(0x1023), false));
        assert!(line(0x1013).ends);
        assert_eq!(super::line(&read, 0x1014, 64), None);
        assert_eq!(super::line(&read, 0x1000, 32).unwrap().text, "dec esp");
        assert_eq!(super::line(&|_| Some(0x06), 0, 64).unwrap().text, "db 0x06");
    }

    #[test]
    fn the_way_back_is_found() {
        let mut at = 0x1013;
        for expected in [0x100c, 0x1007, 0x1003, 0x1000] {
            at = before(&read, at, 64).unwrap();
            assert_eq!(at, expected);
        }
        assert_eq!(before(&read, at, 64), None);
    }
}
