//! The rules: each has a name, a weight, a meaning, a next step and, where one fits, a technique of MITRE ATT&CK. `kioku tables` prints
//! them all.

#![allow(non_upper_case_globals, reason = "a rule is called here what its readers call it")]

use crate::facts::Rule;

macro_rules! rules {
    ($( $rule:ident $points:literal $([$technique:literal])? $meaning:literal, $next:literal; )*) => {
        $( pub static $rule: Rule = Rule {
            id: stringify!($rule),
            points: $points,
            meaning: $meaning,
            next: $next,
            techniques: &[$($technique)?],
        }; )*
        pub static ALL: &[&Rule] = &[$(&$rule),*];
    };
}

rules! {
    private_executable 40 ["T1055"] "executable memory that no file backs", "disassemble its first bytes; see which threads start in it";
    made_executable 10 ["T1055"] "memory that was not executable when it was allocated", "compare the rights of its pages with its neighbours'";
    no_content -25 "no page of it holds anything", "nothing; it may have been reserved for code that never came";
    engine -15 "code made at run time is what a just-in-time compiler in this process does, and nothing else speaks against it",
        "compare it with the same program's other processes";
    perf_map -10 "the process lists functions in it for profilers, as just-in-time compilers do, and nothing else speaks against it",
        "look at what wrote the list; whoever runs code there can write it as well";
    peers -15 "every other process of the same program has the same code, and nothing else speaks against it", "look at one of them for all";
    reached 10 ["T1055"] "another process, no part of the system, holds a handle by which it may write here", "look at what that process ran";
    elf_header 45 ["T1620"] "an ELF header in memory that no file backs", "dump the region and look at the program";
    pe_header 45 ["T1620"] "a PE header in memory that no file backs", "dump the region and look at the program";
    first_page_empty 15 ["T1620"] "zeros where a header would be, content behind them", "dump the region; the header may have been wiped";
    shellcode 40 ["T1055"] "code that was written to run at any address by itself", "disassemble it; look for addresses and names in its strings";
    writable_code 35 ["T1055"] "code of a file mapped writable and executable at once", "see who wrote to it";
    rewritten_code 35 ["T1574"] "code that differs from the file's", "follow the first changed instruction; a jump leads to the hook";
    installed_hook -15 "the jump leads into a library that is installed on the machine, as those of security software do",
        "see whose library it is, and whether all processes have the jump";
    silenced 35 ["T1562.001"] "a function that reports to defenders was rewritten to return at once", "see from when on events of this process are missing";
    header_rewritten 25 ["T1027"] "headers that differ from the file's", "compare them with the file: what was wiped, or is it another program";
    data_executable 30 ["T1055"] "a part that the file marks as data can be run", "disassemble it there";
    unlisted_image 30 ["T1055.001"] "an image whose code is in memory and that the loader's lists leave out", "dump it; see which file it is";
    mapped_executable 25 ["T1055"] "pages of a file that is mapped as data can be run", "dump the region and look at its code";
    private_code_pages 30 ["T1055"] "code pages of the process's own, though a file backs them", "compare them with the file";
    same_copies -15 "other processes have the same bytes in their own copies: what patches a library does so everywhere", "compare them with the file";
    shared_pages 20 ["T1027.002"] "sections so narrow that they share pages: all of the image, its headers too, can be written and run",
        "dump it; see who made the file";
    wrong_size 25 ["T1027"] "headers that claim another size than the one the kernel mapped", "dump the region whole, not by its headers";
    probed 5 "breakpoints in code that the kernel itself keeps (uprobes)", "see who set them: tools that trace do, and so may an intruder's";
    restored 5 "code pages of the process's own that are as the file has them", "nothing, as a rule: probes and breakpoints that were taken away leave them, and so do hooks";
    relocated 5 "code in which the loader fills in addresses, as the file has it do (text relocations)", "nothing; old libraries are like this, and hand-written code";
    debugger -20 "all that differs is breakpoints, and a debugger holds the process", "see who runs the debugger: whoever has it can change the process at will";
    thread_start 25 ["T1055"] "a thread began in it", "look at the thread's stack and at what the code calls";
    queued_call 30 ["T1055.004"] "a call queued to a thread (APC) leads into it", "see which process queued it; disassemble it where the call leads";
    import_hook 30 ["T1056.004"] "a library calls it in the place of a function it imports", "disassemble it where the import leads";
    stands_in_it 20 ["T1055"] "a thread was in it, and goes on there", "look at what the thread's stack says, and disassemble it where the thread stands";
    returns_to_it 20 ["T1055"] "a thread's stack leads back into it", "follow the stack: who called, and what does it wait for";
    direct_system_call 30 ["T1106"] "system calls made without the system's library, past whoever watches that", "see which calls by their numbers";
    even_bytes 4 ["T1027.013"] "bytes as evenly spread as those of what is encrypted or packed", "dump the region: it may unpack itself";
    detour 30 ["T1056.004"] "the rewritten code of a library jumps into it", "disassemble it where the jump leads";
    no_file 60 ["T1055.013"] "the image of a program that has no file", "dump the region: there is nothing on the disk";
    memfd_executable 50 ["T1620"] "code run from a file that never had a name", "dump the region; see who made the file";
    deleted_file 45 ["T1070.004"] "code run from a file that has been deleted", "dump the region: the file is gone from the disk";
    replaced_file -20 "another file has its name now, as after an update", "compare the two: an intruder can put back what he took";
    not_evaluable 0 "pages that the image does not hold", "give the page file, if there is one";

    hidden_process 80 ["T1014"] "alive, but missing from the list that the system itself shows", "see which methods found it; look for the driver that hid it";
    nameless 40 ["T1036"] "a process without a name", "look at its regions and its parent";
    lookalike 40 ["T1036.005"] "a name one letter away from a system program's", "look at its path and its parent";
    wrong_path 45 ["T1036.005"] "a system program's name, run from elsewhere", "dump the executable";
    wrong_parent 30 ["T1036"] "a system program started by another process than the one that starts it", "look at the parent";
    wrong_user 30 ["T1134"] "a system program under a user that does not run it", "look at its token";
    wrong_session 30 ["T1036"] "a system program in a session in which it never runs", "look at its parent and its token";
    runs_twice 30 ["T1036.005"] "a system program that runs once in a session, running a second time", "compare the two: path, parent, user, start";
    moved_program 45 ["T1055.012"] "the process runs another image than the one that the kernel mapped for it", "dump what lies at the base that it names itself";
    unmapped_program 45 ["T1055.012"] "the image that the kernel mapped for it is gone", "look at what lies there now";
    masked_path 30 ["T1036.005"] "it names itself after another program than the one that it runs", "dump the executable; a junction may lead from one to the other";
    written_program 30 ["T1055.013"] "its file was open for writing when the image was made of it", "compare the image with the file: it may have been changed since";
    replaced_program 45 ["T1055.013"] "its file has other headers by now than the image that was made of it", "dump both, the executable and the cached file";
    no_page_tables 30 ["T1014"] "page tables that do not lead to the kernel, though it runs", "look for who changed them: its memory is hidden from whoever reads it by them";
    missing_image 25 ["T1055.012"] "the loader knows an image where none is mapped", "look at what lies there now";
    other_image 25 ["T1036.005"] "the loader names an image after another file than the one that is mapped there", "dump it; see which file it is";
    no_loader 20 ["T1055"] "the loader's lists are empty, though images are mapped", "look at its process environment block";
    library_call 35 ["T1055.004"] "a call queued to a thread that does nothing but load a library", "read the path that it is handed";
    library_thread 35 ["T1055.001"] "a thread that was started to do nothing but load a library", "look at which library came last, and from where";
    foreign_thread 20 ["T1055.012"] "a thread that began in another program than the one that the process runs", "dump that program";
    impersonates_system 15 ["T1134.001"] "a thread acts as SYSTEM, in a process of a person", "look at what the process runs, and at its privileges";
    breakpoint 20 ["T1622"] "a breakpoint in the processor's debug registers: no byte of the code is changed, yet it is intercepted", "see what lies at its address, and whether a debugger is attached";
    stolen_token 45 ["T1134.001"] "runs as SYSTEM, started by a process that does not", "look at the privileges of both";
    debug_privilege 15 ["T1134"] "may open any process, though it is no part of the system", "look at its handles to other processes";
    forged_privilege 45 ["T1134"] "a privilege is enabled that the token does not hold: Windows never does that", "look for what wrote to the token: a driver or an exploit";
    document_child 40 ["T1204.002"] "a command interpreter started by a program for documents or mail", "find the document in the parent's command line";
    server_child 40 ["T1505.003"] "a command interpreter started by a web server", "look for a web shell in the server's files";
    script 30 ["T1059"] "a command line that hides or fetches what it runs", "decode it";
    no_arguments 20 ["T1218.011"] "a program that does nothing by itself, started without a word of what to do", "look at its regions: it may host other code";
    credentials 50 ["T1003.001"] "a command that takes passwords out of lsass.exe", "look for the file that it wrote";
    service_command 30 ["T1543.003"] "a service that runs a command interpreter, or a program from where anyone can write", "look at what it runs, and at who made it when";
    hidden_service 60 ["T1564"] "a service that runs, taken out of the list of services", "look at what it runs; see who made it when";
    detection 45 "Windows Defender logged that it found something", "look for the file and for what it did before it was found";
    remote_service 30 ["T1569.002"] "a service through which another machine runs commands", "look at its children and at logons";
    temporary_program 30 ["T1036"] "run from a folder that anyone can write to", "dump the executable";
    kernel_lookalike 60 ["T1036.004"] "named like a kernel thread, with memory of its own", "dump the executable";
    masked_name 30 ["T1036.005"] "calls itself by the name of a system program, and runs another file", "dump the executable";
    deleted_program 45 ["T1070.004"] "the program's file has been deleted", "dump the executable: it is gone from the disk";
    memfd_program 55 ["T1620"] "a program without a file", "dump the executable";
    preloaded 40 ["T1574.006"] "a library forced into the process by LD_PRELOAD", "dump the library";
    preloaded_everywhere 40 ["T1574.006"] "libraries forced into every program by /etc/ld.so.preload", "read the file; dump the libraries it names";
    traced 20 ["T1055.008"] "another process traces it, and may read and write its memory", "look at the tracer; at regions that are its own work";
    shared_credentials 60 ["T1068"] "uses the very credentials of another process, which the kernel gives to no two", "see which of the two was given them; look for what writes to the kernel";
    strong_capabilities 20 ["T1548"] "may do what root may, though it runs as somebody else", "see whether it is meant to";
    io_uring 5 "works through io_uring, past what watches system calls", "look at its open files and sockets";
    shell_on_socket 60 ["T1059"] "a command interpreter whose input and output is a network connection", "see where the connection leads";
    raw_packets 20 ["T1040"] "reads packets past the sockets of other programs", "see whether it is meant to";
    talks 15 ["T1071"] "has connections to other machines", "look at its sockets";
    unusual_talk 25 ["T1071"] "has connections to other machines, which such a program has no use for", "look at its sockets";

    reads_passwords 45 ["T1003.001"] "may read the memory of lsass.exe, and is no part of the system", "look at what the process ran";
    writes_to_process 20 ["T1055"] "may write into another process or start threads in it", "look at the other process's regions";
    hidden_module 75 ["T1014"] "at work in the kernel, but missing from the list of modules", "dump it; look for what it hooks";
    hooks 0 "the kernel calls it, though it does not list it", "disassemble where it leads";
    driver_folder 20 ["T1543.003"] "loaded into the kernel from a folder where no drivers are kept", "dump it; it may be the tool that wrote the image";
    clock_set 10 ["T1070.006"] "processes that began before the system: the clock was set back", "do not trust the order of times across that moment";
    hook 60 ["T1014"] "the kernel calls code that lies in no module it lists", "disassemble the target; dump the module it lies in";
    diverted 45 ["T1014"] "a table or function of the kernel's own leads into a module", "see whose module it is; disassemble the target";
    overriding_program 30 ["T1014"] "an eBPF program that may change what functions of the kernel return", "see who loaded it, and when";
    unsigned_module 20 ["T1547.006"] "the kernel says that it does not know who made a module", "dump the module";
    commands 25 ["T1059.004"] "commands of a kind that intruders type", "read the whole history in order";
}
