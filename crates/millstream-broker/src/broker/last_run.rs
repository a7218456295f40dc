//! What a start finds out about the run before it, and leaves for the one after it.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::log::Recovery;

/// Present after a clean stop; removed at the start.
pub(super) const CLEAN_STOP: &str = "clean-stop";
/// Holds the machine's boot id of the last run that got through its recovery: until then the old
/// one stands, so that a recovery that was interrupted begins anew.
const BOOT_ID: &str = "boot-id";
/// What a recovery after the death of a process relies on, such as the order in which indexes are
/// written. Stands behind the boot id, so that what a version before this one left is checked as
/// after another boot.
const PROMISES: &str = " 2";

/// Finds out how the last run ended. Changes nothing: if this start comes to no end, the next one
/// must find the same.
pub(super) fn recovery_needed(disk: &dyn Disk, dir: &Path, boot_id: &str) -> io::Result<Recovery> {
    disk.create_dir_all(dir)?;
    let clean = disk.file(&dir.join(CLEAN_STOP)).size()? > 0;
    let file = disk.file(&dir.join(BOOT_ID));
    let mut last_boot = vec![0; usize::try_from(file.size()?).unwrap_or(0).min(1024)];
    if !last_boot.is_empty() {
        file.read_at(&mut last_boot, 0)?;
    }
    let same_boot = !boot_id.is_empty() && last_boot == note(boot_id).as_bytes();
    Ok(match (clean, same_boot) {
        (true, true) => Recovery::Clean,
        (true, false) => Recovery::Reboot,
        (false, true) => Recovery::ProcessCrash,
        (false, false) => Recovery::MachineCrash,
    })
}

/// Waits until the data directory's own name is on the medium, and those of the folders above it,
/// which may be as new. A power loss would take all of it otherwise, whatever is synced within.
pub(super) fn make_durable(disk: &dyn Disk, dir: &Path, recovery: Recovery) {
    // A directory with a boot id of before has outlived a start.
    if recovery != Recovery::MachineCrash {
        return;
    }
    for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        // Not every folder above may be opened by us; those that may not were not made by us.
        if let Err(error) = disk.sync_dir(above) {
            tracing::debug!(dir = %above.display(), %error, "cannot sync a folder above the data");
        }
    }
}

/// Notes that all logs are in order as far as this run of the machine goes. A torn note is no
/// boot id, so that the next start checks everything.
pub(super) fn note_boot(disk: &dyn Disk, dir: &Path, boot_id: &str) -> io::Result<()> {
    let file = disk.file(&dir.join(BOOT_ID));
    file.truncate(0)?;
    file.write_at(note(boot_id).as_bytes(), 0)
}

fn note(boot_id: &str) -> String {
    format!("{boot_id}{PROMISES}")
}
