use super::*;

fn disk() -> SimDisk {
    SimDisk::new(Arc::new(HostClock::default()), SplitMix64::stream(1, "disk"))
}

fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.file(Path::new(path));
    let mut out = vec![0; file.size().unwrap() as usize];
    file.read_at(&mut out, 0).ok().map(|read| out[..read].to_vec())
}

#[test]
fn a_power_loss_takes_what_nobody_waited_for() {
    let disk = disk();
    disk.create_dir_all(Path::new("/a/b")).unwrap();
    let file = disk.file(Path::new("/a/b/f"));
    file.write_at(b"one", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"two", 3).unwrap();
    let names = [("/", 0), ("/a", 1), ("/a/b", 2)];
    for (dir, _) in names {
        disk.sync_dir(Path::new(dir)).unwrap();
    }
    disk.file(Path::new("/a/b/g")).write_at(b"x", 0).unwrap();
    disk.file(Path::new("/a/b/g")).sync().unwrap();
    disk.power_loss(Loss::Everything);
    assert_eq!(read(&disk, "/a/b/f").as_deref(), Some(&b"one"[..]));
    assert_eq!(read(&disk, "/a/b/g"), None, "its bytes were synced, its name was not");
}

#[test]
fn a_lost_folder_takes_its_files_along() {
    let disk = disk();
    disk.create_dir_all(Path::new("/a/b")).unwrap();
    let file = disk.file(Path::new("/a/b/f"));
    file.write_at(b"one", 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/a/b")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.power_loss(Loss::Everything);
    assert_eq!(read(&disk, "/a/b/f"), None);
    assert_eq!(disk.list(Path::new("/")).unwrap(), ["a"]);
}

#[test]
fn a_death_tears_the_write_it_comes_in() {
    let disk = disk();
    let file = disk.file(Path::new("/f"));
    disk.die_at(2, 3);
    file.write_at(b"first", 0).unwrap();
    assert!(file.write_at(b"second", 5).is_err());
    assert!(disk.is_dead() && file.sync().is_err() && file.size().is_err());
    disk.revive();
    assert_eq!(
        read(&disk, "/f").as_deref(),
        Some(&b"firstsec"[..]),
        "the cache survives a process"
    );
    disk.power_loss(Loss::Everything);
    assert_eq!(read(&disk, "/f"), None);
}

#[test]
fn time_passes_while_the_disk_works() {
    let clock = Arc::new(HostClock::default());
    let disk = SimDisk::new(clock.clone(), SplitMix64::stream(1, "disk"));
    disk.set_latency(Latency::SLOW);
    disk.file(Path::new("/f")).write_at(b"x", 0).unwrap();
    let written = clock.world();
    assert!(written >= Latency::SLOW.change.0 && written <= Latency::SLOW.change.1);
    disk.file(Path::new("/f")).sync().unwrap();
    assert!(clock.world() - written >= Latency::SLOW.sync.0);
}

/// By chance, each of the three outcomes of an unsynced write comes up.
#[test]
fn unsynced_writes_are_kept_lost_or_torn() {
    let disk = disk();
    let mut seen = [false; 3];
    for round in 0..200 {
        let path = format!("/f{round}");
        let file = disk.file(Path::new(&path));
        file.truncate(0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[7; 2000], 0).unwrap();
        disk.power_loss(Loss::ByChance);
        match read(&disk, &path).unwrap() {
            bytes if bytes.is_empty() => seen[0] = true,
            bytes if bytes == [7; 2000] => seen[1] = true,
            _ => seen[2] = true,
        }
    }
    assert_eq!(seen, [true; 3]);
}
