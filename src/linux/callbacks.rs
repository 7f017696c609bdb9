//! Callbacks: the places where the kernel lets others have a part in what it does, or looks up what to call.

use super::code::{Code, KERNEL};
use super::patches::{self, Jump};
use super::{Linux, rbtree, xarray};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::drivers::Callback;
use crate::facts::{Known, ReadError, Scope, Sink};
use crate::symbols::{Context, Object};
use std::collections::{HashMap, HashSet};

/// Steps of all walks together: far more than any kernel needs, even one with thousands of network namespaces.
const MOST_STEPS: u32 = 1 << 20;
/// Gates of the interrupt descriptor table, and bytes of each (Intel SDM 3A, 7.11 and 7.14.1).
const GATES: u64 = 256;
const GATE_BYTES: u64 = 16;
const PRESENT: u8 = 0x80;
/// EARLY_IDT_HANDLER_SIZE, without and with indirect branch tracking.
const EARLY_BYTES: [u64; 2] = [9, 13];
/// KPROBE_TABLE_SIZE, PTYPE_HASH_SIZE and NR_LDISCS: the symbol after a table ends it before that where it is smaller.
const MOST_BUCKETS: u64 = 64;
/// A table of traced functions has no more buckets (FTRACE_HASH_MAX_BITS).
const MOST_HASH_BITS: u64 = 12;
/// Names of traced functions in a row.
const MOST_NAMES: usize = 8;
/// MAX_HOOK_COUNT of net/netfilter/core.c.
const MOST_NET_HOOKS: u64 = 1024;
/// Minor devices of a tty driver.
const MOST_TTYS: u64 = 1 << 12;
/// Entries below /proc, folders below each other, units that count events, and processors (CONFIG_NR_CPUS of distributions is 8192).
const MOST_ENTRIES: usize = 1 << 18;
const MOST_LEVELS: usize = 32;
const MOST_UNITS: usize = 1 << 10;
const MOST_PROCESSORS: u64 = 8192;
/// umode_t (include/uapi/linux/stat.h).
const S_IFMT: u64 = 0o170_000;
const S_IFDIR: u64 = 0o040_000;

/// Chains of notifiers, and the structure at the head of each.
const NOTIFIERS: [(&str, &str); 19] = [
    ("keyboard_notifier_list", ATOMIC),
    ("vt_notifier_list", ATOMIC),
    ("module_notify_list", BLOCKING),
    ("reboot_notifier_list", BLOCKING),
    ("restart_handler_list", ATOMIC),
    ("panic_notifier_list", ATOMIC),
    ("die_chain", ATOMIC),
    ("pm_chain_head", BLOCKING),
    ("oom_notify_list", BLOCKING),
    ("crypto_chain", BLOCKING),
    ("task_exit_notifier", BLOCKING),
    ("munmap_notifier", BLOCKING),
    ("task_free_notifier", ATOMIC),
    ("netdev_chain", "raw_notifier_head"),
    ("netevent_notif_chain", ATOMIC),
    ("netlink_chain", BLOCKING),
    ("inetaddr_chain", BLOCKING),
    ("inet6addr_chain", ATOMIC),
    ("x86_mce_decoder_chain", BLOCKING),
];
const ATOMIC: &str = "atomic_notifier_head";
const BLOCKING: &str = "blocking_notifier_head";

/// Tables of functions that tell programs which processes, modules, symbols and connections there are.
const OPERATIONS: [(&str, &str); 14] = [
    ("proc_root_operations", FILE),
    ("proc_root_inode_operations", INODE),
    ("proc_tgid_base_operations", FILE),
    ("proc_tgid_base_inode_operations", INODE),
    ("modules_op", SEQUENCE),
    ("kallsyms_op", SEQUENCE),
    ("mounts_op", SEQUENCE),
    ("tcp4_seq_ops", SEQUENCE),
    ("tcp6_seq_ops", SEQUENCE),
    ("udp_seq_ops", SEQUENCE),
    ("udp6_seq_ops", SEQUENCE),
    ("raw_seq_ops", SEQUENCE),
    ("unix_seq_ops", SEQUENCE),
    ("packet_seq_ops", SEQUENCE),
];
const FILE: &str = "file_operations";
const INODE: &str = "inode_operations";
const SEQUENCE: &str = "seq_operations";
/// What such a table holds; which of them a structure has depends on its kind and the kernel's age.
const MEMBERS: [&str; 12] =
    ["open", "read", "read_iter", "iterate", "iterate_shared", "llseek", "start", "next", "show", "stop", "lookup", "getattr"];

/// Where the entries below /proc begin.
pub const PROC_ENTRIES: &str = "proc_root";
/// What the operations of an entry below /proc hold.
const ENTRY_MEMBERS: [&str; 9] =
    ["proc_open", "proc_read", "proc_read_iter", "proc_write", "proc_lseek", "proc_release", "proc_poll", "proc_ioctl", "proc_mmap"];

/// What the names of static calls begin with: their trampoline, and the key that has what they call.
const TRAMPOLINE: &str = "__SCT__";
const KEY: &str = "__SCK__";
/// Names of the functions that BPF rewrites to call programs without an indirect jump (include/linux/bpf.h).
const DISPATCHER: &str = "bpf_dispatcher_";
const DISPATCHER_ENDS: [&str; 2] = ["_func", "_call"];

/// Hooks of packet filters: member of netns_nf, and what its elements are for (include/uapi/linux/netfilter*.h).
const FILTERS: [(&str, &str, &[&str]); 4] = [
    ("hooks_ipv4", "IPv4", &["prerouting", "input", "forward", "output", "postrouting"]),
    ("hooks_ipv6", "IPv6", &["prerouting", "input", "forward", "output", "postrouting"]),
    ("hooks_arp", "ARP", &["input", "output", "forward"]),
    ("hooks_bridge", "bridge", &["prerouting", "input", "forward", "output", "postrouting", "brouting"]),
];

type Walker = fn(&mut Walk<'_, '_>) -> Result<(), ReadError>;
const WALKERS: [(&str, Walker); 13] = [
    ("interrupt gates", |walk| walk.gates()),
    ("traced functions", |walk| walk.ftrace()),
    ("kprobes", |walk| walk.kprobes()),
    ("tracepoints", |walk| walk.tracepoints()),
    ("packet filters", |walk| walk.packet_filters()),
    ("packet handlers", |walk| walk.packet_handlers()),
    ("notifiers", |walk| walk.notifiers()),
    ("file operations", |walk| walk.operations()),
    ("line disciplines", |walk| walk.line_disciplines()),
    ("entries of /proc", |walk| walk.entries()),
    ("kernel threads", |walk| walk.threads()),
    ("performance events", |walk| walk.events()),
    ("the kernel's code", |walk| walk.code()),
];

pub fn callbacks(linux: &Linux, _: Scope, out: &mut Sink<Callback>) {
    let code = Code::find(linux, out);
    if let Err(why) = &code {
        out.note(format!("where the kernel's code lies is not known, so that no target is given a module: {why}"));
    }
    let mut walk = Walk { linux, context: linux.context(), code, optimised: HashMap::new(), left: MOST_STEPS, out };
    for (what, walker) in WALKERS {
        if walk.out.cancelled() {
            return;
        }
        if let Err(why) = walker(&mut walk) {
            walk.out.note(format!("{what}: {why}"));
        }
    }
}

struct Walk<'a, 's> {
    linux: &'a Linux,
    context: Context<'a>,
    code: Result<Code, ReadError>,
    /// Probed places at which a jump replaced the breakpoint, and where those jumps lead.
    optimised: HashMap<VirtAddr, VirtAddr>,
    /// Steps that may still be made.
    left: u32,
    out: &'s mut Sink<Callback>,
}

impl<'a> Walk<'a, '_> {
    fn add(&mut self, kind: &'static str, list: &'static str, at: VirtAddr, function: VirtAddr, detail: impl Into<Known<String>>) {
        self.out.push(Callback {
            kind,
            function,
            module: self.code.as_ref().map_or_else(|why| Known::Unreadable(*why), |code| code.owner(function)),
            symbol: self.linux.name_at(function).into(),
            detail: detail.into(),
            address: at,
            list,
            ..Callback::default()
        });
    }

    /// Counts a step. Chains that damage has tangled are followed no longer than any chain can be.
    fn step(&mut self) -> Result<(), ReadError> {
        self.left = self.left.checked_sub(1).filter(|_| !self.out.cancelled()).ok_or(ReadError::Implausible("number of callbacks"))?;
        Ok(())
    }

    /// Entries of a chain of single links up to null or to `end`.
    fn chain(
        &mut self,
        what: &str,
        first: VirtAddr,
        end: VirtAddr,
        next: impl Fn(VirtAddr) -> Result<VirtAddr, ReadError>,
    ) -> Vec<VirtAddr> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let mut at = first;
        while !at.is_null() && at != end {
            let link = self
                .step()
                .and_then(|()| next(at))
                .and_then(|link| if at.is_kernel() && seen.insert(at) { Ok(link) } else { Err(ReadError::Implausible("link")) });
            match link {
                Ok(link) => {
                    found.push(at);
                    at = link;
                }
                Err(why) => {
                    self.out.note(format!("{what} ends early, at {at}: {why}"));
                    break;
                }
            }
        }
        found
    }

    /// Entries of a list.
    fn members(&mut self, list: impl Iterator<Item = Result<Object<'a>, ReadError>>) -> Result<Vec<Object<'a>>, ReadError> {
        list.map(|member| self.step().and(member)).collect()
    }

    /// Entries of a chain of struct hlist_node or of anything else whose first word leads on.
    fn nodes(&mut self, what: &str, head: VirtAddr) -> Vec<VirtAddr> {
        let space = self.context.space;
        match space.pointer(head) {
            Ok(first) => self.chain(what, first, VirtAddr(0), |at| space.pointer(at)),
            Err(why) => {
                self.out.note(format!("{what}: {why}"));
                Vec::new()
            }
        }
    }

    /// Words of a table that the next symbol ends.
    fn words(&self, table: VirtAddr, stride: u64) -> impl Iterator<Item = VirtAddr> + use<> {
        let end = self.context.profile.symbols().after(table).map_or(0, |end| end.0.saturating_sub(table.0));
        (0..(end / stride).min(MOST_BUCKETS)).map(move |index| table.offset(index * stride))
    }

    fn gates(&mut self) -> Result<(), ReadError> {
        let table = self.context.symbol("idt_table")?;
        let early = self.context.symbol("early_idt_handler_array").map_or(0, |early| early.0);
        for vector in 0..GATES {
            let at = table.offset(vector * GATE_BYTES);
            let [a, b, .., c, d, e, f, g, h, _, _, _, _] = self.context.space.bytes::<16>(at)?;
            let kind = self.context.space.uint(at.offset(5), 1)? as u8;
            let function = VirtAddr(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            // Gates that the processor never uses stay as the start of the kernel left them.
            let unused = EARLY_BYTES.into_iter().any(|bytes| function.0 == early.wrapping_add(vector * bytes));
            if kind & PRESENT != 0 && !unused {
                self.add("interrupt", "idt_table", at, function, Known::Value(format!("vector {vector}")));
            }
        }
        Ok(())
    }

    /// Those who have the kernel call them when certain functions are entered (ftrace).
    fn ftrace(&mut self) -> Result<(), ReadError> {
        const LIST: &str = "ftrace_ops_list";
        let context = self.context;
        let first = context.space.pointer(context.symbol(LIST)?)?;
        let next = |at| context.object("ftrace_ops", at)?.pointer("next");
        for at in self.chain(LIST, first, context.symbol("ftrace_list_end")?, next) {
            let ops = context.object("ftrace_ops", at)?;
            let traced = self.traced(&ops);
            self.add("ftrace", LIST, at, ops.pointer("func")?, traced);
        }
        Ok(())
    }

    /// Which functions: all where none is named.
    fn traced(&mut self, ops: &Object<'_>) -> Result<String, ReadError> {
        let context = self.context;
        let Some(filter) = ops.follow_some("func_hash")?.follow("filter_hash")? else { return Ok("all functions".to_owned()) };
        let (bits, count) = (filter.uint("size_bits")?, filter.uint("count")?);
        if count == 0 {
            return Ok("all functions".to_owned());
        }
        let buckets = filter.pointer("buckets")?;
        let mut names = Vec::new();
        for bucket in 0..1 << bits.min(MOST_HASH_BITS) {
            self.step()?;
            for entry in self.nodes("a table of traced functions", buckets.offset(bucket * 8)) {
                let at = context.object("ftrace_func_entry", entry)?.pointer("ip")?;
                let name = context.profile.symbols().nearest(at).filter(|_| self.kernel(at)).map(|(name, _)| name.to_owned());
                names.push(name.unwrap_or_else(|| at.to_string()));
            }
        }
        names.sort_unstable();
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(names.join(", ") + &rest)
    }

    fn kernel(&self, at: VirtAddr) -> bool {
        self.code.as_ref().is_ok_and(|code| code.owner(at).value().is_some_and(|owner| owner == KERNEL))
    }

    /// Adds what is not the kernel's own: for lists of which nearly everything is.
    fn add_foreign(&mut self, kind: &'static str, list: &'static str, at: VirtAddr, function: VirtAddr, detail: String) {
        let foreign = self.code.as_ref().is_ok_and(|code| match code.owner(function) {
            Known::Value(owner) => owner != KERNEL,
            // What a damaged pointer leads to is no code.
            _ => self.is_code(function),
        });
        if foreign {
            self.add(kind, list, at, function, Known::Value(detail));
        }
    }

    fn is_code(&self, at: VirtAddr) -> bool {
        at.is_kernel() && self.context.space.resident(at, at.offset(1)).1.is_some_and(|rights| rights.execute)
    }

    fn kprobes(&mut self) -> Result<(), ReadError> {
        const TABLE: &str = "kprobe_table";
        let context = self.context;
        let handler = |name| context.symbol(name).ok();
        let (several, returning) = (handler("aggr_pre_handler"), handler("pre_handler_kretprobe"));
        for bucket in self.words(context.symbol(TABLE)?, 8) {
            for at in self.nodes(TABLE, bucket) {
                let probe = context.container("kprobe", "hlist", at)?;
                let jump = || context.object("optimized_kprobe", probe.address)?.inner("optinsn")?.pointer("insn");
                // Where it is none that was optimised, something else lies there, and no jump leads to that.
                if let (Ok(place), Ok(to)) = (probe.pointer("addr"), jump()) {
                    self.optimised.insert(place, to);
                }
                let mut probes = vec![probe.clone()];
                // Several probes of one place hang below one that stands for all.
                if Some(probe.pointer("pre_handler")?) == several {
                    probes = self.members(probe.list("list", "kprobe", "list")?)?;
                }
                for probe in probes {
                    let place = probe.pointer("addr")?;
                    let place = self.linux.name_at(place).unwrap_or_else(|| place.to_string());
                    let before = probe.pointer("pre_handler")?;
                    let mut handlers = vec![("before", before), ("after", probe.pointer("post_handler")?)];
                    if Some(before) == returning {
                        let probe = context.container("kretprobe", "kp", probe.address)?;
                        handlers = vec![("at entry of", probe.pointer("entry_handler")?), ("at return of", probe.pointer("handler")?)];
                    }
                    for (when, function) in handlers.into_iter().filter(|(_, function)| !function.is_null()) {
                        self.add("kprobe", TABLE, probe.address, function, Known::Value(format!("{when} {place}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Tracepoints of the kernel's own that someone listens to.
    fn tracepoints(&mut self) -> Result<(), ReadError> {
        const LIST: &str = "__start___tracepoints_ptrs";
        let context = self.context;
        let (start, end) = (context.symbol(LIST)?, context.symbol("__stop___tracepoints_ptrs")?);
        let size = u64::from(context.profile.layout("tracepoint_func")?.size.max(1));
        // Distances of 32 bits from the place where they stand (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS, x86-64 since 4.19).
        for place in (start.0..end.0).step_by(4).map(VirtAddr) {
            self.step()?;
            let distance = i64::from(context.space.uint(place, 4)? as i32);
            let point = context.object("tracepoint", place.offset(distance.cast_unsigned()))?;
            let listeners = point.pointer("funcs")?;
            if listeners.is_null() {
                continue;
            }
            let name = context.space.text(point.pointer("name")?, 128)?;
            for at in (0..MOST_NET_HOOKS).map(|index| listeners.offset(index * size)) {
                self.step()?;
                match context.object("tracepoint_func", at)?.pointer("func")? {
                    VirtAddr(0) => break,
                    function => self.add("tracepoint", LIST, at, function, Known::Value(name.clone())),
                }
            }
        }
        Ok(())
    }

    fn namespaces(&mut self) -> Result<Vec<Object<'a>>, ReadError> {
        let head = self.context.symbol("net_namespace_list")?;
        self.members(self.context.list(head, "net", "list"))
    }

    fn packet_filters(&mut self) -> Result<(), ReadError> {
        for namespace in self.namespaces()? {
            let number = namespace.inner("ns").and_then(|common| common.uint("inum"))?;
            let filters = namespace.inner("nf")?;
            for (member, protocol, hooks) in FILTERS {
                let Ok((count, stride)) = filters.array(member) else { continue };
                for index in 0..count.min(MOST_BUCKETS as u32) {
                    let at = filters.at(member)?.offset(u64::from(index) * u64::from(stride));
                    let hook = hooks.get(index as usize).copied().unwrap_or("?");
                    self.packet_hooks(self.context.space.pointer(at)?, &format!("{protocol} {hook}, namespace {number}"))?;
                }
            }
            for device in self.members(namespace.list("dev_base_head", "net_device", "dev_list")?)? {
                for (member, hook) in [("nf_hooks_ingress", "ingress"), ("nf_hooks_egress", "egress")] {
                    if device.has(member) {
                        self.packet_hooks(device.pointer(member)?, &format!("{hook} of {}, namespace {number}", device.text("name")?))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// An array of hooks, behind which pointers to what was registered stand in the same order.
    fn packet_hooks(&mut self, entries: VirtAddr, place: &str) -> Result<(), ReadError> {
        if entries.is_null() {
            return Ok(());
        }
        let context = self.context;
        let entries = context.object("nf_hook_entries", entries)?;
        let count = entries.uint("num_hook_entries")?;
        let size = u64::from(context.profile.layout("nf_hook_entry")?.size);
        let hooks = entries.at("hooks")?;
        if count > MOST_NET_HOOKS {
            return Err(ReadError::Implausible("nf_hook_entries"));
        }
        for index in 0..count {
            self.step()?;
            let hook = context.object("nf_hook_entry", hooks.offset(index * size))?;
            let function = hook.pointer("hook")?;
            let registered = context.space.pointer(hooks.offset(count * size + index * 8))?;
            let told = context.object("nf_hook_ops", registered)?;
            let priority = told.int("priority").ok().filter(|_| told.pointer("hook") == Ok(function));
            let priority = priority.map(|priority| format!(", priority {priority}")).unwrap_or_default();
            self.add("netfilter", "net_namespace_list", hook.address, function, Known::Value(format!("{place}{priority}")));
        }
        Ok(())
    }

    /// Those who are given packets by their Ethernet type, or all of them.
    fn packet_handlers(&mut self) -> Result<(), ReadError> {
        let context = self.context;
        let mut heads: Vec<(&str, VirtAddr)> = Vec::new();
        if let Ok(all) = context.symbol("ptype_all") {
            heads.push(("ptype_all", all));
        }
        // PTYPE_HASH_SIZE is 16 everywhere, but the symbol tells as well.
        heads.extend(self.words(context.symbol("ptype_base")?, 16).map(|head| ("ptype_base", head)));
        for namespace in self.namespaces()? {
            for member in ["ptype_all", "ptype_specific"] {
                heads.extend(namespace.at(member).map(|head| ("net_namespace_list", head)));
            }
            for device in self.members(namespace.list("dev_base_head", "net_device", "dev_list")?)? {
                for member in ["ptype_all", "ptype_specific"] {
                    heads.extend(device.at(member).map(|head| ("net_namespace_list", head)));
                }
            }
        }
        for (list, head) in heads {
            for handler in self.members(context.list(head, "packet_type", "list"))? {
                // Sockets that sniff are handlers too, and the table of sockets has them.
                let kind = (handler.uint("type")? as u16).swap_bytes();
                let device = handler.follow("dev")?.map(|device| device.text("name")).transpose()?;
                let device = device.map(|name| format!(" on {name}")).unwrap_or_default();
                self.add("packet", list, handler.address, handler.pointer("func")?, Known::Value(format!("type {kind:#06x}{device}")));
            }
        }
        Ok(())
    }

    fn notifiers(&mut self) -> Result<(), ReadError> {
        let context = self.context;
        for (chain, head) in NOTIFIERS {
            // Which chains there are depends on the kernel's age and configuration.
            let Ok(at) = context.symbol(chain) else { continue };
            let first = context.object(head, at)?.pointer("head")?;
            let next = |at| context.object("notifier_block", at)?.pointer("next");
            for at in self.chain(chain, first, VirtAddr(0), next) {
                let block = context.object("notifier_block", at)?;
                let priority = block.int("priority").map(|priority| format!("priority {priority}"));
                self.add("notifier", chain, at, block.pointer("notifier_call")?, priority);
            }
        }
        Ok(())
    }

    fn operations(&mut self) -> Result<(), ReadError> {
        for (table, structure) in OPERATIONS {
            let Ok(table_at) = self.context.symbol(table) else { continue };
            let operations = self.context.object(structure, table_at)?;
            for member in MEMBERS.into_iter().filter(|member| operations.has(member)) {
                let function = operations.pointer(member)?;
                if !function.is_null() {
                    self.add("operations", table, operations.at(member)?, function, Known::Value(member.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// What stands between a terminal and its readers: a keylogger's place. Those in use, and those registered.
    fn line_disciplines(&mut self) -> Result<(), ReadError> {
        let context = self.context;
        for place in self.words(context.symbol("tty_ldiscs")?, 8) {
            let at = context.space.pointer(place)?;
            // Behind the table lies something else.
            if at.is_kernel() {
                self.line_discipline("tty_ldiscs", place, &context.object("tty_ldisc_ops", at)?, "registered")?;
            }
        }
        let drivers = self.members(context.list(context.symbol("tty_drivers")?, "tty_driver", "tty_drivers"))?;
        let mut seen = HashSet::new();
        for driver in &drivers {
            let ttys = driver.pointer("ttys")?;
            // A driver of pseudo terminals keeps none itself.
            for index in (0..driver.uint("num")?.min(MOST_TTYS)).take_while(|_| !ttys.is_null()) {
                self.step()?;
                let at = context.space.pointer(ttys.offset(index * 8))?;
                if at.is_null() {
                    continue;
                }
                let tty = context.object("tty_struct", at)?;
                if tty.pointer("driver")? == driver.address && seen.insert(at) {
                    self.terminal(&tty)?;
                }
            }
        }
        // Pseudo terminals, by the processes that they control, each with its other end.
        for task in self.linux.tasks(Scope::Machine, &std::sync::Arc::clone(self.out.watch())) {
            self.step()?;
            let Ok(Some(tty)) = task.object.follow_some("signal").and_then(|signal| signal.follow("tty")) else { continue };
            for tty in [Some(tty.clone()), tty.follow("link").unwrap_or_default()].into_iter().flatten() {
                let driver = tty.pointer("driver").unwrap_or_default();
                if drivers.iter().any(|known| known.address == driver) && seen.insert(tty.address) {
                    self.terminal(&tty)?;
                }
            }
        }
        Ok(())
    }

    fn terminal(&mut self, tty: &Object<'_>) -> Result<(), ReadError> {
        let Some(discipline) = tty.follow("ldisc")? else { return Ok(()) };
        self.line_discipline("tty_drivers", tty.address, &discipline.follow_some("ops")?, &tty.text("name")?)
    }

    /// What is called when someone reads below /proc: each entry has its own operations, or a function that shows it.
    fn entries(&mut self) -> Result<(), ReadError> {
        let context = self.context;
        let mut waiting = vec![(context.global(PROC_ENTRIES, "proc_dir_entry")?, "/proc".to_owned(), String::new(), MOST_LEVELS)];
        for namespace in self.namespaces()? {
            let number = namespace.inner("ns").and_then(|common| common.uint("inum"))?;
            let net = namespace.follow("proc_net")?;
            waiting.extend(net.map(|net| (net, "/proc/net".to_owned(), format!(", namespace {number}"), MOST_LEVELS)));
        }
        let mut seen: HashSet<_> = waiting.iter().map(|(entry, ..)| entry.address).collect();
        let mut left = MOST_ENTRIES;
        // Of those the table of operations tells already.
        let mut tables: HashSet<_> = OPERATIONS.into_iter().filter_map(|(table, _)| context.symbol(table).ok()).collect();
        while let Some((entry, path, place, levels)) = waiting.pop() {
            self.step()?;
            if let Err(why) = self.entry(&entry, &format!("{path}{place}"), &mut tables) {
                self.out.note(format!("{path}: {why}"));
            }
            if levels == 0 {
                continue;
            }
            let (nodes, broken) = rbtree::nodes(context, entry.inner("subdir")?.pointer("rb_node")?, left);
            left -= nodes.len().min(left);
            let mut trouble = broken;
            for node in nodes {
                let below = context.container("proc_dir_entry", "subdir_node", node)?;
                // Two that lead to the same do not both have it.
                if !seen.insert(below.address) {
                    trouble = Some(ReadError::Implausible("tree"));
                    continue;
                }
                match below.pointer("name").and_then(|name| context.space.text(name, 256)) {
                    Ok(name) => waiting.push((below, format!("{path}/{name}"), place.clone(), levels - 1)),
                    Err(why) => trouble = Some(why),
                }
            }
            if let Some(why) = trouble {
                self.out.note(format!("what is below {path} could be read only in part: {why}"));
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Object<'a>, path: &str, tables: &mut HashSet<VirtAddr>) -> Result<(), ReadError> {
        // Before 5.6 all entries had the operations of files.
        let own = if entry.has("proc_ops") { "proc_ops" } else { "proc_fops" };
        let folder = entry.uint("mode")? & S_IFMT == S_IFDIR;
        let (structure, members) = match own {
            "proc_ops" if !folder => ("proc_ops", &ENTRY_MEMBERS[..]),
            _ => (FILE, &MEMBERS[..]),
        };
        let mut own = vec![(entry.pointer(own)?, structure, members), (entry.pointer("proc_iops")?, INODE, &MEMBERS[..])];
        if !folder {
            // One word for either: a function, or a table of them.
            let shown = entry.pointer("seq_ops")?;
            if shown.is_null() || tables.contains(&shown) || self.kernel(shown) {
                // As nearly all are: nothing to tell.
            } else if self.is_code(shown) {
                self.add_foreign("operations", PROC_ENTRIES, entry.address, shown, format!("show of {path}"));
            } else {
                own.push((shown, SEQUENCE, &MEMBERS[..]));
            }
            self.add_foreign("operations", PROC_ENTRIES, entry.address, entry.pointer("write")?, format!("write of {path}"));
        }
        for (table, structure, members) in own {
            // Entries share tables.
            if !table.is_kernel() || !tables.insert(table) {
                continue;
            }
            let operations = self.context.object(structure, table)?;
            for member in members.iter().copied().filter(|member| operations.has(member)) {
                let word = member.trim_start_matches("proc_");
                let (at, function) = (operations.at(member)?, operations.pointer(member)?);
                self.add_foreign("operations", PROC_ENTRIES, at, function, format!("{word} of {path}"));
            }
        }
        Ok(())
    }

    /// What the kernel's threads run, where that is not the kernel's own.
    fn threads(&mut self) -> Result<(), ReadError> {
        for task in self.linux.tasks(Scope::Machine, &std::sync::Arc::clone(self.out.watch())) {
            self.step()?;
            if let Ok(Some(thread)) = self.linux.kthread(&task.object) {
                let function = thread.pointer("threadfn")?;
                self.add_foreign("thread", "init_task", task.object.address, function, format!("{} {}", task.name, task.pid));
            }
        }
        Ok(())
    }

    /// What is called when a counter of the processor or of the kernel overflows, or an address is touched (hardware breakpoints).
    fn events(&mut self) -> Result<(), ReadError> {
        const LIST: &str = "perf_cpu_context";
        let context = self.context;
        let offsets = context.symbol("__per_cpu_offset")?;
        let processors = context.space.uint(context.symbol("nr_cpu_ids")?, 4)?.min(MOST_PROCESSORS);
        // One for each processor since 6.2; before, each unit has its own.
        let mut bases = Vec::new();
        if context.profile.layout("perf_cpu_context")?.field("ctx").is_ok()
            && let Ok(one) = context.symbol(LIST)
        {
            bases.push(one);
        } else {
            let units = xarray::indexed(&context.global("pmu_idr", "idr")?.inner("idr_rt")?, MOST_UNITS)?;
            for (_, unit) in units {
                let unit = context.object("pmu", unit)?;
                bases.extend(unit.pointer("pmu_cpu_context").ok().filter(|base| !base.is_null()));
            }
        }
        bases.sort_unstable();
        bases.dedup();
        for processor in 0..processors {
            let offset = context.space.uint(offsets.offset(processor * 8), 8)?;
            for base in &bases {
                let events = context.object("perf_cpu_context", VirtAddr(base.0.wrapping_add(offset)))?.inner("ctx")?;
                self.events_of(&events, LIST, || format!("processor {processor}"))?;
            }
        }
        for task in self.linux.tasks(Scope::Machine, &std::sync::Arc::clone(self.out.watch())) {
            let count = task.object.array("perf_event_ctxp").map_or(1, |(count, _)| count.clamp(1, 2));
            for index in 0..u64::from(count) {
                let events = context.space.pointer(task.object.at("perf_event_ctxp")?.offset(index * 8))?;
                if events.is_kernel() {
                    self.events_of(&context.object("perf_event_context", events)?, LIST, || format!("{} {}", task.name, task.pid))?;
                }
            }
        }
        Ok(())
    }

    fn events_of(&mut self, events: &Object<'a>, list: &'static str, of: impl Fn() -> String) -> Result<(), ReadError> {
        self.step()?;
        // That of a processor which is not there was never set up.
        if events.inner("event_list")?.pointer("next")?.is_null() {
            return Ok(());
        }
        for event in self.members(events.list("event_list", "perf_event", "event_entry")?)? {
            // The clocks had no name before 6.2.
            let name = event.follow_some("pmu")?.pointer("name")?;
            let unit = (!name.is_null()).then(|| self.context.space.text(name, 64)).transpose()?;
            let detail = format!("{} of {}", unit.as_deref().unwrap_or("an event"), of());
            self.add_foreign("perf_event", list, event.address, event.pointer("overflow_handler")?, detail);
        }
        Ok(())
    }

    /// Functions of the kernel that jump out of it as soon as they are called.
    fn code(&mut self) -> Result<(), ReadError> {
        let Ok(code) = &self.code else { return Ok(()) };
        let (jumps, unread) = patches::jumps(self.linux, &code.kernel, self.out.watch());
        if unread > 0 {
            self.out.note(format!("{unread} bytes of the kernel's code could not be read; hooks in them are not seen"));
        }
        for jump in jumps {
            self.step()?;
            if self.optimised.get(&jump.at) == Some(&jump.to) || self.is_dispatcher(&jump) || self.is_thunk(jump.to) {
                continue;
            }
            let called = self.is_static_call(&jump).unwrap_or(false);
            // Hyper-V gives its guests a page of its own to call, which is no module's.
            let page = || self.context.space.pointer(self.context.symbol("hv_hypercall_pg")?);
            if called && page() == Ok(jump.to) {
                continue;
            }
            let bytes: Vec<_> = jump.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let place = self.linux.name_at(jump.at).unwrap_or_else(|| jump.function.to_owned());
            let kind = if called { "static_call" } else { "inline" };
            self.add_foreign(kind, "_text", jump.at, jump.to, format!("{place}: {}", bytes.join(" ")));
        }
        Ok(())
    }

    /// Whether a function begins with a static call, whose place the kernel rewrites to call what its key says: a trampoline, or a
    /// function that does nothing else. Modules lend their functions so (KVM to performance events, listeners to tracepoints).
    fn is_static_call(&self, jump: &Jump<'_>) -> Result<bool, ReadError> {
        let context = self.context;
        let calls = |key: VirtAddr| Ok(context.object("static_call_key", key)?.pointer("func")? == jump.to);
        if let Some(name) = jump.function.strip_prefix(TRAMPOLINE) {
            return context.profile.symbols().get(&format!("{KEY}{name}")).map_or(Ok(false), calls);
        }
        let (start, end) = (context.symbol("__start_static_call_sites")?, context.symbol("__stop_static_call_sites")?);
        // Distances from the place where they stand; the lowest bits of a key are flags (include/linux/static_call_types.h).
        let at = |place: VirtAddr| Ok(place.offset(i64::from(context.space.uint(place, 4)? as i32).cast_unsigned()));
        for site in (start.0..end.0).step_by(8).take(MOST_STEPS as usize).map(VirtAddr) {
            if at(site)? == jump.at {
                return calls(VirtAddr(at(site.offset(4))?.0 & !3));
            }
        }
        Ok(false)
    }

    /// Whether a jump leads into what BPF made for it to lead to.
    fn is_dispatcher(&self, jump: &Jump<'_>) -> bool {
        let name = jump.function.strip_prefix(TRAMPOLINE).unwrap_or(jump.function);
        let Some(name) = DISPATCHER_ENDS.iter().find_map(|end| name.strip_suffix(end)).filter(|name| name.starts_with(DISPATCHER)) else {
            return false;
        };
        let at = self.context.profile.symbols().get(name);
        let image = at.and_then(|at| self.context.object("bpf_dispatcher", at).ok()?.pointer("image").ok());
        image.is_some_and(|image| !image.is_null() && (image..image.offset(PAGE_SIZE)).contains(&jump.to))
    }

    /// A jump to where a register says, which the kernel keeps out of line for the sake of some processors (Indirect Target Selection).
    fn is_thunk(&self, at: VirtAddr) -> bool {
        self.context.space.bytes::<3>(at).is_ok_and(|code| matches!(code, [0xff, 0xe0..=0xe7, _] | [0x41, 0xff, 0xe0..=0xe7]))
    }

    fn line_discipline(&mut self, list: &'static str, at: VirtAddr, operations: &Object<'_>, of: &str) -> Result<(), ReadError> {
        let name = self.context.space.text(operations.pointer("name")?, 32)?;
        for member in ["receive_buf", "receive_buf2"] {
            let function = operations.pointer(member)?;
            if !function.is_null() {
                self.add("line_discipline", list, at, function, Known::Value(format!("{member} of {name}, {of}")));
            }
        }
        Ok(())
    }
}
