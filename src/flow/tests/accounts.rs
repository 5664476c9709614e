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
