//! eBPF programs that are loaded.

use super::{Linux, xarray};
use crate::facts::linux::BpfProgram;
use crate::facts::{ReadError, Scope, Sink, Time};
use crate::symbols::Object;

const MOST_PROGRAMS: usize = 1 << 20;
/// enum bpf_prog_type (include/uapi/linux/bpf.h).
const TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

pub fn bpf_programs(linux: &Linux, _: Scope, out: &mut Sink<BpfProgram>) {
    let tree = linux.context().global("prog_idr", "idr").and_then(|idr| idr.inner("idr_rt"));
    let programs = match tree.and_then(|tree| xarray::indexed(&tree, MOST_PROGRAMS)) {
        Ok(programs) => programs,
        Err(why) => return out.cut(format!("eBPF programs cannot be found: {why}")),
    };
    if programs.is_empty() {
        out.note("no eBPF program is loaded");
    }
    out.each(
        &programs,
        |(id, _)| format!("program {id}"),
        |(id, at), out| {
            let program = linux.context().object("bpf_prog", *at)?;
            let more = program.follow_some("aux")?;
            // It leads back, and knows its own number.
            if more.pointer("prog")? != *at || more.uint("id")? != *id {
                return Err(ReadError::Implausible("bpf_prog"));
            }
            out.push(describe(linux, &program, &more)?);
            Ok(())
        },
    );
}

fn describe(linux: &Linux, program: &Object<'_>, more: &Object<'_>) -> Result<BpfProgram, ReadError> {
    let context = linux.context();
    let number = program.uint("type")?;
    let since_boot = i128::from(more.uint("load_time")?);
    let attached = match more.pointer("attach_func_name") {
        Ok(at) if !at.is_null() => context.space.text(at, 256).map(Some),
        Ok(_) => Ok(None),
        Err(why) => Err(why),
    };
    let user = more.follow("user").and_then(|user| user.map(|user| user.inner("uid")?.u32("val")).transpose());
    Ok(BpfProgram {
        id: more.u32("id")?,
        r#type: TYPES.get(number as usize).map_or_else(|| number.to_string(), |name| (*name).to_owned()),
        name: more.text("name").map(|name| (!name.is_empty()).then_some(name)).into(),
        tag: context.space.bytes::<8>(program.at("tag")?)?.to_vec(),
        loaded: linux.boot_time.and_then(|boot| Time::from_nanoseconds(boot.nanoseconds() + since_boot, 9)).into(),
        uid: user.into(),
        attached_to: attached.into(),
        overrides: program.uint("kprobe_override").map(|overrides| overrides != 0).into(),
        maps: more.u32("used_map_cnt").into(),
        function: program.pointer("bpf_func").into(),
        size: program.u32("jited_len").into(),
        address: program.address,
        ..BpfProgram::default()
    })
}
