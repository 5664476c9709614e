//! Paths from a CA to its root, and what the chain allows below.

use super::{Ca, DAY_S, Key, NOW_S, ca};
use crate::x509::algorithm::ParameterSet;
use crate::x509::chain::Chain;
use crate::x509::path::{PathError, room_below, verify};

#[test]
fn a_path_leads_to_its_root_in_its_time_and_to_no_other() {
    let (root_key, key) = (Key::p256(), Key::rsa(2048));
    let root = Ca::root(&root_key);
    let below = Ca::below_root(&root_key, &key);
    // `below_root` makes a root of its own with the same key and serial: the same certificate but for
    // its signature.
    let top = below.chain.certificates().last().unwrap().der().to_vec();
    assert_eq!(verify(&below.chain, &top, NOW_S), Ok(()));
    assert_eq!(verify(&root.chain, root.chain.issuer().der(), NOW_S), Ok(()));

    let stranger = ca("CN=Test Root,O=kipuka", &Key::p256(), None, None);
    let refused = verify(&below.chain, stranger.chain.issuer().der(), NOW_S);
    assert!(matches!(refused, Err(PathError::Invalid { .. })), "{refused:?}");
    for at_s in [NOW_S - 2 * DAY_S, NOW_S + 3650 * DAY_S] {
        let refused = verify(&below.chain, &top, at_s).unwrap_err().to_string();
        assert!(refused.contains("expired") || refused.contains("not yet valid"), "{refused}");
    }
    assert!(openssl::error::ErrorStack::get().errors().is_empty());
    assert!(matches!(verify(&root.chain, b"no certificate", NOW_S), Err(PathError::Root(_))));
}

#[test]
fn a_path_with_ml_dsa_is_verified_where_openssl_knows_none() {
    let (root_key, key) = (Key::ml_dsa(ParameterSet::MlDsa44), Key::ml_dsa(ParameterSet::MlDsa44));
    let below = Ca::below_root(&root_key, &key);
    let top = below.chain.certificates().last().unwrap().clone();
    assert_eq!(verify(&below.chain, top.der(), NOW_S), Ok(()));
    // The root is in the client's store, not in the chain.
    let alone = Chain::new(vec![below.chain.issuer().clone()]).unwrap();
    assert_eq!(verify(&alone, top.der(), NOW_S), Ok(()));

    for at_s in [NOW_S - 2 * DAY_S, NOW_S + 3650 * DAY_S] {
        let refused = verify(&below.chain, top.der(), at_s);
        assert!(matches!(refused, Err(PathError::NotInForce { place: 1, .. })), "{refused:?}");
    }
    let stranger = ca("CN=Test Root,O=kipuka", &Key::p256(), None, None);
    for root in [stranger.chain.issuer(), below.chain.issuer()] {
        let refused = verify(&below.chain, root.der(), NOW_S);
        assert!(matches!(refused, Err(PathError::OtherRoot(_))), "{refused:?}");
    }
}

#[test]
fn the_room_below_a_ca_is_what_the_tightest_certificate_above_leaves() {
    let keys = [Key::p256(), Key::p256(), Key::p256()];
    for (root, middle, room) in
        [(Some(1), None, Some(0)), (Some(5), Some(2), Some(2)), (None, None, None)]
    {
        let root = ca("CN=Root", &keys[0], root, None);
        let middle = ca("CN=Middle", &keys[1], middle, Some(&root));
        assert_eq!(room_below(&middle.chain), room);
    }
}
