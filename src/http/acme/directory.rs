//! The directory (RFC 8555 §7.1.1): it names what works, and nothing else.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::Acme;
use super::reply::Reply;
use super::request::{AccountRequest, AsGet};
use super::resource::Resource;

pub(super) async fn directory(
    State(acme): State<Arc<Acme>>,
    Extension(resource): Extension<Resource>,
) -> Reply {
    let links = &resource.links;
    let mut meta = Map::new();
    let configured = &resource.authority.meta;
    if let Some(terms) = &configured.terms_of_service {
        meta.insert("termsOfService".to_owned(), json!(terms));
    }
    if let Some(website) = &configured.website {
        meta.insert("website".to_owned(), json!(website));
    }
    if !configured.caa_identities.is_empty() {
        meta.insert("caaIdentities".to_owned(), json!(configured.caa_identities));
    }
    if configured.external_account_required {
        meta.insert("externalAccountRequired".to_owned(), json!(true));
    }
    if !resource.authority.profiles.is_empty() {
        let profiles = resource.authority.profiles.iter();
        let profiles: Map<_, _> =
            profiles.map(|profile| (profile.name.clone(), json!(profile.description))).collect();
        meta.insert("profiles".to_owned(), Value::Object(profiles));
    }
    if resource.authority.subdomain_authorizations {
        meta.insert("subdomainAuthAllowed".to_owned(), json!(true));
    }
    let mut directory = json!({
        "newNonce": links.new_nonce(),
        "newAccount": links.new_account(),
        "newOrder": links.new_order(),
        "keyChange": links.key_change(),
        "renewalInfo": links.renewal_info(),
        "revokeCert": links.revoke_cert(),
        // Always an object: clients were seen to stumble where it is missing.
        "meta": Value::Object(meta),
    });
    // Of no use where no order takes an authorization that is there already.
    if !acme.context.limits.load().reuse.is_zero() {
        directory["newAuthz"] = json!(links.new_authz());
    }
    Reply::ok(directory)
}

/// The same for who asks by POST-as-GET, which RFC 8555 §6.3 wants to work here too.
pub(super) async fn directory_as_post(
    acme: State<Arc<Acme>>,
    request: AccountRequest<AsGet>,
) -> Reply {
    directory(acme, Extension(request.resource)).await
}
