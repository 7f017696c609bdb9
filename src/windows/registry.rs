//! Registry keys as the configuration manager keeps them in memory.

use super::text;
use crate::facts::ReadError;
use crate::symbols::Object;

/// Keys nest no deeper (winreg: registry element size limits).
const MOST_DEPTH: usize = 512;

/// The full path of an open key, by its _CM_KEY_BODY: `\REGISTRY\MACHINE\SOFTWARE`.
pub fn key_path(key: &Object<'_>) -> Result<String, ReadError> {
    let mut parts = Vec::new();
    let mut block = key.follow_some("KeyControlBlock")?;
    loop {
        parts.push(name(&block.follow_some("NameBlock")?)?);
        match block.follow("ParentKcb")? {
            Some(parent) if parts.len() < MOST_DEPTH => block = parent,
            Some(_) => return Err(ReadError::Implausible("key depth")),
            None => break,
        }
    }
    Ok(parts.iter().rev().map(|part| format!("\\{}", part.trim_start_matches('\\'))).collect())
}

/// A _CM_NAME_CONTROL_BLOCK: a byte a letter where all letters fit.
fn name(block: &Object<'_>) -> Result<String, ReadError> {
    let (space, at, length) = (block.context().space, block.at("Name")?, block.uint("NameLength")? as u16);
    if length == 0 {
        return Err(ReadError::Implausible("key name"));
    }
    if block.uint("Compressed")? == 0 {
        return text::wide(space, at, length.into());
    }
    let mut bytes = vec![0; length.into()];
    space.read(at, &mut bytes)?;
    Ok(bytes.into_iter().map(char::from).collect())
}
