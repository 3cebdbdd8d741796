//! Whether the state directory lies on an encrypted disk.
//!
//! What is recognised is dm-crypt (LUKS, plain), also under LVM or RAID when every part of it is
//! encrypted. A file system that encrypts by itself is not seen, and not claimed.

use std::path::Path;

use super::files::Files;

/// Mappings over mappings that are followed.
const MAX_LAYERS: usize = 8;

/// Devices looked at in all.
const MAX_DEVICES: usize = 256;

/// Whether the file system that holds `path` lies on encrypted devices alone.
pub(super) fn is_encrypted(files: &Files, path: &Path) -> bool {
    let mounts = files.text("proc/self/mountinfo").unwrap_or_default();
    let mut looked_at = 0;
    device_of(&mounts, path)
        .is_some_and(|device| is_device_encrypted(files, device, 0, &mut looked_at))
}

/// The device (`253:0`) of the mount that holds `path`: the longest that leads to it, and of several
/// on one point the last, which covers the others.
fn device_of<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let holding = mounts.lines().filter_map(|line| {
        // proc_pid_mountinfo(5): id, parent, device, root, mount point, …
        let mut fields = line.split(' ').skip(2);
        let (device, point) = (fields.next()?, fields.nth(1)?);
        let point = unescaped(point);
        let depth = Path::new(&point).components().count();
        path.starts_with(&point).then_some((depth, device))
    });
    // Of equals `max_by_key` gives the last.
    let (_, device) = holding.max_by_key(|(depth, _)| *depth)?;
    is_device(device).then_some(device)
}

/// Digits, a colon, digits: it becomes part of a path.
fn is_device(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once(':')
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

fn is_device_encrypted(files: &Files, device: &str, layer: usize, looked_at: &mut usize) -> bool {
    *looked_at += 1;
    if layer > MAX_LAYERS || *looked_at > MAX_DEVICES || !is_device(device) {
        return false;
    }
    let of = |what: &str| format!("sys/dev/block/{device}/{what}");
    let mapping = files.text(&of("dm/uuid")).unwrap_or_default();
    if mapping.starts_with("CRYPT-") {
        return true;
    }
    let parts = files.names(&of("slaves")).unwrap_or_default();
    !parts.is_empty()
        && parts.iter().all(|part| {
            let beneath = files.text(&of(&format!("slaves/{part}/dev")));
            beneath.is_some_and(|device| {
                is_device_encrypted(files, device.trim(), layer + 1, looked_at)
            })
        })
}

/// Mount points have blanks and backslashes as three octal digits.
fn unescaped(point: &str) -> String {
    let replaced = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")];
    let text = replaced
        .iter()
        .fold(point.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("\\134", "\\")
}
