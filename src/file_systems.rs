//! Types of file systems: their names, and which writes inotify does not report on them.
//!
//! In: `f_type` of `statfs(2)`. Out: a name for people, and a [`Sight`].
//! Always holds: an unknown type counts as a local one, and has no [`FileSystemType::name`].

use std::fmt;

use nix::libc;

/// Which writes to a file system cause events. inotify(7): "Inotify reports only events that a
/// user-space program triggers through the filesystem API. As a result, it does not catch remote
/// events that occur on network filesystems."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sight {
    /// All writes come through this kernel and the same mounted file system, and cause events
    /// (except those through `mmap(2)`).
    Full,
    /// Other machines (or the host of this virtual machine) write to it without this kernel's
    /// knowledge.
    Remote,
    /// A program implements it. Changes behind that program cause no events.
    Fuse,
    /// Other file systems are its layers. Writes directly into those cause no events.
    Layers,
    /// The kernel generates its content, without events.
    Pseudo,
}

impl Sight {
    /// Whether files may grow here without an event, so that only a look at them shows it.
    #[must_use]
    pub fn is_blind(self) -> bool {
        matches!(self, Sight::Remote | Sight::Fuse | Sight::Layers)
    }

    /// The writes that cause no events, as part of a sentence; empty where there are none.
    #[must_use]
    pub fn untold(self) -> &'static str {
        match self {
            Sight::Full => "",
            Sight::Remote => "writes made by other machines",
            Sight::Fuse => {
                "writes that do not come through this mount (other machines, or files below it)"
            }
            Sight::Layers => "writes made directly into its layers",
            Sight::Pseudo => "anything: the kernel generates the content of its files",
        }
    }
}

/// `f_type` of `statfs(2)`: the number of a type of file system. 32 bits, whatever the width of the
/// field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileSystemType(pub u32);

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the field is wider than the numbers in it"
)]
const fn of_libc(magic: libc::__fsword_t) -> u32 {
    magic as u32
}

/// Numbers that libc does not name come from the kernel's or the vendor's headers, as in GNU
/// stat(1).
const KNOWN: [(u32, &str, Sight); 58] = [
    (of_libc(libc::NFS_SUPER_MAGIC), "NFS", Sight::Remote),
    (0xff53_4d42, "CIFS", Sight::Remote),
    (0xfe53_4d42, "SMB", Sight::Remote),
    (of_libc(libc::SMB_SUPER_MAGIC), "SMB", Sight::Remote),
    (0x0bd0_0bd0, "Lustre", Sight::Remote),
    (0x4750_4653, "GPFS", Sight::Remote),
    (0x00c3_6400, "CephFS", Sight::Remote),
    (0x1983_0326, "BeeGFS", Sight::Remote),
    (0xaad7_aaea, "PanFS", Sight::Remote),
    (0x2003_0528, "OrangeFS", Sight::Remote),
    (0xbeef_dead, "StorNext", Sight::Remote),
    (0x0131_11a8, "IBRIX", Sight::Remote),
    (0x6163_6673, "ACFS", Sight::Remote),
    (0xa501_fcf5, "VxFS", Sight::Remote),
    (of_libc(libc::AFS_SUPER_MAGIC), "AFS", Sight::Remote),
    (0x6b41_4653, "AFS", Sight::Remote),
    (of_libc(libc::CODA_SUPER_MAGIC), "Coda", Sight::Remote),
    (of_libc(libc::NCP_SUPER_MAGIC), "NCP", Sight::Remote),
    (of_libc(libc::OCFS2_SUPER_MAGIC), "OCFS2", Sight::Remote),
    (0x0116_1970, "GFS2", Sight::Remote),
    (0x0102_1997, "9p", Sight::Remote),
    (0xbacb_acbc, "vmhgfs", Sight::Remote),
    (0x786f_4256, "vboxsf", Sight::Remote),
    (0x7c7c_6673, "prl_fs", Sight::Remote),
    (of_libc(libc::HOSTFS_SUPER_MAGIC), "hostfs", Sight::Remote),
    (of_libc(libc::FUSE_SUPER_MAGIC), "FUSE", Sight::Fuse),
    (of_libc(libc::OVERLAYFS_SUPER_MAGIC), "overlay", Sight::Layers),
    (0x6175_6673, "aufs", Sight::Layers),
    (of_libc(libc::ECRYPTFS_SUPER_MAGIC), "ecryptfs", Sight::Layers),
    (of_libc(libc::PROC_SUPER_MAGIC), "proc", Sight::Pseudo),
    (of_libc(libc::SYSFS_MAGIC), "sysfs", Sight::Pseudo),
    (of_libc(libc::DEVPTS_SUPER_MAGIC), "devpts", Sight::Pseudo),
    (of_libc(libc::CGROUP_SUPER_MAGIC), "cgroup", Sight::Pseudo),
    (of_libc(libc::CGROUP2_SUPER_MAGIC), "cgroup2", Sight::Pseudo),
    (of_libc(libc::DEBUGFS_MAGIC), "debugfs", Sight::Pseudo),
    (of_libc(libc::TRACEFS_MAGIC), "tracefs", Sight::Pseudo),
    (of_libc(libc::SECURITYFS_MAGIC), "securityfs", Sight::Pseudo),
    (of_libc(libc::SELINUX_MAGIC), "selinuxfs", Sight::Pseudo),
    (of_libc(libc::BPF_FS_MAGIC), "bpf", Sight::Pseudo),
    (of_libc(libc::NSFS_MAGIC), "nsfs", Sight::Pseudo),
    (0x6265_6570, "configfs", Sight::Pseudo),
    (0xde5e_81e4, "efivarfs", Sight::Pseudo),
    (0x4249_4e4d, "binfmt_misc", Sight::Pseudo),
    (of_libc(libc::EXT4_SUPER_MAGIC), "ext2/3/4", Sight::Full),
    (of_libc(libc::XFS_SUPER_MAGIC), "XFS", Sight::Full),
    (of_libc(libc::BTRFS_SUPER_MAGIC), "Btrfs", Sight::Full),
    (of_libc(libc::BCACHEFS_SUPER_MAGIC), "bcachefs", Sight::Full),
    (0x2fc1_2fc1, "ZFS", Sight::Full),
    (of_libc(libc::F2FS_SUPER_MAGIC), "F2FS", Sight::Full),
    (of_libc(libc::TMPFS_MAGIC), "tmpfs", Sight::Full),
    (0x8584_58f6, "ramfs", Sight::Full),
    (of_libc(libc::MSDOS_SUPER_MAGIC), "FAT", Sight::Full),
    (0x2011_bab0, "exFAT", Sight::Full),
    (0x3153_464a, "JFS", Sight::Full),
    (of_libc(libc::NILFS_SUPER_MAGIC), "NILFS2", Sight::Full),
    (of_libc(libc::REISERFS_SUPER_MAGIC), "ReiserFS", Sight::Full),
    (0x7371_7368, "SquashFS", Sight::Full),
    (of_libc(libc::ISOFS_SUPER_MAGIC), "ISO 9660", Sight::Full),
];

impl FileSystemType {
    fn known(self) -> Option<&'static (u32, &'static str, Sight)> {
        KNOWN.iter().find(|(magic, ..)| *magic == self.0)
    }

    /// Its usual name; `None`: not known.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|&(_, name, _)| name)
    }

    /// Whether files may be copied from one layer to another, which changes their birth time and so
    /// their identity.
    #[must_use]
    pub fn is_overlay(self) -> bool {
        self.0 == of_libc(libc::OVERLAYFS_SUPER_MAGIC)
    }

    /// Which writes to it cause events.
    #[must_use]
    pub fn sight(self) -> Sight {
        self.known().map_or(Sight::Full, |&(_, _, sight)| sight)
    }
}

/// Its name, or its number.
impl fmt::Display for FileSystemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_listed_once() {
        let mut numbers: Vec<u32> = KNOWN.iter().map(|&(magic, ..)| magic).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn what_other_machines_write_to_is_blind_and_local_disks_are_not() {
        let cases = [
            (0x6969, "NFS", true),
            (0xff53_4d42, "CIFS", true),
            (0xfe53_4d42, "SMB", true),
            (0x0bd0_0bd0, "Lustre", true),
            (0x4750_4653, "GPFS", true),
            (0x6573_5546, "FUSE", true),
            (0x794c_7630, "overlay", true),
            (0x0102_1997, "9p", true),
            (0x00c3_6400, "CephFS", true),
            (0x1983_0326, "BeeGFS", true),
            (0xef53, "ext2/3/4", false),
            (0x5846_5342, "XFS", false),
            (0x0102_1994, "tmpfs", false),
            (0x9fa0, "proc", false),
        ];
        for (magic, name, is_blind) in cases {
            let found = FileSystemType(magic);
            assert_eq!((found.name(), found.sight().is_blind()), (Some(name), is_blind));
            assert_eq!(found.sight().untold().is_empty(), found.sight() == Sight::Full);
        }
    }

    #[test]
    fn an_unknown_type_is_called_by_its_number_and_taken_for_local() {
        let unknown = FileSystemType(0x1234_5678);
        assert_eq!((unknown.name(), unknown.sight()), (None, Sight::Full));
        assert_eq!(unknown.to_string(), "type 0x12345678");
    }
}
