//! The keys of a token, found in one pass where many are looked for at once. To search a token for one
//! `CKA_ID` has some libraries read every object (SoftHSM2 reads a file for each attribute), so that the
//! start would take as long as the square of its CAs.
//!
//! It is a hint, and no more: what is not found by it, or does not prove itself by it, is looked
//! for in the token again.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::access::Lent;
use super::module::lock;
use super::recovery::Fault;
use super::token::Token;

/// Fewer keys than this are looked for one by one.
const MANY: usize = 8;
/// A token with so many more objects than keys that are looked for is not gone through: each object
/// costs a call, and most tokens find by `CKA_ID` without.
const OBJECTS_PER_KEY: usize = 4;

/// Lets a token be gone through once, at the first key that is looked for.
#[derive(Default)]
pub(super) struct Survey {
    keys: usize,
    seen: Option<Seen>,
}

/// What there was, as one session of one generation has it: handles are good for no other.
struct Seen {
    generation: u64,
    session: u64,
    keys: HashMap<Vec<u8>, Objects>,
}

/// What has one `CKA_ID`.
#[derive(Clone, Default)]
pub(super) struct Objects {
    pub(super) private: Vec<ObjectHandle>,
    pub(super) public: Vec<ObjectHandle>,
}

impl Survey {
    fn new(keys: usize) -> Self {
        Self { keys, seen: None }
    }

    /// What has this `CKA_ID`, where the token is gone through and has one private key of it.
    pub(super) fn objects(&mut self, lent: &Lent<'_>, id: &[u8]) -> Option<Objects> {
        if self.keys < MANY {
            return None;
        }
        let (generation, session) = (lent.place.generation, lent.handle());
        let is_current = |seen: &&Seen| (seen.generation, seen.session) == (generation, session);
        let seen = match self.seen.take().filter(|seen| is_current(&seen)) {
            Some(seen) => seen,
            None => {
                // Where it fails, the search for the one key tells why.
                let keys = go_through(lent, self.keys * OBJECTS_PER_KEY).unwrap_or_default();
                Seen { generation, session, keys }
            }
        };
        let seen = self.seen.insert(seen);
        seen.keys.get(id).filter(|objects| objects.private.len() == 1).cloned()
    }
}

/// The keys by their `CKA_ID`; none where there are more than `most`.
fn go_through(session: &Session, most: usize) -> Result<HashMap<Vec<u8>, Objects>, Fault> {
    let private = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
    let public = session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)])?;
    let mut keys: HashMap<Vec<u8>, Objects> = HashMap::new();
    if private.len() + public.len() > most {
        return Ok(keys);
    }
    let mut note = |object, list: fn(&mut Objects) -> &mut Vec<ObjectHandle>| {
        if let Some(Attribute::Id(id)) = session.get_attributes(object, &[AttributeType::Id])?.pop()
        {
            list(keys.entry(id).or_default()).push(object);
        }
        Ok::<_, Fault>(())
    };
    for object in private {
        note(object, |objects| &mut objects.private)?;
    }
    for object in public {
        note(object, |objects| &mut objects.public)?;
    }
    Ok(keys)
}

/// As long as it lives, what was found in the token by one pass is used.
pub(crate) struct Surveyed(Arc<Token>);

impl Surveyed {
    /// So many keys of the token are about to be proved.
    pub(crate) fn new(token: &Arc<Token>, keys: usize) -> Self {
        *lock(&token.survey) = Survey::new(keys);
        Self(Arc::clone(token))
    }
}

impl Drop for Surveyed {
    fn drop(&mut self) {
        *lock(&self.0.survey) = Survey::default();
    }
}
