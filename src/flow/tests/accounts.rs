//! Accounts.

use super::*;

#[tokio::test]
async fn an_account_is_found_by_its_key_and_changes_as_asked() {
    let site = Site::new().await;
    let (found, created) =
        new_account(&site.context, &site.authority, asked(&site.key)).await.unwrap();
    assert_eq!((&found, created), (&site.account, false));
    let contact = Some(vec!["mailto:a@a.test".to_owned()]);
    let changed =
        update_account(&site.context, &site.authority, found, contact, false).await.unwrap();
    let kept = site.store().account("web", &site.account.id).await.unwrap().unwrap();
    assert_eq!(kept, changed);
    assert_eq!(kept.contact, ["mailto:a@a.test"]);
    let nonsense = Some(vec!["tel:1".to_owned()]);
    refusal(update_account(&site.context, &site.authority, changed, nonsense, false).await);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing_and_others_are_limited_by_the_hour() {
    let site = Site::new().await;
    let entries = async || site.count("SELECT COUNT(*) FROM audit_pending").await;
    let update = async |contact: &str, agreed: bool| {
        let account = site.store().account("web", &site.account.id).await.unwrap().unwrap();
        let contact = Some(vec![contact.to_owned()]);
        update_account(&site.context, &site.authority, account, contact, agreed).await
    };
    update("mailto:a@a.test", true).await.unwrap();
    let before = entries().await;
    for _ in 0..100 {
        update("mailto:a@a.test", true).await.unwrap();
    }
    assert_eq!(entries().await, before);
    let mut done = 1;
    let problem = loop {
        match update(&format!("mailto:{done}@a.test"), false).await {
            Ok(_) => done += 1,
            refused => break refusal(refused),
        }
    };
    assert_eq!(done, 60);
    assert_eq!((problem.kind, problem.retry_after_s), (ProblemType::RateLimited, Some(3600)));
    assert_eq!(entries().await, before + 59);
    let new_key = Jwk::from_json(&Key::new(Algorithm::Es256).jwk().to_string()).unwrap();
    let account = site.store().account("web", &site.account.id).await.unwrap().unwrap();
    let old_key = Jwk::from_json(&site.key.jwk().to_string()).unwrap();
    let refused = refusal(change_key(&site.context, account.clone(), &old_key, &new_key).await);
    assert_eq!(refused.kind, ProblemType::RateLimited);
    site.advance(Duration::from_secs(3600));
    change_key(&site.context, account, &old_key, &new_key).await.unwrap();
}
