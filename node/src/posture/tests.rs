//! A host made of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::Posture;
use tempfile::TempDir;

use super::{
    ANNOUNCE_EVERY, PostureKeeper, PostureNews, Probe, SECURE_BOOT, SETUP_MODE, files, hardening,
};
use crate::clock::Clock;

const NOW: UnixSeconds = UnixSeconds(1_795_348_800);

struct Host(TempDir);

impl Host {
    fn empty() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// One that has everything in order.
    fn fit() -> Self {
        let host = Self::empty();
        host.has("etc/os-release", "NAME=\"Debian\"\nID=debian\nID_LIKE=x\n");
        host.has("proc/sys/kernel/osrelease", "6.1.38-18-amd64\n");
        host.has("proc/uptime", "3600.25 7200.00\n");
        host.has("proc/self/exe", "the binary");
        host.has(
            "proc/self/status",
            "Name:\thedgerow\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n\
             NoNewPrivs:\t1\nSeccomp:\t2\n",
        );
        host.writes(SECURE_BOOT, &[6, 0, 0, 0, 1]);
        host.writes(SETUP_MODE, &[6, 0, 0, 0, 0]);
        for (path, value) in [
            ("proc/sys/kernel/randomize_va_space", "2"),
            ("proc/sys/kernel/dmesg_restrict", "1"),
            ("proc/sys/kernel/kptr_restrict", "2"),
            ("proc/sys/kernel/yama/ptrace_scope", "1"),
            ("proc/sys/kernel/unprivileged_bpf_disabled", "2"),
            ("sys/module/apparmor/parameters/enabled", "Y"),
            ("sys/fs/selinux/enforce", "1"),
            (
                "sys/kernel/security/lockdown",
                "none [integrity] confidentiality",
            ),
        ] {
            host.has(path, &format!("{value}\n"));
        }
        host.mounts("253:1", "/");
        host.mapping("253:1", "LVM-abc", &["253:0"]);
        host.mapping("253:0", "CRYPT-LUKS2-abc", &["8:3"]);
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn writes(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn has(&self, path: &str, text: &str) {
        self.writes(path, text.as_bytes());
    }

    /// One more mount.
    fn mounts(&self, device: &str, point: &str) {
        let before = fs::read_to_string(self.path("proc/self/mountinfo")).unwrap_or_default();
        let line = format!("36 35 {device} / {point} rw shared:1 - ext4 /dev/x rw\n");
        self.has("proc/self/mountinfo", &(before + &line));
    }

    /// A device that others are mapped to.
    fn mapping(&self, device: &str, uuid: &str, beneath: &[&str]) {
        self.has(&format!("sys/dev/block/{device}/dm/uuid"), uuid);
        for (n, other) in beneath.iter().enumerate() {
            let path = format!("sys/dev/block/{device}/slaves/part{n}/dev");
            self.has(&path, &format!("{other}\n"));
        }
    }

    fn probe(&self) -> Probe {
        Probe::under(self.0.path(), Path::new("/var/lib/hedgerow"))
    }

    fn measured(&self) -> Posture {
        let probe = self.probe();
        let posture = probe.measure(NOW, probe.binary());
        // Whatever a host says, its record is one that others take.
        assert_eq!(Posture::decode(&posture.encode()).unwrap(), posture);
        posture
    }
}

#[test]
fn a_host_is_measured_as_its_files_say() {
    let posture = Host::fit().measured();
    assert_eq!(posture.measured, NOW);
    assert_eq!(posture.os, "debian");
    assert_eq!(posture.kernel, [6, 1, 38]);
    assert_eq!(posture.uptime_s, 3600);
    assert!(posture.secure_boot && posture.disk_encryption);
    // printf 'the binary' | sha256sum
    let binary = protocol::crypto::Crypto::sha256(&hedgerow_crypto::Primitives, &[b"the binary"]);
    assert_eq!(posture.binary.unwrap().as_bytes(), &binary);
    assert_eq!(posture.hardening, hardening::words());
    assert!(hardening::words().is_sorted());
}

#[test]
fn what_is_not_known_is_not_claimed() {
    let posture = Host::empty().measured();
    assert_eq!(posture.os, "");
    assert_eq!(posture.kernel, [0; 3]);
    assert_eq!(posture.uptime_s, 0);
    assert!(!posture.secure_boot && !posture.disk_encryption);
    assert_eq!(posture.binary, None);
    assert_eq!(posture.hardening, Vec::<String>::new());
}

#[test]
fn nonsense_and_floods_are_not_claimed() {
    let host = Host::fit();
    host.has("etc/os-release", "ID=\"Not A Word\u{1b}[2J\"\n");
    host.has("proc/sys/kernel/osrelease", "six.one\n");
    host.has("proc/uptime", "-1\n");
    host.writes(SECURE_BOOT, &[1; 6]);
    host.writes("proc/self/status", &vec![b'x'; files::MAX_FILE_BYTES + 1]);
    host.writes("proc/sys/kernel/kptr_restrict", &[0xff, 0xfe]);
    let posture = host.measured();
    assert_eq!((posture.os.as_str(), posture.kernel), ("", [0; 3]));
    assert_eq!(posture.uptime_s, 0);
    assert!(!posture.secure_boot);
    for word in ["non_root", "seccomp", "no_capabilities", "kptr_restricted"] {
        assert!(!posture.hardening.iter().any(|w| w == word), "{word}");
    }
}

#[test]
fn each_weakness_takes_its_own_claim_away() {
    type Weaken = fn(&Host);
    let cases: &[(&str, Weaken)] = &[
        ("non_root", |h| {
            h.has("proc/self/status", "Uid:\t1000\t0\t0\t0\n");
        }),
        ("no_capabilities", |h| {
            h.has("proc/self/status", "CapEff:\t0000000000000400\n");
        }),
        ("seccomp", |h| h.has("proc/self/status", "Seccomp:\t0\n")),
        ("no_new_privs", |h| {
            h.has("proc/self/status", "NoNewPrivs:\t0\n");
        }),
        ("aslr", |h| h.has("proc/sys/kernel/randomize_va_space", "1")),
        ("lockdown", |h| {
            h.has(
                "sys/kernel/security/lockdown",
                "[none] integrity confidentiality",
            );
        }),
        ("selinux", |h| h.has("sys/fs/selinux/enforce", "0")),
    ];
    for (word, weaken) in cases {
        let host = Host::fit();
        weaken(&host);
        let hardening = host.measured().hardening;
        assert!(
            !hardening.iter().any(|w| w == word),
            "{word}: {hardening:?}"
        );
    }
    let host = Host::fit();
    host.writes(SETUP_MODE, &[6, 0, 0, 0, 1]);
    assert!(!host.measured().secure_boot, "any key would do");
    host.writes(SECURE_BOOT, &[6, 0, 0, 0, 0]);
    assert!(!host.measured().secure_boot);
}

#[test]
fn a_disk_is_encrypted_if_all_of_it_is() {
    // On a partition without mapping.
    let host = Host::empty();
    host.mounts("8:1", "/");
    assert!(!host.measured().disk_encryption);
    // The mount that holds the state decides, of two on one point the last.
    host.mounts("253:0", "/var/lib");
    host.mapping("253:0", "CRYPT-PLAIN-x", &[]);
    assert!(host.measured().disk_encryption);
    host.mounts("8:1", "/var/library");
    assert!(host.measured().disk_encryption);
    host.mounts("8:1", "/var/lib");
    assert!(!host.measured().disk_encryption);
    // Half of it.
    let host = Host::fit();
    host.mapping("253:1", "LVM-abc", &["253:0", "8:2"]);
    assert!(!host.measured().disk_encryption);
    // Mappings in a circle end.
    let host = Host::fit();
    host.mapping("253:1", "LVM-abc", &["253:1"]);
    assert!(!host.measured().disk_encryption);
    // No device that could become a path elsewhere.
    let host = Host::empty();
    host.mounts("../..", "/");
    assert!(!host.measured().disk_encryption);
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> UnixMillis {
        UnixMillis(NOW.0 * 1000)
    }
}

#[tokio::test]
async fn a_change_of_what_is_claimed_is_told_and_age_is_not() {
    let host = Host::fit();
    let keeper = PostureKeeper::start(host.probe(), Arc::new(Fixed)).await;
    let mut news = keeper.news();
    keeper.measure().await;
    assert!(!told(&mut news).await);
    host.has("sys/fs/selinux/enforce", "0");
    keeper.measure().await;
    assert!(told(&mut news).await);
    assert!(!keeper.current().hardening.iter().any(|w| w == "selinux"));
    keeper.measure().await;
    assert!(!told(&mut news).await);
}

/// Whether something is to be told now; the future is polled once.
async fn told(news: &mut PostureNews) -> bool {
    tokio::time::timeout(Duration::ZERO, news.next())
        .await
        .is_ok()
}

/// Each lasting part of the posture is one that others hear of early.
#[tokio::test]
async fn every_lasting_part_is_told_of_early() {
    type Change = fn(&Host);
    let changes: &[(&str, Change)] = &[
        ("secure boot", |h| h.writes(SECURE_BOOT, &[6, 0, 0, 0, 0])),
        ("disk", |h| h.mounts("8:9", "/var/lib/hedgerow")),
        ("kernel", |h| h.has("proc/sys/kernel/osrelease", "6.2.0")),
        ("system", |h| h.has("etc/os-release", "ID=other\n")),
        ("hardening", |h| h.has("sys/fs/selinux/enforce", "0")),
    ];
    for (what, change) in changes {
        let host = Host::fit();
        let keeper = PostureKeeper::start(host.probe(), Arc::new(Fixed)).await;
        let mut news = keeper.news();
        change(&host);
        keeper.measure().await;
        assert!(told(&mut news).await, "{what}");
    }
}

/// A host that goes back and forth is told of once a minute, and then as it is.
#[tokio::test]
async fn a_posture_that_flutters_is_told_of_once_in_a_while() {
    let host = Host::fit();
    let keeper = PostureKeeper::start(host.probe(), Arc::new(Fixed)).await;
    let mut news = keeper.news();
    let began = Instant::now();
    let mut times = 0;
    for n in 0..10 {
        let enforcing = if n % 2 == 0 { "0" } else { "1" };
        host.has("sys/fs/selinux/enforce", enforcing);
        keeper.measure().await;
        times += usize::from(told(&mut news).await);
    }
    assert!(times == 1 || began.elapsed() >= ANNOUNCE_EVERY, "{times}");
    // What waits is told with whatever is told before its turn.
    news.taken();
    assert!(!told(&mut news).await);
}

#[tokio::test]
async fn this_host_can_be_measured() {
    let state = TempDir::new().unwrap();
    let keeper = PostureKeeper::start(Probe::of_host(state.path()), Arc::new(Fixed)).await;
    let posture = keeper.current();
    assert!(posture.binary.is_some() && posture.kernel != [0; 3]);
    assert!(Posture::decode(&posture.encode()).is_ok());
}
