//! Capability sets of the processes' credentials, and what else bounds them.

use super::Linux;
use crate::facts::linux::Capabilities;
use crate::facts::{Hex, Known, ReadError, Scope, Sink};
use crate::symbols::Object;

/// More than any debugger holds.
const MOST_TRACED: usize = 1 << 16;
/// task_struct.atomic_flags (include/linux/sched.h).
const PFA_NO_NEW_PRIVS: u64 = 1 << 0;
/// struct seccomp.mode (include/uapi/linux/seccomp.h).
const SECCOMP: [&str; 3] = ["off", "strict", "filter"];

pub fn capabilities(linux: &Linux, scope: Scope, out: &mut Sink<Capabilities>) {
    linux.each_task("capabilities", scope, out, |task, out| {
        let credentials = task.object.follow_some("real_cred");
        // kernel_cap_t is a pair of words before 6.3 and one long word since: eight bytes either way.
        let set = |field| -> Known<Hex> { credentials.as_ref().map_err(|why| *why).and_then(|cred| cred.uint(field)).map(Hex).into() };
        let namespace = |cred: &Object<'_>| cred.follow_some("user_ns")?.inner("ns")?.uint("inum");
        let address = credentials.as_ref().map(|cred| cred.address).map_err(|why| *why);
        out.push(Capabilities {
            pid: task.pid,
            process: task.name.clone(),
            effective: set("cap_effective"),
            permitted: set("cap_permitted"),
            inheritable: set("cap_inheritable"),
            bounding: set("cap_bset"),
            ambient: set("cap_ambient"),
            user_namespace: credentials.as_ref().map_err(|why| *why).and_then(namespace).into(),
            no_new_privileges: task.object.uint("atomic_flags").map(|flags| flags & PFA_NO_NEW_PRIVS != 0).into(),
            seccomp: seccomp(&task.object).into(),
            tracer: tracer(&task.object).into(),
            credentials: address.into(),
            credentials_symbol: address.map(|address| linux.profile.symbols().name_at(address)).into(),
            ..Capabilities::default()
        });
        Ok(())
    });
}

fn seccomp(task: &Object<'_>) -> Result<&'static str, ReadError> {
    let mode = task.inner("seccomp")?.uint("mode")?;
    SECCOMP.get(mode as usize).copied().ok_or(ReadError::Implausible("seccomp"))
}

/// While a task is traced, the tracer stands where its parent was, and has it on its list.
pub(super) fn tracer(task: &Object<'_>) -> Result<Option<u32>, ReadError> {
    if task.uint("ptrace")? == 0 {
        return Ok(None);
    }
    let tracer = task.follow_some("parent")?;
    let mut traced = tracer.list("ptraced", "task_struct", "ptrace_entry")?.take(MOST_TRACED);
    match traced.any(|other| other.is_ok_and(|other| other.address == task.address)) {
        true => tracer.u32("tgid").map(Some),
        false => Err(ReadError::Implausible("ptrace")),
    }
}
