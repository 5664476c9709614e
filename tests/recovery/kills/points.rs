//! Killed at each commit: before the database has it, and when the database has it and nobody was told.

use std::time::Duration;

use harness::Moment;

use crate::site::Site;

/// A transaction of the story comes within this time of its beginning.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_each_commit_on_postgres_nothing_is_lost() {
    killed_at_each_commit(Moment::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_each_commit_on_postgres_nothing_is_lost() {
    killed_at_each_commit(Moment::After).await;
}

async fn killed_at_each_commit(moment: Moment) {
    let (mut site, mut tap) = Site::tapped().await;
    // Else each kill would hold up the next.
    site.leases_lapse = true;
    site.server.spawn();
    // A story in peace shows which transactions there are; the second, which come in each.
    let mut first = 0;
    for name in ["peace.test", "more-peace.test"] {
        first = tap.commits().len();
        site.tell(name.to_owned()).await;
        site.stories.join_next().await.unwrap().unwrap();
        site.all_revocations_are_told().await;
    }
    let (all, of_a_story) = (tap.kinds(), tap.kinds_of(&tap.commits()[first..]));
    for needed in
        ["insert spent_nonces", "insert certificates", "insert revocations", "insert crls"]
    {
        assert!(
            of_a_story.iter().any(|name| name.contains(needed)),
            "no {needed} in {of_a_story:?}"
        );
    }
    for (number, name) in all.iter().enumerate() {
        tap.arm(name, moment);
        if of_a_story.contains(name) {
            site.tell(format!("n{number}.test")).await;
            assert!(tap.struck(SOON).await, "no {name} came in a story");
        } else {
            // It comes at the start, if it is not done once for all.
            site.server.kill();
            site.server.launch();
            tap.struck(Duration::from_secs(2)).await;
            tap.disarm();
        }
        site.restart();
    }
    println!("{}: {all:?}", all.len());
    let found = site.prove().await;
    assert!(found.orders > of_a_story.len(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_each_commit_on_sqlite_nothing_is_lost() {
    let (mut site, disk) = Site::on_disk().await;
    site.server.spawn();
    site.client().await;
    let mut commits = 0;
    loop {
        disk.suffer(&[&format!("kill-after sync {} -wal", commits + 1)]);
        site.tell(format!("sync{commits}.test")).await;
        if !site.is_killed(Duration::from_secs(4)).await {
            break;
        }
        commits += 1;
        disk.suffer(&[]);
        site.restart();
    }
    assert!(commits >= 10, "a story has more than {commits} commits");
    disk.suffer(&[]);
    site.prove().await;
}

/// A part of what is committed is written, and nothing is synced.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_commits_on_sqlite_nothing_is_lost() {
    let (mut site, disk) = Site::on_disk().await;
    site.server.spawn();
    site.client().await;
    for write in (1..).step_by(7) {
        disk.suffer(&[&format!("kill-before write {write} -wal")]);
        site.tell(format!("write{write}.test")).await;
        if !site.is_killed(Duration::from_secs(4)).await {
            assert!(write > 60, "no write {write}");
            break;
        }
        disk.suffer(&[]);
        site.restart();
    }
    disk.suffer(&[]);
    site.prove().await;
}
