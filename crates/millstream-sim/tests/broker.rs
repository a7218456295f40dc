//! The broker on the simulated disk, without a world around it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use millstream_broker::disk::Disk;
use millstream_broker::{Broker, BrokerConfig};
use millstream_sim::clock::HostClock;
use millstream_sim::disk::{Loss, SimDisk};
use millstream_sim::random::SplitMix64;

fn open(disk: &SimDisk, dir: &str, boot_id: &str) -> std::io::Result<Broker> {
    Broker::open(
        &BrokerConfig::new(dir),
        &[SocketAddr::from(([127, 0, 0, 1], 9092))],
        Arc::new(disk.clone()),
        Arc::new(HostClock::default()),
        Box::new(SplitMix64::stream(1, "broker")),
        boot_id,
    )
}

fn disk() -> SimDisk {
    SimDisk::new(Arc::new(HostClock::default()), SplitMix64::stream(1, "disk"))
}

/// What is synced within a new data directory is worth nothing while the directory's own name is
/// not on the medium.
#[test]
fn a_new_data_directory_outlives_a_power_loss() {
    let disk = disk();
    drop(open(&disk, "/srv/app/data", "boot").unwrap());
    disk.power_loss(Loss::Everything);
    let left = disk.list(Path::new("/srv/app/data/journals")).unwrap();
    assert_eq!(left, ["meta.0"], "the cluster's id is synced");
}

/// A start dies at its first write, its second, and so on; the machine goes down with it.
#[test]
fn a_start_that_dies_is_followed_by_one_that_does_not() {
    for loss in [None, Some(Loss::Everything), Some(Loss::ByChance)] {
        let disk = disk();
        let mut deaths = 0;
        for nth in 1.. {
            disk.die_at(nth, 1);
            let opened = open(&disk, "/data", &format!("boot {nth}"));
            let died = disk.is_dead();
            assert_eq!(opened.is_err(), died, "a start that lived has failed");
            if !died {
                break;
            }
            deaths += 1;
            disk.revive();
            if let Some(loss) = loss {
                disk.power_loss(loss);
            }
        }
        assert!(deaths > 5, "{deaths}");
    }
}
