//! The table of mounts: parses `/proc/self/mountinfo` and finds mounts that are new or gone (pure).
//!
//! In: the table's text, see proc_pid_mountinfo(5). Out: [`Mount`]s; the difference between two
//! tables.
//! Always holds: any bytes give mounts or nothing; a mount is its mount point and a digest of its
//! line.

use std::hash::{DefaultHasher, Hasher};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mount {
    /// The mount point, relative to this process's root.
    pub(crate) point: Box<[u8]>,
    /// A digest of everything that distinguishes this mount from another one at the same place: its
    /// number, parent, device and root.
    digest: u64,
}

/// The mounts in a table. Malformed lines are skipped.
pub(crate) fn parse(table: &[u8]) -> impl Iterator<Item = Mount> + '_ {
    table.split(|&byte| byte == b'\n').filter_map(|line| {
        // "36 35 98:0 /mnt1 /mnt2 rw,noatime ...": number, parent, device, root, mount point.
        let end = memchr::memchr_iter(b' ', line).nth(4)?;
        let start = memchr::memrchr(b' ', &line[..end])? + 1;
        let point = unescape(&line[start..end]);
        let mut hasher = DefaultHasher::new();
        hasher.write(&line[..end]);
        point.starts_with(b"/").then(|| Mount { point: point.into(), digest: hasher.finish() })
    })
}

/// The numbers of all mounts, and whether a user other than root made them. A user makes mounts
/// with fusermount(1), which records the user; other mounts of users exist only in mount namespaces
/// of their own.
pub(crate) fn makers(table: &[u8]) -> impl Iterator<Item = (u64, bool)> + '_ {
    table.split(|&byte| byte == b'\n').filter_map(|line| {
        let number = str::from_utf8(line.split(|&byte| byte == b' ').next()?).ok()?.parse().ok()?;
        // A hyphen ends the optional fields: "... master:1 - fuse.sshfs host:/
        // rw,user_id=1000,group_id=1000".
        let mut fields =
            line.split(|&byte| byte == b' ').skip_while(|field| *field != b"-").skip(1);
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let is_fuse = kind == b"fuse" || kind == b"fuseblk" || kind.starts_with(b"fuse.");
        let users = options
            .split(|&byte| byte == b',')
            .filter_map(|option| option.strip_prefix(b"user_id="));
        let is_of_root = users.clone().count() == 1 && users.clone().all(|user| user == b"0");
        Some((number, is_fuse && !is_of_root))
    })
}

/// The mount points of all mounts that are in only one of two sorted tables.
pub(crate) fn changed(before: &[Mount], after: &[Mount]) -> Vec<Box<[u8]>> {
    let only_in = |one: &[Mount], other: &[Mount]| {
        one.iter()
            .filter(|mount| other.binary_search(mount).is_err())
            .map(|mount| mount.point.clone())
            .collect::<Vec<_>>()
    };
    let mut points = only_in(before, after);
    points.extend(only_in(after, before));
    points.sort_unstable();
    points.dedup();
    points
}

/// Decodes a field: the kernel writes blanks, tabs, newlines and backslashes as a backslash and
/// three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .filter(|byte| (b'0'..=b'7').contains(byte))
                .map(|byte| u32::from(byte - b'0'))
        };
        if first == b'\\'
            && let (Some(high), Some(middle), Some(low)) = (digit(0), digit(1), digit(2))
            && let Ok(byte) = u8::try_from(high * 64 + middle * 8 + low)
        {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        36 22 98:0 /mnt1 /mnt/a\\040b\\134c rw,noatime master:1 - ext3 /dev/root \
        rw,errors=continue\n";

    fn table(text: &[u8]) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = parse(text).collect();
        mounts.sort();
        mounts
    }

    #[test]
    fn mount_points_are_told_as_they_are_named() {
        let points: Vec<_> = parse(TABLE).map(|mount| mount.point).collect();
        assert_eq!(
            points,
            [b"/".as_slice().into(), b"/mnt/a b\\c".as_slice().into()] as [Box<[u8]>; 2]
        );
        assert_eq!(unescape(b"a\\011\\x\\4"), b"a\t\\x\\4", "what is no escape stays");
    }

    #[test]
    fn only_what_was_mounted_or_unmounted_is_a_change() {
        let one = table(TABLE);
        let more = [TABLE, b"40 22 0:30 / /x rw - tmpfs tmpfs rw\n"].concat();
        assert_eq!(changed(&one, &table(&more)), [b"/x".as_slice().into()] as [Box<[u8]>; 1]);
        assert_eq!(changed(&table(&more), &one), [b"/x".as_slice().into()] as [Box<[u8]>; 1]);
        // A mount whose options change is the same mount.
        let remounted = String::from_utf8_lossy(TABLE).replace("noatime", "ro");
        assert!(changed(&one, &table(remounted.as_bytes())).is_empty());
        // Another file system at the same place.
        let other = String::from_utf8_lossy(TABLE).replace("98:0", "98:1");
        assert_eq!(changed(&one, &table(other.as_bytes())).len(), 1);
    }

    #[test]
    fn mounts_of_fuse_tell_whether_root_made_them() {
        let table = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
            30 22 0:5 / /a rw - fuse a rw,user_id=1000,group_id=1000,allow_other\n\
            31 22 0:6 / /b rw master:1 - fuse.sshfs host:/ rw,user_id=0,group_id=0\n\
            32 22 0:7 / /c rw - fuse.x\\040-\\040ext4 - rw,user_id=7\n\
            33 22 0:8 / /d rw - fuseblk /dev/sdb1 rw,user_id=1\n\
            34 22 0:9 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n\
            35 22 0:10 / /e rw - fuse - rw\n\
            36 22 0:11 / /f rw - tmpfs user_id=5 rw,user_id=5\n\
            x y z\n37 22\n";
        let made: Vec<_> = makers(table.as_bytes()).collect();
        assert_eq!(
            made,
            [
                (22, false),
                (30, true),
                (31, false),
                (32, true),
                (33, true),
                (34, false),
                (35, true),
                (36, false)
            ]
        );
    }

    #[test]
    fn any_bytes_give_mounts_or_nothing() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100_000 {
            let mut line = Vec::new();
            for _ in 0..8 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                line.extend(
                    seed.to_ne_bytes()
                        .map(|byte| *b" /\\017\nx".get(usize::from(byte % 10)).unwrap_or(&byte)),
                );
            }
            for mount in parse(&line) {
                assert!(mount.point.starts_with(b"/"));
            }
            assert!(makers(&line).count() <= line.len());
        }
    }
}
