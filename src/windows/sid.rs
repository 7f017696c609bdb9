//! Security identifiers: their text, and the names of those that every system has.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::symbols::Context;
use std::fmt::Write as _;

/// SID_REVISION and SID_MAX_SUB_AUTHORITIES (winnt.h).
const REVISION: u64 = 1;
const MOST_SUB_AUTHORITIES: u64 = 15;

/// Names as Windows shows them (Microsoft, Security identifiers; winnt.h).
const WELL_KNOWN: &[(&str, &str)] = &[
    ("S-1-0-0", "NULL SID"),
    ("S-1-1-0", "Everyone"),
    ("S-1-2-0", "LOCAL"),
    ("S-1-2-1", "CONSOLE LOGON"),
    ("S-1-3-0", "CREATOR OWNER"),
    ("S-1-3-1", "CREATOR GROUP"),
    ("S-1-3-4", "OWNER RIGHTS"),
    ("S-1-5-1", "NT AUTHORITY\\DIALUP"),
    ("S-1-5-2", "NT AUTHORITY\\NETWORK"),
    ("S-1-5-3", "NT AUTHORITY\\BATCH"),
    ("S-1-5-4", "NT AUTHORITY\\INTERACTIVE"),
    ("S-1-5-6", "NT AUTHORITY\\SERVICE"),
    ("S-1-5-7", "NT AUTHORITY\\ANONYMOUS LOGON"),
    ("S-1-5-8", "NT AUTHORITY\\PROXY"),
    ("S-1-5-9", "NT AUTHORITY\\ENTERPRISE DOMAIN CONTROLLERS"),
    ("S-1-5-10", "NT AUTHORITY\\SELF"),
    ("S-1-5-11", "NT AUTHORITY\\Authenticated Users"),
    ("S-1-5-12", "NT AUTHORITY\\RESTRICTED"),
    ("S-1-5-13", "NT AUTHORITY\\TERMINAL SERVER USER"),
    ("S-1-5-14", "NT AUTHORITY\\REMOTE INTERACTIVE LOGON"),
    ("S-1-5-15", "NT AUTHORITY\\This Organization"),
    ("S-1-5-17", "NT AUTHORITY\\IUSR"),
    ("S-1-5-18", "NT AUTHORITY\\SYSTEM"),
    ("S-1-5-19", "NT AUTHORITY\\LOCAL SERVICE"),
    ("S-1-5-20", "NT AUTHORITY\\NETWORK SERVICE"),
    ("S-1-5-33", "NT AUTHORITY\\WRITE RESTRICTED"),
    ("S-1-5-64-10", "NT AUTHORITY\\NTLM Authentication"),
    ("S-1-5-64-14", "NT AUTHORITY\\SChannel Authentication"),
    ("S-1-5-64-21", "NT AUTHORITY\\Digest Authentication"),
    ("S-1-5-65-1", "NT AUTHORITY\\This Organization Certificate"),
    ("S-1-5-80-0", "NT SERVICE\\ALL SERVICES"),
    ("S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", "NT SERVICE\\TrustedInstaller"),
    ("S-1-5-80-3139157870-2983391045-3678747466-658725712-1809340420", "NT SERVICE\\WdiServiceHost"),
    ("S-1-5-82-3006700770-424185619-1745488364-794895919-4004696415", "IIS APPPOOL\\DefaultAppPool"),
    ("S-1-5-83-0", "NT VIRTUAL MACHINE\\Virtual Machines"),
    ("S-1-5-84-0-0-0-0-0", "USER MODE DRIVERS"),
    ("S-1-5-90-0", "Window Manager\\Window Manager Group"),
    ("S-1-5-113", "NT AUTHORITY\\Local account"),
    ("S-1-5-114", "NT AUTHORITY\\Local account and member of Administrators group"),
    ("S-1-5-1000", "NT AUTHORITY\\Other Organization"),
    ("S-1-5-32-544", "BUILTIN\\Administrators"),
    ("S-1-5-32-545", "BUILTIN\\Users"),
    ("S-1-5-32-546", "BUILTIN\\Guests"),
    ("S-1-5-32-547", "BUILTIN\\Power Users"),
    ("S-1-5-32-548", "BUILTIN\\Account Operators"),
    ("S-1-5-32-549", "BUILTIN\\Server Operators"),
    ("S-1-5-32-550", "BUILTIN\\Print Operators"),
    ("S-1-5-32-551", "BUILTIN\\Backup Operators"),
    ("S-1-5-32-552", "BUILTIN\\Replicator"),
    ("S-1-5-32-554", "BUILTIN\\Pre-Windows 2000 Compatible Access"),
    ("S-1-5-32-555", "BUILTIN\\Remote Desktop Users"),
    ("S-1-5-32-556", "BUILTIN\\Network Configuration Operators"),
    ("S-1-5-32-557", "BUILTIN\\Incoming Forest Trust Builders"),
    ("S-1-5-32-558", "BUILTIN\\Performance Monitor Users"),
    ("S-1-5-32-559", "BUILTIN\\Performance Log Users"),
    ("S-1-5-32-560", "BUILTIN\\Windows Authorization Access Group"),
    ("S-1-5-32-561", "BUILTIN\\Terminal Server License Servers"),
    ("S-1-5-32-562", "BUILTIN\\Distributed COM Users"),
    ("S-1-5-32-568", "BUILTIN\\IIS_IUSRS"),
    ("S-1-5-32-569", "BUILTIN\\Cryptographic Operators"),
    ("S-1-5-32-573", "BUILTIN\\Event Log Readers"),
    ("S-1-5-32-574", "BUILTIN\\Certificate Service DCOM Access"),
    ("S-1-5-32-575", "BUILTIN\\RDS Remote Access Servers"),
    ("S-1-5-32-576", "BUILTIN\\RDS Endpoint Servers"),
    ("S-1-5-32-577", "BUILTIN\\RDS Management Servers"),
    ("S-1-5-32-578", "BUILTIN\\Hyper-V Administrators"),
    ("S-1-5-32-579", "BUILTIN\\Access Control Assistance Operators"),
    ("S-1-5-32-580", "BUILTIN\\Remote Management Users"),
    ("S-1-5-32-581", "BUILTIN\\System Managed Accounts Group"),
    ("S-1-5-32-582", "BUILTIN\\Storage Replica Administrators"),
    ("S-1-5-32-583", "BUILTIN\\Device Owners"),
    ("S-1-15-2-1", "APPLICATION PACKAGE AUTHORITY\\ALL APPLICATION PACKAGES"),
    ("S-1-15-2-2", "APPLICATION PACKAGE AUTHORITY\\ALL RESTRICTED APPLICATION PACKAGES"),
    ("S-1-15-3-1", "APPLICATION PACKAGE AUTHORITY\\internetClient"),
    ("S-1-15-3-2", "APPLICATION PACKAGE AUTHORITY\\internetClientServer"),
    ("S-1-15-3-3", "APPLICATION PACKAGE AUTHORITY\\privateNetworkClientServer"),
    ("S-1-15-3-4", "APPLICATION PACKAGE AUTHORITY\\picturesLibrary"),
    ("S-1-15-3-5", "APPLICATION PACKAGE AUTHORITY\\videosLibrary"),
    ("S-1-15-3-6", "APPLICATION PACKAGE AUTHORITY\\musicLibrary"),
    ("S-1-15-3-7", "APPLICATION PACKAGE AUTHORITY\\documentsLibrary"),
    ("S-1-15-3-8", "APPLICATION PACKAGE AUTHORITY\\enterpriseAuthentication"),
    ("S-1-15-3-9", "APPLICATION PACKAGE AUTHORITY\\sharedUserCertificates"),
    ("S-1-15-3-10", "APPLICATION PACKAGE AUTHORITY\\removableStorage"),
    ("S-1-16-0", "Mandatory Label\\Untrusted Mandatory Level"),
    ("S-1-16-4096", "Mandatory Label\\Low Mandatory Level"),
    ("S-1-16-8192", "Mandatory Label\\Medium Mandatory Level"),
    ("S-1-16-8448", "Mandatory Label\\Medium Plus Mandatory Level"),
    ("S-1-16-12288", "Mandatory Label\\High Mandatory Level"),
    ("S-1-16-16384", "Mandatory Label\\System Mandatory Level"),
    ("S-1-16-20480", "Mandatory Label\\Protected Process Mandatory Level"),
    ("S-1-18-1", "Authentication authority asserted identity"),
    ("S-1-18-2", "Service asserted identity"),
];

/// Accounts that every machine or domain has under the same last number.
const RELATIVE: &[(&str, &str)] = &[
    ("500", "Administrator"),
    ("501", "Guest"),
    ("502", "krbtgt"),
    ("503", "DefaultAccount"),
    ("504", "WDAGUtilityAccount"),
    ("512", "Domain Admins"),
    ("513", "Domain Users"),
    ("514", "Domain Guests"),
    ("515", "Domain Computers"),
    ("516", "Domain Controllers"),
    ("517", "Cert Publishers"),
    ("518", "Schema Admins"),
    ("519", "Enterprise Admins"),
    ("520", "Group Policy Creator Owners"),
    ("521", "Read-only Domain Controllers"),
    ("522", "Cloneable Domain Controllers"),
    ("525", "Protected Users"),
    ("526", "Key Admins"),
    ("527", "Enterprise Key Admins"),
    ("553", "RAS and IAS Servers"),
];

/// Families: the beginning that their members share, and what the rest is named after.
const FAMILIES: &[(&str, &str)] = &[
    ("S-1-5-5-", "Logon Session "),
    ("S-1-5-90-0-", "Window Manager\\DWM-"),
    ("S-1-5-96-0-", "Font Driver Host\\UMFD-"),
    ("S-1-5-83-1-", "NT VIRTUAL MACHINE\\"),
];

/// Reads a _SID.
pub fn read(context: Context<'_>, at: VirtAddr) -> Result<String, ReadError> {
    let sid = context.object("_SID", at)?;
    let count = sid.uint("SubAuthorityCount")?;
    if sid.uint("Revision")? != REVISION || count > MOST_SUB_AUTHORITIES {
        return Err(ReadError::Implausible("SID"));
    }
    // Six bytes, the highest first.
    let authority: [u8; 6] = context.space.bytes(sid.at("IdentifierAuthority")?)?;
    let authority = authority.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mut text = format!("S-{REVISION}-{authority}");
    let first = sid.at("SubAuthority")?;
    for index in 0..count {
        let part = context.space.uint(first.offset(index * 4), 4)?;
        // Writing to a string cannot fail.
        let _ = write!(text, "-{part}");
    }
    Ok(text)
}

/// The name of a SID that every system has.
pub fn name(sid: &str) -> Option<String> {
    if let Some((_, name)) = WELL_KNOWN.iter().find(|(known, _)| *known == sid) {
        return Some((*name).to_owned());
    }
    if let Some(account) = sid.strip_prefix("S-1-5-21-") {
        let (_, last) = account.rsplit_once('-')?;
        return RELATIVE.iter().find(|(known, _)| *known == last).map(|(_, name)| (*name).to_owned());
    }
    FAMILIES.iter().find_map(|(start, name)| sid.strip_prefix(start).map(|rest| format!("{name}{rest}")))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names() {
        let named = |sid| name(sid).unwrap_or_default();
        assert_eq!(named("S-1-5-18"), "NT AUTHORITY\\SYSTEM");
        assert_eq!(named("S-1-5-21-1004336348-1177238915-682003330-500"), "Administrator");
        assert_eq!(named("S-1-5-21-1004336348-1177238915-682003330-1001"), "");
        assert_eq!(named("S-1-5-90-0-1"), "Window Manager\\DWM-1");
        assert_eq!(named("S-1-5-5-0-50431"), "Logon Session 0-50431");
    }
}
