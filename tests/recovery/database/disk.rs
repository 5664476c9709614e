//! SQLite's disk is full, becomes read-only, or fails.

use std::fs;
use std::path::PathBuf;

use harness::{Database, Server};

use super::Outage;
use crate::site::Site;

/// In a namespace of its own, so that anybody may mount; the process stays the one that was started.
const MOUNT: &str = "mount -t tmpfs -o size=16m tmpfs \"$0\" && exec \"$@\"";

/// Where a folder of a process's own mount namespace is seen from outside.
fn seen(server: &Server, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root/{path}", server.pid()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_issuance_until_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap().to_owned();
    let path = format!("{at}/kipuka.db");
    let mut database = Database::Within { pid: 0, path: path.clone().into() };
    let mut site = Site::new(database, format!("sqlite://{path}")).await;
    let unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, &at];
    site.server.within = unshare.map(str::to_owned).to_vec();
    site.server.spawn();
    database = Database::Within { pid: site.server.pid(), path: path.into() };
    site.database = database;
    let outage = Outage::begin(site).await;
    let filling = seen(&outage.site.server, &format!("{at}/filling"));
    for _ in 0..2 {
        // It ends with an error, when there is no more room.
        fs::write(&filling, vec![0; 24 << 20]).unwrap_err();
        outage.is_away().await;
        fs::remove_file(&filling).unwrap();
        outage.goes_on().await;
    }
    outage.ends_well().await;
}

/// As the kernel makes a filesystem when its disk fails: what is open can be written no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_read_only_or_fails_stops_issuance_until_it_can_be_written() {
    const EIO: &str = "5";
    const EROFS: &str = "30";
    let (site, disk) = Site::on_disk().await;
    let outage = Outage::begin(site).await;
    for (calls, errno) in
        [(&["write", "sync", "open"][..], EROFS), (&["sync"], EIO), (&["write"], EIO)]
    {
        let files = ["kipuka.db", "-wal", "-shm"];
        let faults =
            calls.iter().flat_map(|call| files.map(|file| format!("fail {call} {errno} {file}")));
        let faults: Vec<_> = faults.collect();
        disk.suffer(&faults.iter().map(String::as_str).collect::<Vec<_>>());
        outage.is_away().await;
        disk.suffer(&[]);
        outage.goes_on().await;
    }
    outage.ends_well().await;
}
