//! JSON objects whose members may each stand there once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// More members than any JWS, header or JWK has. Each is compared with all before it, so a body full
/// of them would be much work for anybody's asking.
const MAX_MEMBERS: usize = 64;

/// The members of a JSON object in their order. Where a name stands twice, two readers could each
/// believe another value, so such an object is refused, at every depth.
#[derive(Debug)]
pub(super) struct Members(Vec<(String, Member)>);

/// A member's value.
#[derive(Debug)]
pub(super) enum Member {
    Text(String),
    Object(Members),
    List(Vec<Self>),
    /// Anything else: no member that matters here is a number.
    Other,
}

/// Checks that a text is a JSON object in which, at every depth, each member stands once.
pub(crate) fn check_object(text: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Members>(text).map(drop)
}

impl Members {
    pub(super) fn get(&self, name: &str) -> Option<&Member> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, member)| member)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The text of this member; `Err` where it is there but is no text.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, NotText> {
        match self.get(name) {
            None => Ok(None),
            Some(Member::Text(text)) => Ok(Some(text)),
            Some(_) => Err(NotText(name)),
        }
    }
}

/// A member that must be text is something else.
#[derive(Debug)]
pub(super) struct NotText(pub(super) &'static str);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members(Vec::new());
                while let Some((name, member)) = map.next_entry::<String, Member>()? {
                    if members.0.len() == MAX_MEMBERS {
                        return Err(A::Error::custom(format!("more than {MAX_MEMBERS} members")));
                    }
                    if members.has(&name) {
                        return Err(A::Error::custom(format!("the member {name:?} stands twice")));
                    }
                    members.0.push((name, member));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;

        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
                Members::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(Member::Object)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member, A::Error> {
                let mut list = Vec::new();
                while let Some(member) = seq.next_element()? {
                    list.push(member);
                }
                Ok(Member::List(list))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Other)
            }
        }

        deserializer.deserialize_any(MemberVisitor)
    }
}
