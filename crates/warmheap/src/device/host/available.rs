//! Says what this process may still take of the machine: the least of what the system, its control groups and
//! its own limits leave.
//!
//! A page that the kernel has promised and cannot give ends the process. The host device therefore asks here
//! before it promises many. This module keeps no figure. Each question reads some files, in tens of
//! microseconds.
#![forbid(unsafe_code)]

use crate::device::{Bound, BoundBytes};

/// Returns the bytes of pages that can be taken now, where the system can tell.
pub(super) fn pages() -> Option<u64> {
    [system::machine(), system::group(), system::data()]
        .into_iter()
        .flatten()
        .map(|figures| figures.free)
        .min()
}

/// Returns the bytes of memory that the machine has, in use or not, where the system can tell.
pub(super) fn machine() -> Option<u64> {
    system::machine().map(|figures| figures.limit)
}

/// Returns the bytes of addresses that can be reserved now, where a limit is set.
pub(super) fn addresses() -> Option<u64> {
    system::addresses().map(|figures| figures.free)
}

/// Returns every bound of the system, with its figures.
pub(super) fn bounds() -> [Bound; 4] {
    let bound = |name, bytes: Option<BoundBytes>| Bound { name, bytes };
    [
        bound("machine", system::machine()),
        bound("control group", system::group()),
        bound("RLIMIT_DATA", system::data()),
        bound("RLIMIT_AS", system::addresses()),
    ]
}

#[cfg(not(target_os = "linux"))]
mod system {
    use crate::device::BoundBytes;

    pub(super) fn machine() -> Option<BoundBytes> {
        None
    }

    pub(super) fn group() -> Option<BoundBytes> {
        None
    }

    pub(super) fn data() -> Option<BoundBytes> {
        None
    }

    pub(super) fn addresses() -> Option<BoundBytes> {
        None
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::path::Path;

    use rustix::process::{Resource, getrlimit};

    use crate::device::BoundBytes;

    /// The places of the address space and of private memory among the figures of `/proc/self/statm`.
    const ADDRESSES: usize = 0;
    const DATA: usize = 5;

    /// A control group without a limit shows a figure near 2^63.
    const NO_LIMIT: u64 = 1 << 62;

    pub(super) fn machine() -> Option<BoundBytes> {
        let system = rustix::system::sysinfo();
        let limit = system.totalram.saturating_mul(system.mem_unit.into());
        Some(BoundBytes { limit, free: unused(Path::new("/"))? })
    }

    pub(super) fn group() -> Option<BoundBytes> {
        tightest_group(Path::new("/"))
    }

    pub(super) fn data() -> Option<BoundBytes> {
        limit(Resource::Data, DATA)
    }

    pub(super) fn addresses() -> Option<BoundBytes> {
        limit(Resource::As, ADDRESSES)
    }

    /// Returns what the kernel believes can be taken without swapping.
    pub(super) fn unused(root: &Path) -> Option<u64> {
        let kibibytes = field(&root.join("proc/meminfo"), "MemAvailable:")?;
        kibibytes.checked_mul(1024)
    }

    /// Returns a limit of the process, and what it leaves.
    fn limit(resource: Resource, place: usize) -> Option<BoundBytes> {
        let limit = getrlimit(resource).current?;
        let figures = fs::read_to_string("/proc/self/statm").ok()?;
        let pages = figures.split_whitespace().nth(place)?.parse::<u64>().ok()?;
        Some(BoundBytes { limit, free: limit.saturating_sub(pages * rustix::param::page_size() as u64) })
    }

    /// Returns the control group of the process that leaves the least. Each group counts, from the process's
    /// own up to the root. In a container the group may be at the root alone.
    pub(super) fn tightest_group(root: &Path) -> Option<BoundBytes> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = root.join("sys/fs/cgroup");
        let rest = |line: &str| {
            let (_, line) = line.split_once(':')?;
            let (controllers, path) = line.split_once(':')?;
            let own = Path::new(path.trim_start_matches('/'));
            if controllers.is_empty() {
                // If there are also groups of the first version, those of the second have a folder of their
                // own.
                let unified = mounts.join("unified");
                let mount = if unified.exists() { &unified } else { &mounts };
                least(mount, own, ["memory.max", "memory.current", "inactive_file"])
            } else if controllers.split(',').any(|controller| controller == "memory") {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                least(&mounts.join("memory"), own, files)
            } else {
                None
            }
        };
        groups.lines().filter_map(rest).min_by_key(|figures| figures.free)
    }

    /// Returns the one of a group and those above it that leaves the least.
    fn least(mount: &Path, own: &Path, [limit, usage, idle]: [&str; 3]) -> Option<BoundBytes> {
        let figure =
            |group: &Path, name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        let rest = |group: &Path| {
            let group = mount.join(group);
            let most = figure(&group, limit).filter(|most| *most < NO_LIMIT)?;
            let used = figure(&group, usage)?;
            // The kernel drops cached files that are not in use.
            let idle = field(&group.join("memory.stat"), idle).unwrap_or(0);
            Some(BoundBytes { limit: most, free: most.saturating_sub(used.saturating_sub(idle)) })
        };
        own.ancestors().filter_map(rest).min_by_key(|figures| figures.free)
    }

    /// Returns the figure after `name` in a file of names and figures.
    fn field(file: &Path, name: &str) -> Option<u64> {
        let text = fs::read_to_string(file).ok()?;
        let mut lines = text.lines().map(str::split_whitespace);
        lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok()).flatten())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::system::{tightest_group, unused};

    /// Returns what the tightest control group leaves.
    fn groups(root: &Path) -> Option<u64> {
        tightest_group(root).map(|figures| figures.free)
    }

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_of_the_second_version_counts_and_files_that_make_way_do_not() {
        let root = system(&[
            ("proc/self/cgroup", "0::/user.slice/job\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "10000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "6000\n"),
            ("sys/fs/cgroup/user.slice/job/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/job/memory.current", "5000\n"),
        ]);
        assert_eq!(groups(root.path()), Some(4000));
        fs::write(root.path().join("sys/fs/cgroup/user.slice/job/memory.max"), "5500").unwrap();
        assert_eq!(groups(root.path()), Some(500));
        let stat = "anon 1\ninactive_file 3000\nactive_file 9\n";
        fs::write(root.path().join("sys/fs/cgroup/user.slice/job/memory.stat"), stat).unwrap();
        assert_eq!(groups(root.path()), Some(3500));
        assert_eq!(tightest_group(root.path()).map(|figures| figures.limit), Some(5500));
    }

    #[test]
    fn a_group_of_the_first_version_without_a_limit_is_no_bound() {
        let root = system(&[
            ("proc/self/cgroup", "5:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
        ]);
        assert_eq!(tightest_group(root.path()), None);
    }

    #[test]
    fn groups_of_the_first_version_count_also_where_a_container_shows_its_own_alone() {
        let root = system(&[
            ("proc/self/cgroup", "12:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/init.scope\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 50\n"),
        ]);
        assert_eq!(groups(root.path()), Some(150));
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_no_limit() {
        assert_eq!(groups(Path::new("/nowhere")), None);
        let root =
            system(&[("proc/self/cgroup", "0::/\nnonsense\n"), ("proc/meminfo", "MemAvailable: none\n")]);
        assert_eq!((groups(root.path()), unused(root.path())), (None, None));
        fs::write(root.path().join("proc/meminfo"), "MemFree: 1 kB\nMemAvailable:   70 kB\n").unwrap();
        assert_eq!(unused(root.path()), Some(70 << 10));
    }
}
