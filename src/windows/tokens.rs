//! Access tokens: who a process is and what it may do.

use super::processes::Task;
use super::{Windows, fast_ref, sid};
use crate::address::VirtAddr;
use crate::facts::windows::{Privilege, Sid};
use crate::facts::{ReadError, Scope, Sink};
use crate::symbols::{Context, Object};

/// A token of a user in more groups than this cannot log on (MaxTokenSize).
const MOST_SIDS: u64 = 4096;
/// No token is larger (MaxTokenSize).
const MOST_TOKEN: u64 = 1 << 16;
const GROUPS: &str = "UserAndGroups";

/// Privileges by their number, from 2 (SE_CREATE_TOKEN_PRIVILEGE and the following of wdm.h).
const FIRST_PRIVILEGE: u32 = 2;
const PRIVILEGES: [&str; 35] = [
    "SeCreateTokenPrivilege",
    "SeAssignPrimaryTokenPrivilege",
    "SeLockMemoryPrivilege",
    "SeIncreaseQuotaPrivilege",
    "SeMachineAccountPrivilege",
    "SeTcbPrivilege",
    "SeSecurityPrivilege",
    "SeTakeOwnershipPrivilege",
    "SeLoadDriverPrivilege",
    "SeSystemProfilePrivilege",
    "SeSystemtimePrivilege",
    "SeProfileSingleProcessPrivilege",
    "SeIncreaseBasePriorityPrivilege",
    "SeCreatePagefilePrivilege",
    "SeCreatePermanentPrivilege",
    "SeBackupPrivilege",
    "SeRestorePrivilege",
    "SeShutdownPrivilege",
    "SeDebugPrivilege",
    "SeAuditPrivilege",
    "SeSystemEnvironmentPrivilege",
    "SeChangeNotifyPrivilege",
    "SeRemoteShutdownPrivilege",
    "SeUndockPrivilege",
    "SeSyncAgentPrivilege",
    "SeEnableDelegationPrivilege",
    "SeManageVolumePrivilege",
    "SeImpersonatePrivilege",
    "SeCreateGlobalPrivilege",
    "SeTrustedCredManAccessPrivilege",
    "SeRelabelPrivilege",
    "SeIncreaseWorkingSetPrivilege",
    "SeTimeZonePrivilege",
    "SeCreateSymbolicLinkPrivilege",
    "SeDelegateSessionUserImpersonatePrivilege",
];

/// Bits that no privilege has: the last came with Windows 10, ten years ago.
const NO_PRIVILEGES: u64 = !((1 << (FIRST_PRIVILEGE as usize + PRIVILEGES.len())) - 1) | ((1 << FIRST_PRIVILEGE) - 1);

/// SE_GROUP_LOGON_ID (winnt.h): two bits.
const LOGON: u64 = 0xc000_0000;
const INTEGRITY: u64 = 0x20;
/// The other attributes of a SID in a token (SE_GROUP_..., winnt.h).
const ATTRIBUTES: [(u64, &str); 8] = [
    (0x01, "mandatory"),
    (0x02, "enabled_by_default"),
    (0x04, "enabled"),
    (0x08, "owner"),
    (0x10, "deny_only"),
    (INTEGRITY, "integrity"),
    (0x40, "integrity_enabled"),
    (0x2000_0000, "resource"),
];

impl Windows {
    /// The primary token of a process.
    pub(super) fn token<'a>(&self, process: &Object<'a>) -> Result<Object<'a>, ReadError> {
        let token = fast_ref(process.inner("Token")?.uint("Value")?);
        // A page that was copied from elsewhere has its headers in other places.
        if !token.is_kernel() || self.is_other(token, "Token") {
            return Err(ReadError::Implausible("token"));
        }
        process.context().object("_TOKEN", token)
    }
}

/// The user of a token, by name or as a SID.
pub fn user(token: &Object<'_>) -> Result<Option<String>, ReadError> {
    Ok(user_sid(token)?.map(|text| sid::name(&text).unwrap_or(text)))
}

pub fn user_sid(token: &Object<'_>) -> Result<Option<String>, ReadError> {
    if token.uint("UserAndGroupCount")? == 0 {
        return Ok(None);
    }
    let entry = token.context().object("_SID_AND_ATTRIBUTES", token.pointer("UserAndGroups")?)?;
    sid_of(&entry).map(Some)
}

pub fn privileges(windows: &Windows, scope: Scope, out: &mut Sink<Privilege>) {
    windows.each_task("privileges", scope, out, |task, out| {
        let held = windows.token(&task.object)?.inner("Privileges")?;
        let (present, enabled, default) = (held.uint("Present")?, held.uint("Enabled")?, held.uint("EnabledByDefault")?);
        if (present | enabled | default) & NO_PRIVILEGES != 0 {
            return Err(ReadError::Implausible("privileges"));
        }
        for value in (0..u64::BITS).filter(|value| (present | enabled | default) >> value & 1 != 0) {
            let name = value.checked_sub(FIRST_PRIVILEGE).and_then(|index| PRIVILEGES.get(index as usize)).copied();
            let bit = |mask: u64| mask >> value & 1 != 0;
            out.push(Privilege {
                pid: task.pid,
                process: task.name.clone(),
                name: name.unwrap_or_default().to_owned(),
                value,
                present: bit(present),
                enabled: bit(enabled),
                default: bit(default),
                ..Privilege::default()
            });
        }
        Ok(())
    });
}

pub fn sids(windows: &Windows, scope: Scope, out: &mut Sink<Sid>) {
    windows.each_task("security identifiers", scope, out, |task, out| of_task(windows, task, out));
}

fn of_task(windows: &Windows, task: &Task<'_>, out: &mut Sink<Sid>) -> Result<(), ReadError> {
    let token = windows.token(&task.object)?;
    let mut show = |read: Result<String, ReadError>, role: &'static str, attributes: Vec<&'static str>| {
        let (text, problems) = match read {
            Ok(text) => (text, Vec::new()),
            Err(why) => (String::new(), vec![format!("sid: {why}")]),
        };
        let name = sid::name(&text).into();
        out.push(Sid { pid: task.pid, process: task.name.clone(), sid: text, name, role, attributes, problems });
    };
    let level = token.uint("IntegrityLevelIndex").unwrap_or(u64::MAX);
    let mut integrity = false;
    let (groups, mut whole) = listed(&token, GROUPS, "UserAndGroupCount")?;
    for (index, entry) in groups.into_iter().enumerate() {
        let bits = entry.uint("Attributes")?;
        let role = match bits {
            _ if index == 0 => "user",
            bits if bits & INTEGRITY != 0 || index as u64 == level => "integrity",
            bits if bits & LOGON == LOGON => "logon",
            _ => "group",
        };
        integrity |= role == "integrity";
        show(sid_of(&entry), role, words(bits));
    }
    let single = |field: &'static str| -> Result<Option<VirtAddr>, ReadError> {
        Ok(if token.has(field) { Some(token.pointer(field)?).filter(|at| !at.is_null()) } else { None })
    };
    if let Some(level) = single("IntegrityLevelSidValue")?.filter(|_| !integrity) {
        show(sid::read(token.context(), level), "integrity", Vec::new());
    }
    for (list, count, role) in [("RestrictedSids", "RestrictedSidCount", "restricted"), ("Capabilities", "CapabilityCount", "capability")] {
        if token.has(list) {
            let (entries, all) = listed(&token, list, count)?;
            whole &= all;
            for entry in entries {
                show(sid_of(&entry), role, words(entry.uint("Attributes")?));
            }
        }
    }
    for (field, role) in [("Package", "package"), ("TrustLevelSid", "trust")] {
        if let Some(at) = single(field)? {
            show(sid::read(token.context(), at), role, Vec::new());
        }
    }
    if whole { Ok(()) } else { Err(ReadError::Implausible("number of SIDs")) }
}

/// The elements of an array of _SID_AND_ATTRIBUTES, and whether there are as many as the token says.
fn listed<'a>(token: &Object<'a>, list: &'static str, count: &'static str) -> Result<(Vec<Object<'a>>, bool), ReadError> {
    let context: Context<'a> = token.context();
    let (start, count) = (token.pointer(list)?, token.uint(count)?);
    if count == 0 || start.is_null() {
        return Ok((Vec::new(), true));
    }
    // User and groups stand in the token itself, behind its fields.
    if list == GROUPS && !(token.address..token.address.offset(MOST_TOKEN)).contains(&start) {
        return Err(ReadError::Implausible("groups of a token"));
    }
    let stride = u64::from(context.profile.layout("_SID_AND_ATTRIBUTES")?.size);
    let (mut found, mut end) = (Vec::new(), VirtAddr(u64::MAX));
    for index in 0..count.min(MOST_SIDS) {
        let entry = context.object("_SID_AND_ATTRIBUTES", start.offset(index * stride))?;
        match entry.pointer("Sid") {
            // What an element points to is no element, nor is anything behind it.
            Ok(sid) if sid >= start => end = end.min(sid),
            Ok(sid) if !sid.is_kernel() => break,
            _ => {}
        }
        if entry.address.offset(stride) > end {
            break;
        }
        found.push(entry);
    }
    let whole = found.len() as u64 == count;
    Ok((found, whole))
}

fn sid_of(entry: &Object<'_>) -> Result<String, ReadError> {
    sid::read(entry.context(), entry.pointer("Sid")?)
}

fn words(bits: u64) -> Vec<&'static str> {
    let plain = ATTRIBUTES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word);
    plain.chain((bits & LOGON == LOGON).then_some("logon")).collect()
}
