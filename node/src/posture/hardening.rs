//! Hardening in force, of this process and of the kernel it runs on, each a word.

use super::files::Files;

/// Whether a word is true of a host.
type Claim = (&'static str, fn(&Files) -> bool);

/// Every word, sorted.
const CLAIMS: &[Claim] = &[
    // A mandatory access control is there.
    ("apparmor", |f| {
        says(f, "sys/module/apparmor/parameters/enabled", "Y")
    }),
    // Address space layout is randomised in full.
    ("aslr", |f| {
        at_least(f, "proc/sys/kernel/randomize_va_space", 2)
    }),
    ("dmesg_restricted", |f| {
        at_least(f, "proc/sys/kernel/dmesg_restrict", 1)
    }),
    ("kptr_restricted", |f| {
        at_least(f, "proc/sys/kernel/kptr_restrict", 1)
    }),
    // The kernel keeps even root from changing it.
    ("lockdown", |f| {
        let mode = f.text("sys/kernel/security/lockdown").unwrap_or_default();
        mode.contains("[integrity]") || mode.contains("[confidentiality]")
    }),
    ("no_capabilities", |f| {
        let capabilities = own(f, "CapEff:");
        capabilities.is_some_and(|c| !c.is_empty() && c.bytes().all(|b| b == b'0'))
    }),
    ("no_new_privs", |f| {
        own(f, "NoNewPrivs:").is_some_and(|n| n == "1")
    }),
    // Neither by real, effective nor saved user.
    ("non_root", |f| {
        let users = own(f, "Uid:").unwrap_or_default();
        let mut users = users.split_whitespace().peekable();
        users.peek().is_some() && users.all(|user| user != "0")
    }),
    // Only descendants may be traced, or less.
    ("ptrace_restricted", |f| {
        at_least(f, "proc/sys/kernel/yama/ptrace_scope", 1)
    }),
    // System calls are filtered.
    ("seccomp", |f| own(f, "Seccomp:").is_some_and(|n| n == "2")),
    ("selinux", |f| says(f, "sys/fs/selinux/enforce", "1")),
    ("unprivileged_bpf_disabled", |f| {
        at_least(f, "proc/sys/kernel/unprivileged_bpf_disabled", 1)
    }),
];

/// The words that hold.
pub(super) fn in_force(files: &Files) -> Vec<String> {
    let held = CLAIMS.iter().filter(|(_, holds)| holds(files));
    held.map(|(word, _)| (*word).to_owned()).collect()
}

fn says(files: &Files, path: &str, what: &str) -> bool {
    files.text(path).is_some_and(|text| text.trim() == what)
}

fn at_least(files: &Files, path: &str, least: u64) -> bool {
    files.number(path).is_some_and(|number| number >= least)
}

/// A line of this process's status (proc_pid_status(5)).
fn own(files: &Files, key: &str) -> Option<String> {
    let status = files.text("proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
pub(super) fn words() -> Vec<&'static str> {
    CLAIMS.iter().map(|(word, _)| *word).collect()
}
