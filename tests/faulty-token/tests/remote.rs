//! What p11-kit's client answers when its server dies: kipuka must get over exactly this.

use cryptoki::error::RvError;
use harness::Token;

use crate::{Site, generate, initialize, rv, sign, slot_of};

#[test]
fn after_its_server_died_nothing_works_until_c_finalize_and_c_initialize() {
    let mut site = Site::of(Token::p11_kit());
    let session = site.user();
    let (_, key) = generate(&session);
    sign(&session, key).unwrap();

    site.token.kill();
    assert_eq!(rv(sign(&session, key)), RvError::DeviceError);
    assert_eq!(rv(session.get_session_info()), RvError::DeviceError);
    assert_eq!(rv(site.open()), RvError::DeviceError);
    assert_eq!(rv(site.context.get_all_slots()), RvError::DeviceError);
    assert_eq!(rv(site.context.get_token_info(site.slot)), RvError::DeviceError);

    // Initialised while nobody is there, it has no slots, which is no error; and none comes.
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    assert!(site.context.get_all_slots().unwrap().is_empty());
    site.token.restart();
    assert!(site.context.get_all_slots().unwrap().is_empty());
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    site.slot = slot_of(&site.context, "kipuka").unwrap();
    generate(&site.user());

    // It makes no difference whether anyone called in the meantime.
    site.token.kill();
    site.token.restart();
    assert_eq!(rv(site.context.get_all_slots()), RvError::DeviceError);
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    generate(&site.user());
}
