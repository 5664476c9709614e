//! Paths from a CA to its root, and what the chain allows below.

use super::{Ca, DAY_S, Key, NOW_S, ca};
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
    assert!(matches!(verify(&root.chain, b"no certificate", NOW_S), Err(PathError::OpenSsl(_))));
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
