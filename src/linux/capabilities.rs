//! Capability sets of the processes' credentials.

use super::Linux;
use crate::facts::linux::Capabilities;
use crate::facts::{Hex, Known, Scope, Sink};

pub fn capabilities(linux: &Linux, scope: Scope, out: &mut Sink<Capabilities>) {
    linux.each_task("capabilities", scope, out, |task, out| {
        // kernel_cap_t is a pair of words before 6.3 and one long word since: eight bytes either way.
        let set = |field| -> Known<Hex> { task.object.follow_some("real_cred").and_then(|cred| cred.uint(field)).map(Hex).into() };
        out.push(Capabilities {
            pid: task.pid,
            process: task.name.clone(),
            effective: set("cap_effective"),
            permitted: set("cap_permitted"),
            inheritable: set("cap_inheritable"),
            bounding: set("cap_bset"),
            ambient: set("cap_ambient"),
            ..Capabilities::default()
        });
        Ok(())
    });
}
