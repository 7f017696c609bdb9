//! What tells one process from another beyond its PID: when it began, and the numbers that Windows gave it then.

use super::Windows;
use super::processes::Member;
use super::text::filetime;
use crate::address::VirtAddr;
use crate::facts::{ReadError, Time, Watch};
use crate::symbols::Object;

/// A process object that the kernel still maps.
#[derive(Clone, Debug)]
pub struct Identity {
    pub pid: u32,
    /// Its _EPROCESS.
    pub address: VirtAddr,
    pub created: Option<Time>,
    pub exited: Option<Time>,
    /// The low part of its token's ID.
    pub token: Option<u32>,
    /// What PsGetProcessStartKey gives: number of the boot, then number of the process in it.
    pub start_key: Option<u64>,
}

impl Windows {
    /// The process objects, ended ones too.
    pub fn identities(&self, watch: &Watch) -> Vec<Identity> {
        let boot = self.boot_number().ok();
        let roster = self.roster(watch);
        let members = roster.members.iter().filter(|member| member.mapped);
        members.filter_map(|member| self.identity_of(member, boot).ok()).collect()
    }

    fn identity_of(&self, member: &Member, boot: Option<u64>) -> Result<Identity, ReadError> {
        let process = self.context().object("_EPROCESS", member.address)?;
        let time = |field| process.uint(field).map(filetime);
        let token = || -> Result<u32, ReadError> { self.token(&process)?.inner("TokenId")?.u32("LowPart") };
        let sequence = |process: &Object<'_>| process.uint("SequenceNumber").ok().filter(|number| *number != 0);
        Ok(Identity {
            pid: member.pid,
            address: member.address,
            created: time("CreateTime")?,
            exited: time("ExitTime")?,
            token: token().ok(),
            start_key: boot.zip(sequence(&process)).map(|(boot, number)| boot << 48 | number),
        })
    }

    /// How often this Windows had been started.
    fn boot_number(&self) -> Result<u64, ReadError> {
        self.context().object("_KUSER_SHARED_DATA", super::shared::PAGE)?.uint("BootId")
    }
}
