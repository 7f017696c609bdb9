//! What Sysmon's events hold, by its public manifests (microsoft/SysmonCommon), schemas 3.1 to 4.90: the names and types of their fields.

use crate::facts::event::Guid;

/// Microsoft-Windows-Sysmon, {5770385f-c22a-43e0-bf4c-06f5698ffbd9}.
pub const PROVIDER: Guid = Guid([0x5f, 0x38, 0x70, 0x57, 0x2a, 0xc2, 0xe0, 0x43, 0xbf, 0x4c, 0x06, 0xf5, 0x69, 0x8f, 0xfb, 0xd9]);

/// The fields of each event in order, with the type of those that are no text: `g` GUID, `u` 32 bits, `p` 16 bits, `x` and `X` 32 and
/// 64 bits in hexadecimal, `b` boolean. A digit is the step of its history at which a field came in.
const LAYOUTS: [(u32, &str); 29] = [
    (
        1,
        "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image FileVersion:2 Description:2 Product:2 Company:2 OriginalFileName:3 \
         CommandLine CurrentDirectory User LogonGuid:g LogonId:X TerminalSessionId:u IntegrityLevel Hashes ParentProcessGuid:g \
         ParentProcessId:u ParentImage ParentCommandLine ParentUser:4",
    ),
    (2, "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image TargetFilename CreationUtcTime PreviousCreationUtcTime User:4"),
    (
        3,
        "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image User Protocol Initiated:b SourceIsIpv6:b SourceIp SourceHostname \
         SourcePort:p SourcePortName DestinationIsIpv6:b DestinationIp DestinationHostname DestinationPort:p DestinationPortName",
    ),
    (4, "UtcTime State Version SchemaVersion"),
    (5, "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image User:4"),
    (6, "RuleName:1 UtcTime ImageLoaded Hashes Signed Signature SignatureStatus"),
    (
        7,
        "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image ImageLoaded FileVersion:2 Description:2 Product:2 Company:2 \
         OriginalFileName:3 Hashes Signed Signature SignatureStatus User:4",
    ),
    (
        8,
        "RuleName:1 UtcTime SourceProcessGuid:g SourceProcessId:u SourceImage TargetProcessGuid:g TargetProcessId:u TargetImage \
         NewThreadId:u StartAddress StartModule StartFunction SourceUser:4 TargetUser:4",
    ),
    (9, "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image Device User:4"),
    (
        10,
        "RuleName:1 UtcTime SourceProcessGUID:g SourceProcessId:u SourceThreadId:u SourceImage TargetProcessGUID:g TargetProcessId:u \
         TargetImage GrantedAccess:x CallTrace SourceUser:4 TargetUser:4",
    ),
    (11, "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image TargetFilename CreationUtcTime User:4"),
    (12, "RuleName:1 EventType UtcTime ProcessGuid:g ProcessId:u Image TargetObject User:4"),
    (13, "RuleName:1 EventType UtcTime ProcessGuid:g ProcessId:u Image TargetObject Details User:4"),
    (14, "RuleName:1 EventType UtcTime ProcessGuid:g ProcessId:u Image TargetObject NewName User:4"),
    (15, "RuleName:1 UtcTime ProcessGuid:g ProcessId:u Image TargetFilename CreationUtcTime Hash Contents:3 User:4"),
    (16, "UtcTime Configuration ConfigurationFileHash"),
    (17, "RuleName:1 EventType:2 UtcTime ProcessGuid:g ProcessId:u PipeName Image User:4"),
    (18, "RuleName:1 EventType:2 UtcTime ProcessGuid:g ProcessId:u PipeName Image User:4"),
    (19, "RuleName:1 EventType UtcTime Operation User EventNamespace Name Query"),
    (20, "RuleName:1 EventType UtcTime Operation User Name Type Destination"),
    (21, "RuleName:1 EventType UtcTime Operation User Consumer Filter"),
    (22, "RuleName:1 UtcTime ProcessGuid:g ProcessId:u QueryName QueryStatus QueryResults Image User:4"),
    (23, "RuleName UtcTime ProcessGuid:g ProcessId:u User Image TargetFilename Hashes IsExecutable:b Archived"),
    (24, "RuleName UtcTime ProcessGuid:g ProcessId:u Image Session:u ClientInfo Hashes Archived User:4"),
    (25, "RuleName UtcTime ProcessGuid:g ProcessId:u Image Type User:4"),
    (26, "RuleName UtcTime ProcessGuid:g ProcessId:u User Image TargetFilename Hashes IsExecutable:b"),
    (27, "RuleName UtcTime ProcessGuid:g ProcessId:u User Image TargetFilename Hashes"),
    (28, "RuleName UtcTime ProcessGuid:g ProcessId:u User Image TargetFilename Hashes IsExecutable:b"),
    (255, "UtcTime ID Description"),
];
const STEPS: u8 = 4;

/// The names of an event's values, by how many there are and of which types. None where no layout has them.
pub fn names(event: u32, kinds: &[u8]) -> Option<Vec<&'static str>> {
    // FileExecutableDetected has the fields of FileBlockExecutable.
    let event = if event == 29 { 27 } else { event };
    let (_, layout) = LAYOUTS.iter().find(|(known, _)| *known == event)?;
    let fields = || layout.split_ascii_whitespace().map(|field| field.split_once(':').unwrap_or((field, "")));
    (0..=STEPS).find_map(|step| {
        let present = || fields().filter(|(_, mark)| mark.bytes().all(|mark| !mark.is_ascii_digit() || mark - b'0' <= step));
        let fits = present().count() == kinds.len() && present().zip(kinds).all(|((_, mark), kind)| is(mark, *kind));
        fits.then(|| present().map(|(name, _)| name).collect())
    })
}

/// The field of an event that compiled rules give by its number; None where the version does not tell which fields there were.
pub fn field(event: u32, version: u32, index: usize) -> Option<&'static str> {
    let step = match version {
        14 | 15 => STEPS - 1,
        16.. => STEPS,
        _ => return None,
    };
    let event = if event == 29 { 27 } else { event };
    let (_, layout) = LAYOUTS.iter().find(|(known, _)| *known == event)?;
    let fields = layout.split_ascii_whitespace().map(|field| field.split_once(':').unwrap_or((field, "")));
    let mut present = fields.filter(|(_, mark)| mark.bytes().all(|mark| !mark.is_ascii_digit() || mark - b'0' <= step));
    present.nth(index).map(|(name, _)| name)
}

/// Whether a value can be of a field's type; null can be of any.
fn is(mark: &str, kind: u8) -> bool {
    let wanted = match mark.as_bytes().first() {
        Some(b'g') => 0x0f,
        Some(b'u') => 0x08,
        Some(b'p') => 0x06,
        Some(b'x') => 0x14,
        Some(b'X') => 0x15,
        Some(b'b') => 0x0d,
        _ => 0x01,
    };
    kind == wanted || kind == 0
}

/// What a ProcessGuid says: the machine, when the process began in seconds since 1970, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub machine: u32,
    pub seconds: u32,
    pub key: u64,
}

impl Identity {
    /// None for zeros: Sysmon no longer knew the process.
    pub fn of(guid: Guid) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, key @ ..] = guid.0;
        let identity =
            Self { machine: u32::from_le_bytes([a, b, c, d]), seconds: u32::from_le_bytes([e, f, g, h]), key: u64::from_le_bytes(key) };
        (guid != Guid::NONE).then_some(identity)
    }
    /// The low part of the token's ID, which keys had before they became process start keys.
    pub fn token(self) -> Option<u32> {
        (self.key as u32 == 0x1000_0000).then_some((self.key >> 32) as u32)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_told_by_number_and_types() {
        let connect = [1, 0x0f, 8, 1, 1, 1, 0x0d, 0x0d, 1, 1, 6, 1, 0x0d, 1, 1, 6, 1];
        let named = |kinds: &[u8]| names(3, kinds).map(|names| (names.len(), names[0]));
        assert_eq!(named(&[&[1], &connect[..]].concat()), Some((18, "RuleName")));
        assert_eq!(named(&connect), Some((17, "UtcTime")));
        // Schema 2.0 begins with a number and is not known.
        assert_eq!(named(&[&[8], &connect[..]].concat()), None);
        assert_eq!(names(1000, &[]), None);
        // Each layout is one for its newest version.
        for (event, layout) in LAYOUTS {
            let kinds = vec![0; layout.split_ascii_whitespace().count()];
            assert_eq!(names(event, &kinds).map(|names| names.len()), Some(kinds.len()), "event {event}");
        }
    }

    #[test]
    fn process_guids() {
        let identity = |text| Identity::of(Guid::parse(text).unwrap());
        let old = identity("{365abb72-dfad-5c67-0000-0010e0811500}").unwrap();
        assert_eq!((old.machine, old.seconds, old.token()), (0x365a_bb72, 0x5c67_dfad, Some(0x0015_81e0)));
        let new = identity("{515cd0d1-6e40-5f22-8100-000000004100}").unwrap();
        assert_eq!((new.key, new.token()), (0x0041_0000_0000_0081, None));
        assert_eq!(identity("{00000000-0000-0000-0000-000000000000}"), None);
    }
}
