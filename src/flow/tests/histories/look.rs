//! What must hold after every step.

use super::*;

impl Play<'_> {
    /// Compares everything with the last look.
    pub(super) async fn look(&self, after: &str) -> Result<(), TestCaseError> {
        for (number, client) in self.clients.iter().enumerate() {
            let (account, orders, authorizations) = {
                let client = client.lock().unwrap();
                (client.account.id.clone(), client.orders.clone(), client.authorizations.clone())
            };
            let context = self.world.instances[number % 2].load_full();
            let (store, now) = (&context.store, self.world.clock.now());
            let known = store.account("web", &account).await.unwrap().unwrap();
            self.moved("account", &account, known.status().as_str(), after)?;
            self.has_one_key(store, number, &known).await?;
            let mut statuses = HashMap::new();
            for id in authorizations {
                let found = store.authorization("web", &id).await.unwrap().unwrap();
                prop_assert_eq!(&found.account_id, &account, "{} is shared", id);
                let status = found.status(now).as_str();
                self.moved("authorization", &id, status, after)?;
                for challenge in &found.challenges {
                    let status = found.challenge_status(challenge, now).as_str();
                    self.moved("challenge", &challenge.id, status, after)?;
                }
                let ended = found.challenges.iter().filter(|one| one.result.is_some()).count();
                prop_assert!(ended <= 1, "{} challenges decided {} by {}", ended, id, after);
                statuses.insert(id, status);
            }
            let mut listed = Vec::new();
            for id in orders {
                let order = store.order("web", &id).await.unwrap().unwrap();
                let status = order.status(now);
                self.moved("order", &id, status.as_str(), after)?;
                prop_assert_eq!(&order.account_id, &account);
                let all_valid =
                    order.authorizations.iter().all(|one| statuses.get(&one.id) == Some(&"valid"));
                match &status {
                    OrderStatus::Ready => prop_assert!(all_valid, "{} is ready too soon", id),
                    OrderStatus::Pending => prop_assert!(!all_valid, "{} is ready too late", id),
                    OrderStatus::Valid { certificate_id } => {
                        self.has_its_certificate(store, &order, certificate_id).await?;
                    }
                    OrderStatus::Processing | OrderStatus::Invalid { .. } => {}
                }
                if !matches!(status, OrderStatus::Invalid { .. }) {
                    listed.push(id);
                }
            }
            let mut page = store.orders_of(&account, now, None, 1000).await.unwrap().ids;
            page.sort();
            listed.sort();
            prop_assert_eq!(page, listed, "the account's list, after {}", after);
        }
        Ok(())
    }

    /// The account is found by the key it has, and by none that it gave up.
    async fn has_one_key(
        &self,
        store: &Store,
        client: usize,
        known: &Account,
    ) -> Result<(), TestCaseError> {
        let found = store.account_by_key("web", &known.thumbprint).await.unwrap();
        prop_assert_eq!(found.map(|found| found.id), Some(known.id.clone()));
        let given_up = self.clients[client].lock().unwrap().given_up.clone();
        for thumbprint in given_up {
            let found = store.account_by_key("web", &thumbprint).await.unwrap();
            prop_assert!(found.is_none_or(|found| found.id != known.id), "{} is back", thumbprint);
        }
        Ok(())
    }

    fn moved(
        &self,
        kind: &'static str,
        id: &str,
        status: &'static str,
        after: &str,
    ) -> Result<(), TestCaseError> {
        let mut seen = self.seen.lock().unwrap();
        let before = seen.statuses.insert((kind, id.to_owned()), status).unwrap_or(match kind {
            "account" => "valid",
            // It may be of an order that was placed in this very step.
            _ => "pending",
        });
        if before != status {
            *self.world.statuses.lock().unwrap().entry((kind, status)).or_default() += 1;
        }
        let may = before == status || reachable(kind, before).contains(&status);
        prop_assert!(may, "the {} {} went from {} to {} by {}", kind, id, before, status, after);
        Ok(())
    }

    async fn has_its_certificate(
        &self,
        store: &Store,
        order: &Order,
        id: &str,
    ) -> Result<(), TestCaseError> {
        let issued = store.certificate("web", id).await.unwrap().unwrap();
        prop_assert_eq!(&issued.account_id, &order.account_id);
        let certificate = openssl::x509::X509::from_der(&issued.certificate).unwrap();
        let names = certificate.subject_alt_names().unwrap();
        let names: Vec<_> = names.iter().filter_map(|name| name.dnsname()).collect();
        let ordered: Vec<_> = order.identifiers.iter().map(ToString::to_string).collect();
        prop_assert_eq!(names, ordered);
        let mut seen = self.seen.lock().unwrap();
        let first = seen.certificates.entry(order.id.clone());
        prop_assert_eq!(first.or_insert_with(|| issued.certificate.clone()), &issued.certificate);
        Ok(())
    }
}

/// What RFC 8555 §7.1.6 lets follow sooner or later.
fn reachable(kind: &str, status: &str) -> &'static [&'static str] {
    match (kind, status) {
        ("account", "valid") => &["deactivated", "revoked"],
        ("order", "pending") => &["ready", "processing", "valid", "invalid"],
        ("order", "ready") => &["processing", "valid", "invalid"],
        ("order" | "challenge", "processing") => &["valid", "invalid"],
        ("authorization", "pending") => &["valid", "invalid", "expired", "deactivated", "revoked"],
        ("authorization", "valid") => &["expired", "deactivated", "revoked"],
        ("challenge", "pending") => &["processing", "valid", "invalid"],
        _ => &[],
    }
}
